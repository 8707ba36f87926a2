//! Events to send.

use std::sync::Arc;

use bytes::Bytes;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::{Event, identity};
use pushrail_sink_core::Record;
use uuid::Uuid;

/// 2026-01-02T03:04:05.123456Z
const AT_US: i64 = 1_767_323_045_123_456;

/// A record with an id of its own.
pub fn record(payload: &str) -> Arc<Record> {
    record_of("order.completed", payload)
}

pub fn record_of(event_type: &str, payload: &str) -> Arc<Record> {
    let (event_id, destination_id) = (Uuid::now_v7(), Uuid::from_u128(3));
    let key = format!("order-{event_id}");
    let mut value = Vec::new();
    Parts {
        event_id,
        event_type,
        occurred_at_us: AT_US,
        customer_external_id: "cust-1",
        idempotency_key: Some(&key),
        source: Some("shop"),
        payload: payload.as_bytes(),
        metadata: br#"{"env":"test"}"#,
        received_at_us: AT_US + 1_000_000,
        subject_id: None,
        sealing: None,
    }
    .encode(1, &mut value);
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination_id),
        event_id,
        tenant_id: "acme".into(),
        customer_id: Uuid::from_u128(2),
        destination_id,
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    Arc::new(Record {
        event: Event::parse(Bytes::from(value)).expect("what was just encoded"),
        delivery,
        attempt: 1,
    })
}

/// So many records of one type.
pub fn records(count: usize) -> Vec<Arc<Record>> {
    (0..count)
        .map(|n| record(&format!(r#"{{"n":{n},"text":"ä \"quoted\" line"}}"#)))
        .collect()
}
