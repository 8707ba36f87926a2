//! The request of one delivery: canonical JSON and signed headers, the bytes that the webhook sink posts.

use std::io::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use pushrail_schemas::Event;

/// Signs and frames deliveries to one receiver.
pub(super) struct Poster {
    secret: hmac::Key,
    host: HeaderValue,
    template: HeaderMap,
}

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const X_SIGNATURE: HeaderName = HeaderName::from_static("x-pushrail-signature");
const X_TIMESTAMP: HeaderName = HeaderName::from_static("x-pushrail-timestamp");

impl Poster {
    pub(super) fn new(secret: &[u8], host: &str) -> anyhow::Result<Self> {
        let mut template = HeaderMap::with_capacity(12);
        template.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        template.insert(USER_AGENT, HeaderValue::from_static("Pushrail/0.1"));
        let host = HeaderValue::from_str(host)?;
        Ok(Poster {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            host,
            template,
        })
    }

    /// Headers and body of `event`, signed now.
    pub(super) fn request(&self, event: &Event, now_s: i64) -> (HeaderMap, Bytes) {
        let body = body(event);
        let mut id = [0u8; uuid::fmt::Hyphenated::LENGTH];
        let id = &*event.event_id().hyphenated().encode_lower(&mut id);
        let mut number = itoa::Buffer::new();
        let timestamp = number.format(now_s);
        let value =
            |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let mut headers = self.template.clone();
        headers.insert(HOST, self.host.clone());
        headers.insert(WEBHOOK_ID, value(id));
        headers.insert(WEBHOOK_TIMESTAMP, value(timestamp));
        let standard = self.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", &body]);
        headers.insert(
            WEBHOOK_SIGNATURE,
            value(&format!("v1,{}", STANDARD.encode(standard))),
        );
        headers.insert(X_TIMESTAMP, value(timestamp));
        headers.insert(
            X_SIGNATURE,
            value(&hex::encode(self.sign(&[
                timestamp.as_bytes(),
                b".",
                &body,
            ]))),
        );
        (headers, body)
    }

    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.secret);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

/// The canonical event, as JSON.
fn body(event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(event.value().len() + 192);
    let time = |us| jiff::Timestamp::from_microsecond(us).unwrap_or_default();
    // Writing to a `Vec` does not fail. Types and ids here need no escaping: they are our own.
    let _ = write!(
        out,
        r#"{{"eventId":"{}","eventType":"{}""#,
        event.event_id(),
        event.event_type()
    );
    let _ = write!(
        out,
        r#","occurredAt":"{:.6}""#,
        time(event.occurred_at_us())
    );
    let _ = write!(
        out,
        r#","customerExternalId":"{}","payload":"#,
        event.customer_external_id()
    );
    out.extend_from_slice(event.payload());
    out.extend_from_slice(br#","metadata":"#);
    out.extend_from_slice(event.metadata());
    let _ = write!(
        out,
        r#","receivedAt":"{:.6}"}}"#,
        time(event.received_at_us())
    );
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_body_is_the_canonical_event() {
        let value = sample::value_bytes(1, 5, sample::destination_id(0, 0));
        let event = Event::parse(value).unwrap();
        let (headers, body) = Poster::new(b"secret", "localhost")
            .unwrap()
            .request(&event, 1_700_000_000);
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["eventId"], event.event_id().to_string());
        assert_eq!(json["payload"]["sequence"], 5);
        assert!(
            headers[WEBHOOK_SIGNATURE]
                .to_str()
                .unwrap()
                .starts_with("v1,")
        );
    }
}
