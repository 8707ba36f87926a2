//! An event as a record: the canonical event is the value, its small fields are headers as well, for consumers that do not
//! look into values.

use std::ffi::CStr;

use pushrail_sink_core::{Record, canonical, rfc3339};
use serde_json::Value;

use crate::config::Key;

/// What names, times, an id and the frame of a record take at most.
const FRAME_LEN_MAX: usize = 320;

/// A record's parts.
pub(crate) struct Parts {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static CStr, Vec<u8>)>,
}

pub(crate) fn of(record: &Record, key: &Key) -> Parts {
    let event = &record.event;
    let mut value = Vec::with_capacity(canonical::len_hint(event));
    canonical::write(event, &mut value);
    Parts {
        key: key_of(record, key),
        value,
        headers: headers(record),
    }
}

/// Bytes that a record adds to a batch, roughly and never too few.
pub(crate) fn len_max(record: &Record) -> usize {
    let event = &record.event;
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    // The key is one of these, or in the payload.
    canonical::len_hint(event)
        + FRAME_LEN_MAX
        + event.event_type().len()
        + 2 * event.customer_external_id().len()
        + 2 * optional(event.idempotency_key())
        + optional(event.source())
        + optional(record.delivery.traceparent.as_deref())
}

fn key_of(record: &Record, key: &Key) -> Option<Vec<u8>> {
    let event = &record.event;
    let customer = || event.customer_external_id().as_bytes().to_vec();
    let id = || event.event_id().to_string().into_bytes();
    match key {
        Key::None {} => None,
        Key::CustomerExternalId {} => Some(customer()),
        Key::EventId {} => Some(id()),
        Key::IdempotencyKey {} => match event.idempotency_key() {
            Some(key) => Some(key.as_bytes().to_vec()),
            None => Some(id()),
        },
        Key::Payload { path } => at(event.payload(), path).or_else(|| Some(customer())),
    }
}

/// The value at `path` as text, where it has one.
fn at(payload: &[u8], path: &str) -> Option<Vec<u8>> {
    let payload: Value = serde_json::from_slice(payload).ok()?;
    match payload.pointer(path)? {
        Value::String(text) if !text.is_empty() => Some(text.as_bytes().to_vec()),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string().into_bytes()),
        _ => None,
    }
}

/// Those that the event has.
fn headers(record: &Record) -> Vec<(&'static CStr, Vec<u8>)> {
    let event = &record.event;
    let time = |us| {
        let mut text = Vec::with_capacity(27);
        rfc3339::write(us, &mut text);
        text
    };
    let mut headers = vec![
        (c"event_id", event.event_id().to_string().into_bytes()),
        (c"event_type", event.event_type().as_bytes().to_vec()),
        (c"occurred_at", time(event.occurred_at_us())),
        (
            c"customer_external_id",
            event.customer_external_id().as_bytes().to_vec(),
        ),
        (c"received_at", time(event.received_at_us())),
    ];
    for (name, value) in [
        (c"idempotency_key", event.idempotency_key()),
        (c"source", event.source()),
        (c"traceparent", record.delivery.traceparent.as_deref()),
    ] {
        if let Some(value) = value {
            headers.push((name, value.as_bytes().to_vec()));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use pushrail_conformance::record;

    use super::*;

    fn key(payload: &str, key: Key) -> Option<String> {
        key_of(&record(payload), &key).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn each_choice_makes_its_key() {
        let path = |path: &str| Key::Payload { path: path.into() };
        let customer = Some("cust-1".to_owned());
        let payload = r#"{"order": {"id": "o-7", "no": 12345678901234567890, "paid": true, "lines": []}, "": ""}"#;
        assert_eq!(key("{}", Key::CustomerExternalId {}), customer);
        assert_eq!(key("{}", Key::None {}), None);
        assert_eq!(key("{}", Key::EventId {}).unwrap().len(), 36);
        assert!(
            key("{}", Key::IdempotencyKey {})
                .unwrap()
                .starts_with("order-")
        );
        assert_eq!(key(payload, path("/order/id")).unwrap(), "o-7");
        assert_eq!(
            key(payload, path("/order/no")).unwrap(),
            "12345678901234567890"
        );
        assert_eq!(key(payload, path("/order/paid")).unwrap(), "true");
        // What is no text of its own leaves the customer's order.
        for missing in ["/order/lines", "/order", "/order/lines/0", "/", "/nothing"] {
            assert_eq!(key(payload, path(missing)), customer, "{missing}");
        }
    }

    #[test]
    fn small_fields_are_headers_and_absent_ones_are_not() {
        let record = record("{}");
        let names: Vec<_> = headers(&record)
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        let all = [
            "event_id",
            "event_type",
            "occurred_at",
            "customer_external_id",
            "received_at",
            "idempotency_key",
            "source",
        ];
        assert_eq!(names, all);
    }

    #[test]
    fn what_is_weighed_is_never_too_little() {
        let record = record(&format!(r#"{{"x": "{}"}}"#, "y".repeat(10_000)));
        let parts = of(&record, &Key::IdempotencyKey {});
        let headers: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.count_bytes() + value.len() + 4)
            .sum();
        let len = parts.value.len() + parts.key.unwrap().len() + headers;
        assert!(len <= len_max(&record), "{len} {}", len_max(&record));
    }
}
