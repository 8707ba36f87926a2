//! The canonical event as JSON: the body of a webhook, of a message, and a line of a file.
//!
//! Fields come in the order of the catalogue: `eventId`, `eventType`, `occurredAt`, `customerExternalId`,
//! `idempotencyKey`, `source`, `payload`, `metadata`, `receivedAt`. An absent optional field is left out. Payload and
//! metadata are copied byte for byte: what the vendor wrote is what the signature covers and the receiver reads.

use pushrail_schemas::Event;
use uuid::fmt::Hyphenated;

use crate::rfc3339;

/// What the field names, quotes, times and the id take, with both optional fields.
const FRAME_LEN_MAX: usize = 256;

/// How much to reserve, so that writing rarely reallocates.
pub fn len_hint(event: &Event) -> usize {
    FRAME_LEN_MAX + event.value().len()
}

/// Appends the document.
pub fn write(event: &Event, out: &mut Vec<u8>) {
    let mut id = [0u8; Hyphenated::LENGTH];
    let id = event.event_id().hyphenated().encode_lower(&mut id);
    out.extend_from_slice(b"{\"eventId\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"eventType\":");
    string(event.event_type(), out);
    out.extend_from_slice(b",\"occurredAt\":\"");
    rfc3339::write(event.occurred_at_us(), out);
    out.extend_from_slice(b"\",\"customerExternalId\":");
    string(event.customer_external_id(), out);
    if let Some(key) = event.idempotency_key() {
        out.extend_from_slice(b",\"idempotencyKey\":");
        string(key, out);
    }
    if let Some(source) = event.source() {
        out.extend_from_slice(b",\"source\":");
        string(source, out);
    }
    out.extend_from_slice(b",\"payload\":");
    raw(event.payload(), out);
    out.extend_from_slice(b",\"metadata\":");
    raw(event.metadata(), out);
    out.extend_from_slice(b",\"receivedAt\":\"");
    rfc3339::write(event.received_at_us(), out);
    out.extend_from_slice(b"\"}");
}

/// JSON that somebody else wrote. Nothing at all would break the document, so it stands for an empty object.
fn raw(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if json.is_empty() { b"{}" } else { json });
}

/// A JSON string. Nearly all need no escape, which one look over the bytes tells.
fn string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        // Writing a string into a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pushrail_schemas::event::Parts;
    use uuid::Uuid;

    use super::*;

    fn body(parts: Parts<'_>) -> String {
        let mut value = Vec::new();
        parts.encode(7, &mut value);
        let event = Event::parse(Bytes::from(value)).unwrap();
        let mut out = Vec::new();
        write(&event, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn parts() -> Parts<'static> {
        Parts {
            event_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            event_type: "order.completed",
            occurred_at_us: 1_767_323_045_123_456,
            customer_external_id: "cust-1",
            idempotency_key: Some("order-42"),
            source: Some("shop"),
            payload: br#"{ "b":1.10, "a" : 12345678901234567890 }"#,
            metadata: br#"{"env":"prod"}"#,
            received_at_us: 1_767_323_046_000_000,
            subject_id: None,
            sealing: None,
        }
    }

    #[test]
    fn the_document_is_byte_for_byte_what_receivers_were_promised() {
        assert_eq!(
            body(parts()),
            concat!(
                r#"{"eventId":"01900000-0000-7000-8000-000000000001","eventType":"order.completed","#,
                r#""occurredAt":"2026-01-02T03:04:05.123456Z","customerExternalId":"cust-1","#,
                r#""idempotencyKey":"order-42","source":"shop","#,
                r#""payload":{ "b":1.10, "a" : 12345678901234567890 },"metadata":{"env":"prod"},"#,
                r#""receivedAt":"2026-01-02T03:04:06.000000Z"}"#,
            )
        );
    }

    #[test]
    fn what_is_reserved_is_enough() {
        let mut value = Vec::new();
        parts().encode(7, &mut value);
        let event = Event::parse(Bytes::from(value)).unwrap();
        assert!(body(parts()).len() <= len_hint(&event));
    }

    #[test]
    fn absent_fields_are_left_out_and_empty_json_becomes_an_object() {
        let body = body(Parts {
            idempotency_key: None,
            source: None,
            payload: b"",
            metadata: b"",
            ..parts()
        });
        assert!(!body.contains("idempotencyKey") && !body.contains("source"));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["payload"], serde_json::json!({}));
        assert_eq!(value["metadata"], serde_json::json!({}));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_document(kind in ".*", customer in ".*", key in ".*", source in "\\PC*") {
            let body = body(Parts {
                event_type: &kind,
                customer_external_id: &customer,
                idempotency_key: Some(&key),
                source: Some(&source),
                ..parts()
            });
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            proptest::prop_assert_eq!(value["eventType"].as_str(), Some(kind.as_str()));
            proptest::prop_assert_eq!(value["customerExternalId"].as_str(), Some(customer.as_str()));
            proptest::prop_assert_eq!(value["idempotencyKey"].as_str(), Some(key.as_str()));
            proptest::prop_assert_eq!(value["source"].as_str(), Some(source.as_str()));
        }
    }
}
