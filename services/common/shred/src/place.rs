//! Where the leaf of something is.

use aws_lc_rs::digest::{Context, SHA256};

use crate::tree::PATH_BITS;

/// Trees of an epoch. Each is a record of its own, so that many erasures do not make one that is too large.
pub const SHARDS: u8 = 16;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which tree.
    pub shard: u8,
    pub path: u64,
}

impl Place {
    /// By 48 bits of a hash. Never changes: what was sealed would not open.
    pub(crate) fn of(kind: &[u8], parts: &[&[u8]], generation: u8) -> Place {
        let mut context = Context::new(&SHA256);
        context.update(b"pushrail.place.v1");
        for part in [&[kind], parts].concat() {
            context.update(&(part.len() as u32).to_be_bytes());
            context.update(part);
        }
        context.update(&[generation]);
        let digest = context.finish();
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&digest.as_ref()[..6]);
        let number = u64::from_be_bytes(bytes);
        Place {
            shard: (number >> PATH_BITS) as u8,
            path: number & ((1 << PATH_BITS) - 1),
        }
    }
}
