//! What stands for a subject wherever it is kept.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use uuid::Uuid;

/// The name that a subject of a customer has inside: the same as long as the tenant has the same key, and without it nobody
/// can tell a guess from the truth. Never changes: what is about a subject would not be found.
pub fn subject_id(key: &[u8; 32], customer_id: Uuid, subject: &str) -> Uuid {
    let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    context.update(b"pushrail.subject.v1");
    context.update(customer_id.as_bytes());
    context.update(subject.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&context.sign().as_ref()[..16]);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_itself_with_its_customer_and_its_key_alone() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let id = subject_id(&[1; 32], one, "user/1");
        assert_eq!(id, subject_id(&[1; 32], one, "user/1"));
        assert_eq!(id.get_version_num(), 8);
        for other in [
            subject_id(&[2; 32], one, "user/1"),
            subject_id(&[1; 32], two, "user/1"),
            subject_id(&[1; 32], one, "user/2"),
        ] {
            assert_ne!(id, other);
        }
    }
}
