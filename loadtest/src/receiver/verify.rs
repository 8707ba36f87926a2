//! Verifies signatures as a customer would, by the Standard Webhooks specification and nothing of Pushrail's.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::Request;
use crate::destinations::SIGNING_KEY;

pub(super) struct Verifier(hmac::Key);

impl Verifier {
    pub(super) fn new() -> Self {
        Verifier(hmac::Key::new(hmac::HMAC_SHA256, SIGNING_KEY))
    }

    /// Whether one of the request's `v1` signatures covers its id, timestamp and body.
    pub(super) fn passes(&self, request: &Request) -> bool {
        let Some(id) = request.webhook_id else {
            return false;
        };
        let id = id.hyphenated().to_string();
        let parts: [&[u8]; 5] = [
            id.as_bytes(),
            b".",
            &request.signed.timestamp,
            b".",
            &request.body,
        ];
        let signed = parts.concat();
        let signatures = request.signed.signature.split(|byte| *byte == b' ');
        let mut ours =
            signatures.filter_map(|text| STANDARD.decode(text.strip_prefix(b"v1,")?).ok());
        ours.any(|tag| hmac::verify(&self.0, &signed, &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Signed, Target};
    use super::*;

    #[test]
    fn a_changed_body_does_not_pass() {
        let id = uuid::Uuid::from_u128(1);
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, SIGNING_KEY),
            format!("{id}.17.body").as_bytes(),
        );
        let mut request = Request {
            target: Target::Destination(0),
            post: true,
            webhook_id: Some(id),
            signed: Signed {
                timestamp: b"17".to_vec(),
                signature: format!("v1,AAAA v1,{}", STANDARD.encode(tag)).into_bytes(),
            },
            body: bytes::Bytes::from_static(b"body"),
        };
        assert!(Verifier::new().passes(&request));
        request.body = bytes::Bytes::from_static(b"bodY");
        assert!(!Verifier::new().passes(&request));
    }
}
