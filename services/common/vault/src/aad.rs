//! What a ciphertext belongs to.

use uuid::Uuid;

/// The row and version that a ciphertext is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aad<'a> {
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
    pub version: u64,
}

impl<'a> Aad<'a> {
    /// Of a destination as it is on the `config` topic.
    pub fn of(destination: &'a pushrail_schemas::config::Destination) -> Self {
        Aad {
            tenant_id: &destination.tenant_id,
            customer_id: destination.customer_id,
            destination_id: destination.destination_id,
            version: destination.version,
        }
    }

    /// Each part after its length, so that no two rows share their bytes. Never changes: it would close every secret.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        joined(&[
            b"pushrail.secrets.v1",
            self.tenant_id.as_bytes(),
            self.customer_id.as_bytes(),
            self.destination_id.as_bytes(),
            &self.version.to_be_bytes(),
        ])
    }
}

/// What the answer to a request with an idempotency key is bound to.
pub(crate) fn answer(owner: &str, key: &str) -> Vec<u8> {
    joined(&[b"pushrail.answer.v1", owner.as_bytes(), key.as_bytes()])
}

/// What the keys of a tenant's payloads are bound to.
pub(crate) fn payload_key(tenant_id: &str, epoch: u32, shard: u8) -> Vec<u8> {
    joined(&[
        b"pushrail.payload_key.v1",
        tenant_id.as_bytes(),
        &epoch.to_be_bytes(),
        &[shard],
    ])
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
