//! What is read and written by hand is what the Avro library reads and writes, for any values.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use proptest::prelude::*;
use pushrail_schemas::attempt::{Attempt, Outcome, tenant_id};
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::{avro, wire};
use uuid::Uuid;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..80)
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn uuid(id: Uuid) -> Value {
    Value::Uuid(id)
}

fn string(text: impl AsRef<str>) -> Value {
    Value::String(text.as_ref().to_owned())
}

fn optional<T>(value: Option<T>, some: impl Fn(T) -> Value) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(some(value))),
    }
}

fn read(schema: &str, mut body: &[u8]) -> Value {
    let schema = Schema::parse_str(schema).unwrap();
    let value = GenericDatumReader::builder(&schema)
        .build()
        .unwrap()
        .read_value(&mut body)
        .unwrap();
    assert!(body.is_empty(), "{} bytes are left", body.len());
    value
}

fn write(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap()
}

type EventValues = (
    u128,
    String,
    i64,
    String,
    Option<String>,
    Option<String>,
    Vec<u8>,
    Vec<u8>,
    i64,
);

fn events() -> impl Strategy<Value = EventValues> {
    let optional = || prop::option::of(text());
    (
        any::<u128>(),
        text(),
        any::<i64>(),
        text(),
        optional(),
        optional(),
        bytes(),
        bytes(),
        any::<i64>(),
    )
}

fn parts(values: &EventValues) -> Parts<'_> {
    Parts {
        event_id: Uuid::from_u128(values.0),
        event_type: &values.1,
        occurred_at_us: values.2,
        customer_external_id: &values.3,
        idempotency_key: values.4.as_deref(),
        source: values.5.as_deref(),
        payload: &values.6,
        metadata: &values.7,
        received_at_us: values.8,
        subject_id: values.4.as_ref().map(|_| Uuid::from_u128(values.0)),
        sealing: values.5.as_deref().map(str::as_bytes),
    }
}

fn event_value(parts: &Parts<'_>) -> Value {
    record(vec![
        ("event_id", uuid(parts.event_id)),
        ("event_type", string(parts.event_type)),
        ("occurred_at", Value::TimestampMicros(parts.occurred_at_us)),
        ("customer_external_id", string(parts.customer_external_id)),
        ("idempotency_key", optional(parts.idempotency_key, string)),
        ("source", optional(parts.source, string)),
        ("payload", Value::Bytes(parts.payload.to_vec())),
        ("metadata", Value::Bytes(parts.metadata.to_vec())),
        ("received_at", Value::TimestampMicros(parts.received_at_us)),
        ("subject_id", optional(parts.subject_id, uuid)),
        (
            "sealing",
            optional(parts.sealing, |bytes| Value::Bytes(bytes.to_vec())),
        ),
    ])
}

proptest! {
    #[test]
    fn an_event_is_the_same_by_hand_and_by_the_library(values in events(), id in any::<u32>()) {
        let parts = parts(&values);
        let mut encoded = Vec::new();
        parts.encode(id, &mut encoded);
        let (read_id, body) = wire::split(&encoded).unwrap();
        prop_assert_eq!(read_id, id);
        prop_assert_eq!(read(avro::EVENT, body), event_value(&parts));
        prop_assert_eq!(write(avro::EVENT, event_value(&parts)), body);

        let event = Event::parse(Bytes::from(encoded.clone())).unwrap();
        let mut again = Vec::new();
        event.parts().encode(id, &mut again);
        prop_assert_eq!(&again, &encoded);
        prop_assert_eq!(&event.payload_bytes()[..], parts.payload);
    }

    #[test]
    fn a_cut_event_is_refused_and_an_appended_field_is_not(values in events(), more in bytes()) {
        let mut encoded = Vec::new();
        parts(&values).encode(1, &mut encoded);
        // Where the first versions ended is no cut.
        let mut bare = Vec::new();
        Parts { subject_id: None, sealing: None, ..parts(&values) }.encode(1, &mut bare);
        for len in (0..encoded.len()).filter(|len| *len != bare.len() - 2) {
            prop_assert!(Event::parse(Bytes::copy_from_slice(&encoded[..len])).is_err());
        }
        encoded.extend(more);
        let event = Event::parse(Bytes::from(encoded)).unwrap();
        prop_assert_eq!(event.received_at_us(), values.8);
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte in any::<u8>(), values in events()) {
        let _ = Event::parse(Bytes::from(bytes.clone()));
        let _ = Event::parse(Bytes::from([&[0, 0, 0, 0, 1], bytes.as_slice()].concat()));
        let mut encoded = Vec::new();
        parts(&values).encode(1, &mut encoded);
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if let Ok(event) = Event::parse(Bytes::from(encoded)) {
            let _ = (event.event_type(), event.payload(), event.metadata(), event.source(), event.idempotency_key());
        }
    }

    #[test]
    fn an_attempt_is_the_same_by_hand_and_by_the_library(
        ids in (any::<u128>(), any::<u128>(), any::<u128>(), prop::option::of(any::<u128>()), prop::option::of(any::<u128>()), prop::option::of(any::<u128>())),
        texts in (text(), text(), text(), prop::option::of(text()), prop::option::of(text()), prop::option::of(text()), prop::option::of(text()), prop::option::of(text())),
        numbers in (0..i32::MAX as u32, prop::option::of(any::<u16>()), any::<i64>(), any::<i64>(), prop::option::of(any::<i64>()), prop::option::of(any::<i64>()), prop::option::of(any::<i64>())),
        outcome in prop::sample::select(vec![Outcome::Delivered, Outcome::Retrying, Outcome::Dead, Outcome::Suspended, Outcome::Skipped, Outcome::Duplicate, Outcome::Queued]),
        blobs in (prop::option::of(bytes()), prop::option::of(bytes())),
    ) {
        let attempt = Attempt {
            attempt_id: Uuid::from_u128(ids.0),
            tenant_id: &texts.0,
            customer_id: Uuid::from_u128(ids.1),
            event_id: Uuid::from_u128(ids.2),
            event_type: &texts.1,
            delivery_id: ids.3.map(Uuid::from_u128),
            destination_id: ids.4.map(Uuid::from_u128),
            kind: texts.3.as_deref(),
            attempt: numbers.0,
            outcome,
            class: &texts.2,
            code: texts.4.as_deref(),
            status_code: numbers.1,
            started_at_us: numbers.2,
            latency_us: numbers.3,
            error: texts.5.as_deref(),
            response_headers: texts.6.as_deref(),
            response_excerpt: blobs.0.as_deref(),
            payload: blobs.1.as_deref(),
            payload_form: &texts.1,
            next_attempt_at_us: numbers.4,
            first_attempt_at_us: numbers.5,
            origin: &texts.2,
            replay_id: ids.5.map(Uuid::from_u128),
            traceparent: texts.7.as_deref(),
            received_at_us: numbers.6,
            subject_id: ids.3.map(Uuid::from_u128),
            sealing: blobs.1.as_deref(),
        };
        let mut encoded = Vec::new();
        attempt.encode(77, &mut encoded);
        let (_, body) = wire::split(&encoded).unwrap();
        let value = attempt_value(&attempt);
        prop_assert_eq!(&read(avro::ATTEMPT, body), &value);
        prop_assert_eq!(write(avro::ATTEMPT, value), body);
        prop_assert_eq!(&Attempt::parse(&encoded).unwrap(), &attempt);

        prop_assert_eq!(tenant_id(&encoded).unwrap(), texts.0.as_str());
        // What is read ends with the tenant: cut there it is still known, and cut before it is not.
        let end = wire::PREFIX_LEN + 1 + 36 + 1 + texts.0.len();
        prop_assert_eq!(tenant_id(&encoded[..end]).unwrap(), texts.0.as_str());
        for len in 0..end {
            prop_assert!(tenant_id(&encoded[..len]).is_err());
        }
    }

    /// Whatever names a tenant here names the same one to everybody else.
    #[test]
    fn a_changed_or_invented_attempt_has_the_tenant_that_the_library_reads_or_none(
        invented in prop::collection::vec(any::<u8>(), 0..120),
        tenant in text(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut changed = vec![0, 0, 0, 0, 1];
        let fields = [("attempt_id", uuid(Uuid::nil())), ("tenant_id", string(&tenant))];
        changed.extend(write(HEAD, record(fields.into())));
        let at = at.index(changed.len());
        changed[at] = byte;
        for value in [changed, [&[0, 0, 0, 0, 1], invented.as_slice()].concat(), invented] {
            let Ok(found) = tenant_id(&value) else { continue };
            let mut body = &value[wire::PREFIX_LEN..];
            let schema = Schema::parse_str(HEAD).unwrap();
            let reader = GenericDatumReader::builder(&schema).build().unwrap();
            let Value::Record(fields) = reader.read_value(&mut body).unwrap() else {
                panic!("a record");
            };
            prop_assert_eq!(&fields[1].1, &string(found));
        }
    }
}

/// The first two fields of an attempt.
const HEAD: &str = r#"{"type": "record", "name": "Head", "fields": [
    {"name": "attempt_id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "tenant_id", "type": "string"}
]}"#;

fn attempt_value(attempt: &Attempt<'_>) -> Value {
    let blob = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    record(vec![
        ("attempt_id", uuid(attempt.attempt_id)),
        ("tenant_id", string(attempt.tenant_id)),
        ("customer_id", uuid(attempt.customer_id)),
        ("event_id", uuid(attempt.event_id)),
        ("event_type", string(attempt.event_type)),
        ("delivery_id", optional(attempt.delivery_id, uuid)),
        ("destination_id", optional(attempt.destination_id, uuid)),
        ("kind", optional(attempt.kind, string)),
        ("attempt", Value::Int(attempt.attempt as i32)),
        ("outcome", string(attempt.outcome.as_str())),
        ("class", string(attempt.class)),
        ("code", optional(attempt.code, string)),
        (
            "status_code",
            optional(attempt.status_code, |code| Value::Int(code.into())),
        ),
        ("started_at", Value::TimestampMicros(attempt.started_at_us)),
        ("latency_us", Value::Long(attempt.latency_us)),
        ("error", optional(attempt.error, string)),
        (
            "response_headers",
            optional(attempt.response_headers, string),
        ),
        ("response_excerpt", optional(attempt.response_excerpt, blob)),
        ("payload", optional(attempt.payload, blob)),
        ("payload_form", string(attempt.payload_form)),
        (
            "next_attempt_at",
            optional(attempt.next_attempt_at_us, Value::TimestampMicros),
        ),
        (
            "first_attempt_at",
            optional(attempt.first_attempt_at_us, Value::TimestampMicros),
        ),
        ("origin", string(attempt.origin)),
        ("replay_id", optional(attempt.replay_id, uuid)),
        ("traceparent", optional(attempt.traceparent, string)),
        (
            "received_at",
            optional(attempt.received_at_us, Value::TimestampMicros),
        ),
        ("subject_id", optional(attempt.subject_id, uuid)),
        ("sealing", optional(attempt.sealing, blob)),
    ])
}
