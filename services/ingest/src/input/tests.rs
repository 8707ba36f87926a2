use super::rules::{Cause, Limits, Rejection};
use super::*;

const NOW_US: i64 = 1_782_900_000_000_000;

fn event(text: &str) -> Result<Draft<'_>, Rejection> {
    read(&mut Scanner::new(text), &Limits::default(), NOW_US).unwrap()
}

fn with(field: &str, value: &str) -> String {
    let mut fields = vec![
        ("eventType", "\"order.completed\""),
        ("customerExternalId", "\"c-1\""),
        ("payload", "{}"),
    ];
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn problem(field: &str, value: &str) -> (String, String) {
    let text = with(field, value);
    let rejection = event(&text).expect_err(&text);
    assert_eq!(rejection.errors.len(), 1, "{rejection:?}");
    let error = &rejection.errors[0];
    (error.field.to_string(), error.message.to_string())
}

#[test]
fn payload_and_metadata_stay_the_bytes_that_were_sent() {
    let draft = event(
        r#" { "payload" : { "a" : 1.50, "é":"\u00e9" } , "metadata": {"k" :"v"},
        "eventType":"order.completed","customerExternalId":"\u0063-1","idempotencyKey":null,
        "occurredAt":"2026-07-01T12:00:00.5+02:00","source":"shop" } "#,
    )
    .unwrap();
    assert_eq!(draft.payload, r#"{ "a" : 1.50, "é":"\u00e9" }"#.as_bytes());
    assert_eq!(draft.metadata, br#"{"k" :"v"}"#);
    assert_eq!(draft.customer_external_id, "c-1");
    assert_eq!(draft.idempotency_key, None);
    assert_eq!(draft.occurred_at_us, Some(1_782_900_000_500_000));
    assert_eq!(draft.source.as_deref(), Some("shop"));
}

#[test]
fn every_broken_rule_is_reported_at_once() {
    let rejection =
        event(r#"{"eventType":7,"payload":[],"metadata":{"a":1},"foo":2}"#).unwrap_err();
    let fields: Vec<_> = rejection.errors.iter().map(|e| &*e.field).collect();
    assert_eq!(
        fields,
        [
            "foo",
            "eventType",
            "customerExternalId",
            "payload",
            "metadata.a"
        ]
    );
}

#[test]
fn an_unknown_field_is_led_to_the_one_that_was_meant() {
    for (sent, meant) in [
        ("event_type", "eventType"),
        ("EventType", "eventType"),
        ("type", "eventType"),
        ("customerId", "customerExternalId"),
        ("custommerExternalId", "customerExternalId"),
        ("data", "payload"),
        ("occuredAt", "occurredAt"),
        ("timestamp", "occurredAt"),
        ("idempotency-key", "idempotencyKey"),
        ("meta_data", "metadata"),
    ] {
        let (field, message) = problem(sent, "\"x\"");
        assert_eq!(field, sent);
        assert_eq!(
            message,
            format!("is no field of an event: did you mean `{meant}`?")
        );
    }
    assert!(
        problem("xyzzy", "1")
            .1
            .contains("the fields are eventType, ")
    );
}

#[test]
fn id_tenant_and_acceptance_are_never_taken_from_a_request() {
    for name in ["eventId", "receivedAt", "tenantId", "tenant", "tenant_id"] {
        let (field, message) = problem(name, "\"x\"");
        assert_eq!(field, name);
        assert!(message.contains("never taken from"), "{message}");
    }
}

#[test]
fn an_event_type_is_dotted_names() {
    for good in ["signup", "order.completed", "Order.line-item_2.x"] {
        event(&with("eventType", &format!("{good:?}"))).unwrap();
    }
    for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "*", "é", "a/b"] {
        assert_eq!(
            problem("eventType", &format!("{bad:?}")).0,
            "eventType",
            "{bad}"
        );
    }
    event(&with("eventType", &format!("{:?}", "a".repeat(255)))).unwrap();
    let (_, message) = problem("eventType", &format!("{:?}", "a".repeat(256)));
    assert!(
        message.starts_with("must have at most 255 bytes"),
        "{message}"
    );
}

#[test]
fn types_of_our_own_are_nobody_elses() {
    let (field, message) = problem("eventType", "\"pushrail.test\"");
    assert_eq!(field, "eventType");
    assert!(message.contains("`pushrail.`"), "{message}");
    for theirs in [
        "pushrail",
        "pushrailing.done",
        "order.pushrail.test",
        "Pushrail.test",
    ] {
        event(&with("eventType", &format!("{theirs:?}"))).unwrap();
    }
}

#[test]
fn a_time_that_is_hardly_meant_is_refused() {
    for bad in ["1999-12-31T23:59:59Z", "2026-07-02T10:00:01Z", "yesterday"] {
        assert_eq!(problem("occurredAt", &format!("{bad:?}")).0, "occurredAt");
    }
    event(&with("occurredAt", "\"2026-07-02T10:00:00Z\"")).unwrap();
}

#[test]
fn a_payload_at_its_limit_passes_and_one_byte_more_does_not() {
    let limit = Limits::default().payload_len_max;
    let payload = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    let text = with("payload", &payload(limit));
    assert_eq!(event(&text).unwrap().payload.len(), limit);
    let text = with("payload", &payload(limit + 1));
    let rejection = event(&text).unwrap_err();
    assert_eq!(rejection.cause, Cause::TooLarge);
    assert!(
        rejection.errors[0]
            .message
            .starts_with("has 262145 bytes: at most 262144")
    );
}

#[test]
fn errors_of_a_hostile_event_stay_few_and_short() {
    let noise: Vec<_> = (0..1_000)
        .map(|i| format!("\"{}{i}\":1", "z".repeat(500)))
        .collect();
    let text = format!("{{{}}}", noise.join(","));
    let rejection = event(&text).unwrap_err();
    assert_eq!(rejection.errors.len(), 10);
    assert!(
        rejection
            .errors
            .iter()
            .all(|e| e.field.len() < 80 && e.message.len() < 300)
    );
}
