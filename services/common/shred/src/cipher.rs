//! What one event's bytes are sealed with.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::tree::Leaf;

/// The key of one event: AES-256-GCM, a random nonce in front of each ciphertext. Few things are ever sealed with one: the
/// payload and metadata as they came and as they were transformed, and answers to attempts.
pub struct PayloadKey(LessSafeKey);

/// It was not sealed with this key as this part, or the cipher failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not open with the key of this event")]
pub struct Refused;

impl PayloadKey {
    pub(crate) fn of(leaves: [Option<&Leaf>; 3]) -> Option<Self> {
        let mut context = Context::new(&SHA256);
        context.update(b"pushrail.payload.v1");
        for leaf in leaves {
            match leaf {
                Some(leaf) => context.update(&leaf.0[..]),
                // No leaf is this: it would be the image of a hash.
                None => context.update(&[0; 32]),
            }
        }
        let digest = context.finish();
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(digest.as_ref());
        let key = UnboundKey::new(&AES_256_GCM, &key[..]).ok()?;
        Some(PayloadKey(LessSafeKey::new(key)))
    }

    /// Appends `plain` to `out`, sealed as `part`: nothing that was sealed as one part opens as another.
    pub fn seal(&self, part: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Refused)?;
        out.reserve(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(part), &mut out[start..]);
        match sealed {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                // Nothing in clear may be left where something sealed was to be.
                out.truncate(start - NONCE_LEN);
                return Err(Refused);
            }
        }
        Ok(())
    }

    /// [`PayloadKey::seal`] into bytes of its own.
    pub fn sealed(&self, part: &str, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::new();
        self.seal(part, plain, &mut out)?;
        Ok(out)
    }

    pub fn open(&self, part: &str, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let (nonce, body) = sealed.split_first_chunk().ok_or(Refused)?;
        let (nonce, mut body) = (Nonce::assume_unique_for_key(*nonce), body.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(part), &mut body);
        let len = opened.map_err(|_| Refused)?.len();
        body.truncate(len);
        Ok(body)
    }
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadKey(***)")
    }
}
