//! Bytes that are out there, in topics that are kept for weeks and in systems that derived ids from them: they never change.
//!
//! A test that fails here says that a release would read old records wrongly, or give old events new ids. If a format must
//! change, it gets a new file beside the old one, and both are read for ever.

use std::path::Path;

use bytes::Bytes;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::{event_input, identity};
use uuid::Uuid;

fn golden(name: &str, actual: Option<&[u8]>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let kept = hex::decode(text.split_whitespace().collect::<String>()).expect("hexadecimal");
    if let Some(actual) = actual {
        let lines: Vec<String> = actual.chunks(40).map(hex::encode).collect();
        assert!(
            kept == actual,
            "{} differs; what is written now is:\n{}",
            path.display(),
            lines.join("\n")
        );
    }
    kept
}

const SEALING: &[u8] = &[1, 0, 0, 0, 7, 0, 1, 0];

fn event() -> Parts<'static> {
    Parts {
        event_id: identity::event_id("acme", "order.completed", "order-1001"),
        event_type: "order.completed",
        occurred_at_us: 1_700_000_000_123_456,
        customer_external_id: "customer-7",
        idempotency_key: Some("order-1001"),
        source: Some("checkout"),
        payload: "{\"amount\":12.50,\"currency\":\"EUR\",\"name\":\"Zoë\"}".as_bytes(),
        metadata: br#"{"region":"eu"}"#,
        received_at_us: 1_700_000_001_000_000,
        subject_id: Some(Uuid::from_u128(0x33)),
        sealing: Some(SEALING),
    }
}

#[test]
fn an_event_is_written_as_it_always_was() {
    let mut value = Vec::new();
    event().encode(42, &mut value);
    golden("event", Some(&value));
    let bare = Parts {
        idempotency_key: None,
        source: None,
        occurred_at_us: -1,
        metadata: b"{}",
        subject_id: None,
        sealing: None,
        ..event()
    };
    let mut value = Vec::new();
    bare.encode(u32::MAX, &mut value);
    golden("event_bare", Some(&value));
}

#[test]
fn an_event_is_read_as_it_always_was() {
    let read = Event::parse(Bytes::from(golden("event", None))).unwrap();
    assert_eq!(format!("{:?}", read.parts()), format!("{:?}", event()));
    let bare = Event::parse(Bytes::from(golden("event_bare", None))).unwrap();
    assert_eq!(
        (bare.idempotency_key(), bare.source(), bare.occurred_at_us()),
        (None, None, -1)
    );
}

/// The first versions knew neither subjects nor sealing.
#[test]
fn an_event_of_an_earlier_version_is_read() {
    let read = Event::parse(Bytes::from(golden("event_v2", None))).unwrap();
    let expected = Parts {
        subject_id: None,
        sealing: None,
        ..event()
    };
    assert_eq!(format!("{:?}", read.parts()), format!("{expected:?}"));
    let bare = Event::parse(Bytes::from(golden("event_bare_v2", None))).unwrap();
    assert_eq!((bare.subject_id(), bare.sealing()), (None, None));
}

fn attempts() -> [Attempt<'static>; 2] {
    let event_id = event().event_id;
    let destination_id = Uuid::from_u128(0x11);
    let attempt = Attempt {
        attempt_id: Uuid::from_u128(0x22),
        tenant_id: "acme",
        customer_id: identity::customer_id("acme", "customer-7"),
        event_id,
        event_type: "order.completed",
        delivery_id: Some(identity::delivery_id(event_id, destination_id)),
        destination_id: Some(destination_id),
        kind: Some("webhook"),
        attempt: 2,
        outcome: Outcome::Retrying,
        class: "transient",
        code: Some("http_503"),
        status_code: Some(503),
        started_at_us: 1_700_000_002_000_000,
        latency_us: 1_234,
        error: Some("The endpoint answered 503."),
        response_headers: Some("retry-after: 5"),
        response_excerpt: Some(b"try later"),
        payload: Some(b"{}"),
        payload_form: "json",
        next_attempt_at_us: Some(1_700_000_007_000_000),
        first_attempt_at_us: Some(1_700_000_001_500_000),
        origin: "live",
        replay_id: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        received_at_us: Some(1_700_000_001_250_000),
        subject_id: Some(Uuid::from_u128(0x33)),
        sealing: Some(SEALING),
    };
    let skip = Attempt {
        delivery_id: None,
        destination_id: None,
        kind: None,
        attempt: 0,
        outcome: Outcome::Skipped,
        class: "no_match",
        code: None,
        status_code: None,
        latency_us: 0,
        error: None,
        response_headers: None,
        response_excerpt: None,
        payload: None,
        payload_form: "omitted",
        next_attempt_at_us: None,
        first_attempt_at_us: None,
        traceparent: None,
        received_at_us: None,
        subject_id: None,
        sealing: None,
        ..attempt
    };
    [attempt, skip]
}

#[test]
fn an_attempt_is_written_as_it_always_was() {
    for (attempt, name) in attempts().iter().zip(["attempt", "attempt_skip"]) {
        let mut value = Vec::new();
        attempt.encode(43, &mut value);
        golden(name, Some(&value));
        assert_eq!(&Attempt::parse(&value).unwrap(), attempt);
    }
}

/// The first version did not say when the event was accepted.
#[test]
fn an_attempt_of_the_first_version_is_read() {
    for (attempt, name) in attempts()
        .into_iter()
        .zip(["attempt_v1", "attempt_skip_v1"])
    {
        let value = golden(name, None);
        let expected = Attempt {
            received_at_us: None,
            subject_id: None,
            sealing: None,
            ..attempt
        };
        assert_eq!(Attempt::parse(&value).unwrap(), expected);
    }
}

/// The second knew neither subjects nor sealing.
#[test]
fn an_attempt_of_the_second_version_is_read() {
    for (attempt, name) in attempts()
        .into_iter()
        .zip(["attempt_v2", "attempt_skip_v2"])
    {
        let value = golden(name, None);
        let expected = Attempt {
            subject_id: None,
            sealing: None,
            ..attempt
        };
        assert_eq!(Attempt::parse(&value).unwrap(), expected);
    }
}

/// Each is read with the schema that it was written with; the first two had the same.
#[test]
fn a_directly_published_event_is_read_as_it_always_was() {
    const SECOND: &str = include_str!("../avro/published/v2/EventInput.avsc");
    let versions = [
        ("event_input_v2", SECOND, None),
        (
            "event_input",
            pushrail_schemas::avro::EVENT_INPUT,
            Some("user/8234"),
        ),
    ];
    for (name, schema, subject) in versions {
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        let value = golden(name, None);
        let input = event_input::Writer::new(&schema).unwrap();
        let input = input.decode(&value).unwrap();
        assert_eq!(
            (&*input.event_type, &*input.customer_external_id),
            ("order.completed", "customer-7")
        );
        assert_eq!(
            (input.occurred_at_us, input.idempotency_key.as_deref()),
            (Some(1_700_000_000_123_456), Some("order-1001"))
        );
        assert_eq!(
            (input.source, &*input.payload, &*input.metadata),
            (None, b"{\"a\":1}".as_slice(), b"{}".as_slice())
        );
        assert_eq!(input.subject.as_deref(), subject);
    }
}

#[test]
fn ids_are_derived_as_they_always_were() {
    let event_id = identity::event_id("acme", "order.completed", "order-1001");
    let ids = [
        event_id,
        identity::customer_id("acme", "customer-7"),
        identity::delivery_id(event_id, Uuid::from_u128(0x11)),
        identity::event_id_at("events.direct.acme", 3, 17, 1_700_000_000_000),
    ];
    let mut text = String::new();
    for id in ids {
        text.push_str(&id.simple().to_string());
    }
    golden("ids", Some(&hex::decode(text).unwrap()));
}
