use bytes::Bytes;
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::headers;
use serde_json::json;

use super::*;
use crate::testing::{CUSTOMER, TENANT, destination};

const EVENT_ID: Uuid = Uuid::from_u128(0xe);
const NOW_US: i64 = 1_800_000_000_000_000;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Default)]
struct Written {
    deliveries: Vec<(String, Delivery, Event)>,
    records: Vec<Recorded>,
}

/// What the tests want to know of an audit record.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Recorded {
    key: Uuid,
    destination_id: Option<Uuid>,
    outcome: &'static str,
    class: String,
    code: Option<String>,
    payload: Option<Vec<u8>>,
}

impl Out for Written {
    fn deliver(&mut self, kind: &Kind, delivery: &Delivery, value: &[u8]) {
        let event = Event::parse(Bytes::copy_from_slice(value)).unwrap();
        self.deliveries
            .push((kind.topic.to_string(), delivery.clone(), event));
    }

    fn record(&mut self, key: Uuid, attempt: &Attempt<'_>) {
        assert_eq!((attempt.attempt, attempt.event_id), (0, EVENT_ID));
        assert_eq!(attempt.payload.is_none(), attempt.payload_form == "omitted");
        assert_eq!(attempt.started_at_us, NOW_US);
        self.records.push(Recorded {
            key,
            destination_id: attempt.destination_id,
            outcome: attempt.outcome.as_str(),
            class: attempt.class.to_owned(),
            code: attempt.code.map(str::to_owned),
            payload: attempt.payload.map(<[u8]>::to_vec),
        });
    }
}

fn value(payload: &str) -> Vec<u8> {
    let mut value = Vec::new();
    Parts {
        event_id: EVENT_ID,
        event_type: "order.completed",
        occurred_at_us: 1,
        customer_external_id: CUSTOMER,
        idempotency_key: None,
        source: None,
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us: 2,
        subject_id: None,
        sealing: None,
    }
    .encode(42, &mut value);
    value
}

fn route(index: &Index, payload: &str) -> (Tally, Written) {
    let customer = identity::customer_id(TENANT, CUSTOMER).to_string();
    let pairs = [
        (headers::TENANT_ID, TENANT.as_bytes()),
        (headers::CUSTOMER_ID, customer.as_bytes()),
    ];
    let accepted = Accepted::read(Some(&value(payload)), pairs.into_iter()).unwrap();
    let mut written = Written::default();
    let tally = Fanout::with_keys(None).route(index, &accepted, Some(TRACE), NOW_US, &mut written);
    (tally, written)
}

fn index(destinations: &[(u128, serde_json::Value)]) -> Index {
    let mut index = Index::new(["webhook".into(), "s3".into()]);
    for (id, more) in destinations {
        index.put(&destination(*id, &["order.*", "*"], more.clone()));
    }
    index
}

fn filter(value: i64) -> serde_json::Value {
    json!({"path": "payload.amount", "op": "gte", "value": value})
}

#[test]
fn each_match_gets_the_original_bytes_under_its_own_delivery_id() {
    let index = index(&[
        (1, json!({})),
        (2, json!({"kind": "s3", "state": "paused"})),
        (3, json!({"filter": filter(5)})),
    ]);
    let (tally, written) = route(&index, r#"{ "amount":  5.0 }"#);
    assert_eq!(
        tally,
        Tally {
            deliveries: 3,
            ..Tally::default()
        }
    );
    assert_eq!(written.records, []);
    let mut topics: Vec<_> = written
        .deliveries
        .iter()
        .map(|(topic, ..)| topic.as_str())
        .collect();
    topics.sort_unstable();
    assert_eq!(
        topics,
        ["deliver.s3", "deliver.webhook", "deliver.webhook"],
        "paused is owed, not skipped"
    );
    for (_, delivery, event) in &written.deliveries {
        assert_eq!(event.value(), &value(r#"{ "amount":  5.0 }"#));
        assert_eq!(
            delivery.delivery_id,
            identity::delivery_id(EVENT_ID, delivery.destination_id)
        );
        assert_eq!((&*delivery.tenant_id, delivery.attempt), (TENANT, 0));
        assert_eq!(
            delivery.customer_id,
            identity::customer_id(TENANT, CUSTOMER)
        );
        assert_eq!(delivery.traceparent.as_deref(), Some(TRACE));
        assert_eq!(delivery.not_before_ms, None);
    }
}

#[test]
fn every_skip_is_recorded_with_its_reason() {
    let index = index(&[
        (1, json!({"state": "disabled"})),
        (2, json!({"filter": filter(6)})),
        (3, json!({"filter": filter(6), "payloadMode": "off"})),
        (4, json!({"kind": "carrier_pigeon"})),
        (
            5,
            json!({"transform": [{"set": {"path": "payload.x", "value": 0.12345678901234567}}]}),
        ),
        (6, json!({"state": "disabled", "filter": filter(0)})),
    ]);
    let (tally, mut written) = route(&index, r#"{"amount":5}"#);
    assert_eq!(
        tally,
        Tally {
            filtered: 2,
            disabled: 4,
            ..Tally::default()
        }
    );
    assert!(written.deliveries.is_empty());
    written.records.sort();
    let payload = Some(br#"{"amount":5}"#.to_vec());
    let record = |id: u128, class: &str, code: Option<&str>, payload: &Option<Vec<u8>>| Recorded {
        key: Uuid::from_u128(id),
        destination_id: Some(Uuid::from_u128(id)),
        outcome: "skipped",
        class: class.to_owned(),
        code: code.map(str::to_owned),
        payload: payload.clone(),
    };
    assert_eq!(
        written.records,
        [
            record(1, "disabled", None, &payload),
            record(2, "filtered", None, &payload),
            record(3, "filtered", None, &None),
            record(4, "disabled", Some("unknown_kind"), &payload),
            record(5, "disabled", Some("invalid_config"), &payload),
            record(6, "disabled", None, &payload),
        ]
    );
}

#[test]
fn the_record_of_a_skip_hides_what_the_audit_is_not_to_show() {
    let key = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    let redact = json!({"mode": "redact", "paths": ["payload.card"]});
    let drop = json!([{"rename": {"from": "payload.card", "to": "payload.c"}}]);
    let index = index(&[
        (1, json!({"filter": filter(6), "payloadMode": redact})),
        (
            2,
            json!({"filter": filter(6), "payloadMode": {"mode": "seal", "publicKey": key}}),
        ),
        // What a transform makes has other paths than what was published.
        (
            3,
            json!({"filter": filter(6), "payloadMode": redact, "transform": drop}),
        ),
        // Whatever let such a key through.
        (
            4,
            json!({"filter": filter(6), "payloadMode": {"mode": "seal", "publicKey": "x"}}),
        ),
        (5, json!({"state": "disabled", "payloadMode": redact})),
        (6, json!({"payloadMode": redact})),
    ]);
    let payload = r#"{"amount":5, "card": "4111"}"#;
    let (_, mut written) = route(&index, payload);
    written.records.sort();
    let shown: Vec<_> = written
        .records
        .iter()
        .map(|record| (record.key.as_u128(), record.payload.as_deref()))
        .collect();
    let redacted = Some(&br#"{"amount":5,"card":"[redacted]"}"#[..]);
    assert_eq!(
        shown,
        [
            (1, redacted),
            (2, None),
            (3, None),
            (4, None),
            (5, redacted)
        ]
    );
    let delivered = written.deliveries[0].2.payload();
    assert_eq!(
        delivered,
        payload.as_bytes(),
        "what is delivered is not touched"
    );
    // What can't be read can't be redacted either.
    let (_, written) = route(&index, r#"{"amount":5, "card": "4111""#);
    assert!(
        written
            .records
            .iter()
            .all(|record| record.payload.is_none())
    );
}

#[test]
fn an_event_that_nobody_wants_leaves_one_record_under_its_own_id() {
    let mut index = Index::default();
    index.put(&destination(1, &["user.*"], json!({})));
    let (tally, written) = route(&index, "{}");
    assert_eq!(
        tally,
        Tally {
            no_match: 1,
            ..Tally::default()
        }
    );
    let wanted = Recorded {
        key: EVENT_ID,
        destination_id: None,
        outcome: "skipped",
        class: "no_match".to_owned(),
        code: None,
        payload: None,
    };
    assert_eq!(written.records, [wanted]);
}

#[test]
fn a_transform_is_one_destinations_own() {
    let index = index(&[
        (
            1,
            json!({"transform": [{"mask": {"path": "payload.card", "keep_last": 4}}]}),
        ),
        (2, json!({})),
        (3, json!({"transform": [{"drop": ["payload.nothing"]}]})),
    ]);
    let payload = r#"{ "card": "4111111111111111" }"#;
    let (tally, written) = route(&index, payload);
    assert_eq!(tally.deliveries, 3);
    for (_, delivery, event) in &written.deliveries {
        let text = std::str::from_utf8(event.payload()).unwrap();
        if delivery.destination_id == Uuid::from_u128(1) {
            assert_eq!(text, r#"{"card":"************1111"}"#);
            assert_eq!(event.schema_id(), 42, "with the schema it came with");
        } else {
            assert_eq!(text, payload);
        }
    }
}

#[test]
fn what_cannot_be_read_as_json_goes_out_only_where_nobody_reads_it() {
    let index = index(&[
        (1, json!({})),
        (2, json!({"filter": {"not": filter(1)}})),
        (
            3,
            json!({"transform": [{"mask": {"path": "payload.card"}}]}),
        ),
    ]);
    let (tally, written) = route(&index, "{\"amount\":");
    assert_eq!(
        tally,
        Tally {
            deliveries: 1,
            filtered: 2,
            ..Tally::default()
        }
    );
    assert_eq!(written.deliveries[0].1.destination_id, Uuid::from_u128(1));
    assert!(
        written
            .records
            .iter()
            .all(|record| record.code.as_deref() == Some("invalid_json"))
    );
}

#[test]
fn a_transform_that_makes_an_event_too_large_for_kafka_does_not_stop_the_partition() {
    let big = "x".repeat(1_500_000);
    let steps = json!([{"set": {"path": "payload.a", "value": big}}]);
    let index = index(&[(1, json!({ "transform": steps }))]);
    let (_, written) = route(&index, &format!(r#"{{"b":"{}"}}"#, "y".repeat(900_000)));
    assert_eq!(written.records[0].code.as_deref(), Some("too_large"));
}

#[test]
fn a_record_that_cannot_be_routed_says_why() {
    let good = value("{}");
    let customer = Uuid::nil().to_string();
    let tenant = (headers::TENANT_ID, TENANT.as_bytes());
    let customer = (headers::CUSTOMER_ID, customer.as_bytes());
    let read = |value: Option<&[u8]>, pairs: &[(&'static str, &'static [u8])]| {
        let pairs: Vec<_> = pairs.to_vec();
        Accepted::read(value, pairs.into_iter())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let leaked: &'static [u8] = Box::leak(customer.1.to_vec().into_boxed_slice());
    let customer = (customer.0, leaked);
    for (value, pairs, says) in [
        (None, &[tenant, customer][..], "no value"),
        (Some(&b""[..]), &[tenant, customer], "0 bytes"),
        (Some(&b"\x01abcdef"[..]), &[tenant, customer], "not with 0"),
        (Some(&good[..good.len() - 1]), &[tenant, customer], "ends"),
        (Some(&good[..]), &[customer], "tenant_id is missing"),
        (Some(&good[..]), &[tenant], "customer_id is missing"),
        (
            Some(&good[..]),
            &[tenant, (headers::CUSTOMER_ID, b"x")],
            "customer_id is not a UUID",
        ),
        (
            Some(&good[..]),
            &[(headers::TENANT_ID, b"\xff"), customer],
            "tenant_id is not UTF-8",
        ),
    ] {
        let said = read(value, pairs);
        assert!(said.contains(says), "{said}, not {says}");
    }
}
