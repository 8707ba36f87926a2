//! The events that everything here sends: of one exact size, with the time of sending inside.

use bytes::Bytes;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::identity;
use uuid::Uuid;

/// The tenant of every load test.
pub const TENANT: &str = "dev";
pub const EVENT_TYPE: &str = "order.completed";
/// Bytes of a "1 KB event": its value on Kafka, schema id included.
pub const VALUE_LEN: usize = 1024;
/// Bytes of the payload that gives about [`VALUE_LEN`] where the value is not ours to measure (HTTP).
pub const PAYLOAD_LEN: usize = 820;

/// The external id of the customer of destination number `n`.
pub fn customer(n: u32) -> String {
    format!("customer-{n}")
}

/// The id of destination number `n` of a run. `salt` picks another family of ids.
pub fn destination_id(salt: u64, n: u64) -> Uuid {
    Uuid::new_v5(
        &Uuid::from_u64_pair(0x6c6f_6164_7465_7374, salt),
        &n.to_be_bytes(),
    )
}

/// A JSON object of exactly `len` bytes (or a little more, when `len` is too small) that carries `sent_us`.
pub fn payload(sequence: u64, sent_us: i64, len: usize) -> String {
    let start = format!(
        r#"{{"sentAtUs":{sent_us},"sequence":{sequence},"orderId":"ord_{sequence:012}","currency":"EUR","note":""#
    );
    let filler = len.saturating_sub(start.len() + 2);
    let mut payload = String::with_capacity(len.max(start.len() + 2));
    payload.push_str(&start);
    // Text that compresses about as well as text does, not one letter a thousand times.
    const WORDS: &str =
        "the quick brown fox jumps over a lazy dog while seven wizards pack twelve liquor jugs; ";
    payload.extend(
        WORDS
            .chars()
            .cycle()
            .skip(sequence as usize % WORDS.len())
            .take(filler),
    );
    payload.push_str("\"}");
    payload
}

/// A record for `deliver.<kind>`, as the router writes them.
pub struct Deliver {
    pub key: String,
    pub value: Vec<u8>,
    pub delivery: Delivery,
}

/// Which event goes where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub sequence: u64,
    pub customer: &'a str,
    pub destination: Uuid,
    /// Unix microseconds; also the time of acceptance.
    pub sent_us: i64,
}

/// An order as a record of `value_len` bytes.
pub fn deliver(schema_id: u32, order: Order<'_>, value_len: usize) -> Deliver {
    let Order {
        sequence,
        customer,
        destination,
        sent_us,
    } = order;
    let event_id = event_id(sequence);
    let mut value = Vec::with_capacity(value_len);
    let encode = |payload: &str, value: &mut Vec<u8>| {
        value.clear();
        let parts = Parts {
            event_id,
            event_type: EVENT_TYPE,
            occurred_at_us: sent_us,
            customer_external_id: customer,
            idempotency_key: None,
            source: None,
            payload: payload.as_bytes(),
            metadata: b"{}",
            received_at_us: sent_us,
            subject_id: None,
            sealing: None,
        };
        parts.encode(schema_id, value);
    };
    // The frame around the payload is what an empty payload leaves, and one byte more of length prefix.
    encode("", &mut value);
    let payload_len = value_len.saturating_sub(value.len() + 1);
    encode(&payload(sequence, sent_us, payload_len), &mut value);
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination),
        event_id,
        tenant_id: TENANT.into(),
        customer_id: identity::customer_id(TENANT, customer),
        destination_id: destination,
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    Deliver {
        key: destination.to_string(),
        value,
        delivery,
    }
}

/// The id of event number `sequence` of those that bypass ingest.
pub fn event_id(sequence: u64) -> Uuid {
    Uuid::new_v5(
        &Uuid::from_u128(0x7072_6566_696c_6c00),
        &sequence.to_be_bytes(),
    )
}

/// A sample of what is posted to a webhook.
pub fn value_bytes(schema_id: u32, sequence: u64, destination: Uuid) -> Bytes {
    let order = Order {
        sequence,
        customer: &customer(0),
        destination,
        sent_us: pushrail_clock::now_us(),
    };
    Bytes::from(deliver(schema_id, order, VALUE_LEN).value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushrail_schemas::Event;

    #[test]
    fn an_event_has_the_size_it_claims_and_a_payload_that_is_json() {
        let value = value_bytes(1, 42, destination_id(0, 1));
        assert_eq!(value.len(), VALUE_LEN);
        let event = Event::parse(value).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(event.payload()).unwrap();
        assert_eq!(payload["sequence"], 42);
    }

    #[test]
    fn destinations_of_two_runs_differ() {
        assert_ne!(destination_id(0, 1), destination_id(1, 1));
    }
}
