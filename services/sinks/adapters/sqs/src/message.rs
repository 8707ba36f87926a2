//! An event as a message: the canonical event is the body, its small fields are attributes as well, for filters and routers
//! that do not look into bodies.

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use memchr::memmem;
use pushrail_sink_core::{Record, canonical, rfc3339};

use crate::config::Deduplication;

/// Longest group and deduplication id.
const ID_LEN_MAX: usize = 128;
/// What names, types, times, an id and a trace of attributes take at most; SQS counts them all.
const ATTRIBUTES_LEN_MAX: usize = 512;
const TYPE: &str = "String";

/// Attributes and body of one message, and their size as SQS counts it.
pub(crate) struct Message {
    pub(crate) body: String,
    pub(crate) attributes: Vec<(&'static str, String)>,
    pub(crate) len: usize,
    pub(crate) fifo: Option<Fifo>,
}

/// What orders and tells repeats apart in a FIFO queue.
pub(crate) struct Fifo {
    pub(crate) group: String,
    pub(crate) deduplication: String,
}

/// No less than [`Message::len`] will be.
pub(crate) fn len_max(record: &Record) -> usize {
    let event = &record.event;
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    // Two characters that SQS refuses are written with twice their bytes.
    canonical::len_hint(event)
        + special(event.payload())
        + special(event.metadata())
        + ATTRIBUTES_LEN_MAX
        + event.event_type().len()
        + event.customer_external_id().len()
        + optional(event.idempotency_key())
        + optional(event.source())
        + optional(record.delivery.traceparent.as_deref())
}

fn special(json: &[u8]) -> usize {
    SPECIAL
        .iter()
        .map(|(raw, _)| memmem::find_iter(json, raw).count() * 3)
        .sum()
}

pub(crate) fn of(record: &Record, fifo: Option<Deduplication>) -> Message {
    let event = &record.event;
    let time = |us| {
        let mut text = Vec::with_capacity(27);
        rfc3339::write(us, &mut text);
        String::from_utf8(text).unwrap_or_default()
    };
    let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let attributes = [
        ("event_id", event.event_id().to_string()),
        ("event_type", event.event_type().to_owned()),
        ("occurred_at", time(event.occurred_at_us())),
        (
            "customer_external_id",
            event.customer_external_id().to_owned(),
        ),
        ("idempotency_key", own(event.idempotency_key())),
        ("source", own(event.source())),
        ("received_at", time(event.received_at_us())),
        ("traceparent", own(record.delivery.traceparent.as_deref())),
    ];
    // A value that SQS would refuse is in the body all the same.
    let attributes: Vec<_> = attributes
        .into_iter()
        .filter(|(_, value)| !value.is_empty() && value.chars().all(is_character))
        .collect();
    let body = body(record);
    let of_attributes = attributes
        .iter()
        .map(|(name, value)| name.len() + TYPE.len() + value.len());
    Message {
        len: body.len() + of_attributes.sum::<usize>(),
        body,
        attributes,
        fifo: fifo.map(|by| ids(record, by)),
    }
}

/// Characters that SQS takes in bodies and attributes; others are answered with `InvalidMessageContents`.
fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// The two that JSON takes as they are and SQS does not, with what JSON may write instead. Both stand in strings only.
const SPECIAL: [(&[u8], &str); 2] = [
    ("\u{fffe}".as_bytes(), "\\ufffe"),
    ("\u{ffff}".as_bytes(), "\\uffff"),
];

fn body(record: &Record) -> String {
    let mut json = Vec::with_capacity(canonical::len_hint(&record.event));
    canonical::write(&record.event, &mut json);
    // Payload and metadata were JSON when they were accepted, and so UTF-8.
    let mut body = match String::from_utf8(json) {
        Ok(body) => body,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    for (raw, written) in SPECIAL {
        if memmem::find(body.as_bytes(), raw).is_some() {
            body = body.replace(std::str::from_utf8(raw).unwrap_or_default(), written);
        }
    }
    body
}

/// The customer orders; the event, or its key, tells repeats apart.
fn ids(record: &Record, by: Deduplication) -> Fifo {
    let event = &record.event;
    let own = |text: &str| is_id(text).then(|| text.to_owned());
    let key = match by {
        Deduplication::EventId => None,
        Deduplication::IdempotencyKey => event.idempotency_key().and_then(own),
    };
    Fifo {
        // One that SQS would refuse gives way to the customer's id here, which is made of it.
        group: own(event.customer_external_id())
            .unwrap_or_else(|| record.delivery.customer_id.to_string()),
        deduplication: key.unwrap_or_else(|| event.event_id().to_string()),
    }
}

/// Letters, digits and punctuation.
fn is_id(text: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Message {
    /// The message as the SDK has it; `id` is how SQS names it in its answer.
    pub(crate) fn entry(self, id: usize) -> Option<SendMessageBatchRequestEntry> {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(self.body);
        for (name, value) in self.attributes {
            let value = MessageAttributeValue::builder()
                .data_type(TYPE)
                .string_value(value)
                .build()
                .ok()?;
            entry = entry.message_attributes(name, value);
        }
        if let Some(fifo) = self.fifo {
            entry = entry
                .message_group_id(fifo.group)
                .message_deduplication_id(fifo.deduplication);
        }
        entry.build().ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use pushrail_schemas::Event;
    use pushrail_schemas::event::Parts;
    use pushrail_schemas::headers::{Delivery, Origin};
    use uuid::Uuid;

    use super::*;

    /// An event with a payload of about `len` bytes.
    pub(crate) fn record(customer: &str, key: Option<&str>, len: usize) -> Record {
        with_payload(customer, key, &format!(r#"{{"x":"{}"}}"#, "y".repeat(len)))
    }

    fn with_payload(customer: &str, key: Option<&str>, payload: &str) -> Record {
        let mut value = Vec::new();
        let parts = Parts {
            event_id: Uuid::from_u128(1),
            event_type: "order.completed",
            occurred_at_us: 1_767_323_045_123_456,
            customer_external_id: customer,
            idempotency_key: key,
            source: None,
            payload: payload.as_bytes(),
            metadata: b"{}",
            received_at_us: 1_767_323_046_000_000,
            subject_id: None,
            sealing: None,
        };
        parts.encode(1, &mut value);
        let delivery = Delivery {
            delivery_id: Uuid::from_u128(2),
            event_id: Uuid::from_u128(1),
            tenant_id: "acme".into(),
            customer_id: Uuid::from_u128(0xc1),
            destination_id: Uuid::from_u128(0xd1),
            attempt: 0,
            deferrals: 0,
            first_attempt_at_ms: None,
            not_before_ms: None,
            origin: Origin::Live,
            replay_id: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        };
        Record {
            event: Event::parse(Bytes::from(value)).unwrap(),
            delivery,
            attempt: 1,
        }
    }

    #[test]
    fn small_fields_are_attributes_and_absent_ones_are_not() {
        let names = |record: &Record| {
            of(record, None)
                .attributes
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
        };
        let all = [
            "event_id",
            "event_type",
            "occurred_at",
            "customer_external_id",
            "idempotency_key",
            "received_at",
            "traceparent",
        ];
        assert_eq!(names(&record("c", Some("k"), 1)), all);
        // What SQS would refuse for one character is in the body.
        let odd = record("c\u{1}", None, 1);
        assert!(!names(&odd).contains(&"customer_external_id"));
        assert!(of(&odd, None).body.contains("c\\u0001"));
    }

    #[test]
    fn a_fifo_queue_orders_by_customer_and_knows_events_apart() {
        let ids = |record: &Record, by| {
            let fifo = of(record, Some(by)).fifo.unwrap();
            (fifo.group, fifo.deduplication)
        };
        let (event, customer) = (
            Uuid::from_u128(1).to_string(),
            Uuid::from_u128(0xc1).to_string(),
        );
        let plain = record("cust-1", Some("order-42"), 1);
        assert_eq!(
            ids(&plain, Deduplication::EventId),
            ("cust-1".into(), event.clone())
        );
        assert_eq!(
            ids(&plain, Deduplication::IdempotencyKey),
            ("cust-1".into(), "order-42".into())
        );
        let odd = record("müller & söhne", Some("key with spaces"), 1);
        assert_eq!(
            ids(&odd, Deduplication::IdempotencyKey),
            (customer.clone(), event)
        );
        let long = record(&"c".repeat(129), None, 1);
        assert_eq!(ids(&long, Deduplication::EventId).0, customer);
    }

    #[test]
    fn a_character_that_sqs_refuses_is_written_as_json_may() {
        let record = with_payload("c", None, "{\"a\":\"x\u{fffe}y\u{ffff}\"}");
        let body = of(&record, None).body;
        assert!(body.contains(r#"{"a":"x\ufffey\uffff"}"#), "{body}");
        assert!(body.chars().all(is_character));
    }

    #[test]
    fn what_is_weighed_is_never_too_little() {
        for record in [
            record("c", None, 0),
            record(&"c".repeat(256), Some(&"k".repeat(256)), 10_000),
            with_payload(
                "c",
                Some("k"),
                &format!("{{\"a\":\"{}\"}}", "\u{ffff}".repeat(1000)),
            ),
        ] {
            let len = of(&record, Some(Deduplication::EventId)).len;
            assert!(len <= len_max(&record), "{len} {}", len_max(&record));
        }
    }
}
