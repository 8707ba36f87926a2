use bytes::Bytes;
use pushrail_schemas::event::Parts;
use pushrail_schemas::problem::Problem;
use pushrail_schemas::transform::Transform as Declared;
use serde_json::json;
use uuid::Uuid;

use super::*;

const METADATA: &str = r#"{"region":"eu","card":"4111111111111111"}"#;

fn compile(steps: serde_json::Value) -> Result<Transform, Problem> {
    let declared: Vec<Declared> = serde_json::from_value(steps).unwrap();
    Transform::compile(&declared, "/transform")
}

fn event(payload: &str, metadata: &str) -> Event {
    let mut value = Vec::new();
    Parts {
        event_id: Uuid::from_u128(7),
        event_type: "order.completed",
        occurred_at_us: 1,
        customer_external_id: "c-1",
        idempotency_key: Some("k"),
        source: None,
        payload: payload.as_bytes(),
        metadata: metadata.as_bytes(),
        received_at_us: 2,
        subject_id: None,
        sealing: None,
    }
    .encode(42, &mut value);
    Event::parse(Bytes::from(value)).unwrap()
}

/// Payload and metadata after the steps; `None` when nothing changed.
fn apply(payload: &str, steps: serde_json::Value) -> Option<(String, String)> {
    let event = event(payload, METADATA);
    let document = Document::new(event.payload(), event.metadata());
    let mut out = Vec::new();
    let transform = compile(steps).unwrap();
    let changed = transform.apply(&event, 42, &document, &mut out).unwrap();
    assert_eq!(changed, !out.is_empty());
    changed.then(|| {
        let new = Event::parse(Bytes::from(out)).unwrap();
        assert_eq!(new.event_id(), event.event_id());
        assert_eq!(new.idempotency_key(), event.idempotency_key());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(new.payload()), text(new.metadata()))
    })
}

fn payload(payload: &str, steps: serde_json::Value) -> String {
    let (payload, metadata) = apply(payload, steps).expect("changed");
    assert_eq!(metadata, METADATA, "metadata were not meant");
    payload
}

#[test]
fn what_no_step_reaches_keeps_its_bytes() {
    let text =
        r#"{ "big": 123456789012345678901234567890.10, "z" : {"x":1e400, "é":"\u00e9"},"a":1 }"#;
    assert_eq!(
        payload(text, json!([{"drop": ["payload.a"]}])),
        r#"{"big":123456789012345678901234567890.10,"z":{"x":1e400, "é":"\u00e9"}}"#
    );
}

#[test]
fn an_event_that_no_step_changes_is_passed_on_untouched() {
    for steps in [
        json!([]),
        json!([{"drop": ["payload.x", "metadata.x", "payload.a.x"]}]),
        json!([{"keep": ["payload"]}, {"keep": ["payload.a"]}]),
        json!([{"rename": {"from": "payload.x", "to": "payload.y"}}]),
        json!([{"rename": {"from": "payload.a", "to": "payload.a"}}]),
        json!([{"set": {"path": "payload.a.b", "value": 1}}]),
        json!([{"mask": {"path": "payload.x"}}]),
    ] {
        assert_eq!(apply(r#"{ "a":1 }"#, steps.clone()), None, "{steps}");
    }
}

#[test]
fn keep_drops_the_rest_of_what_it_names() {
    let text = r#"{"a":{"b":1,"c":2},"d":[10,11,12],"e":5,"f":{"g":1}}"#;
    for (paths, wanted) in [
        (json!(["payload.e"]), r#"{"e":5}"#),
        (
            json!(["payload.a.c", "payload.e"]),
            r#"{"a":{"c":2},"e":5}"#,
        ),
        (
            json!(["payload.a", "payload.a.c"]),
            r#"{"a":{"b":1,"c":2}}"#,
        ),
        (json!(["payload.d.0", "payload.d.2"]), r#"{"d":[10,12]}"#),
        (
            json!(["payload.nothing", "payload.f.nothing", "payload.e.x"]),
            "{}",
        ),
    ] {
        assert_eq!(payload(text, json!([{"keep": paths}])), wanted, "{paths}");
    }
}

#[test]
fn drop_means_paths_as_it_found_them() {
    let text = r#"{"a":{"b":1,"c":2},"d":[10,11,12],"x":1,"x":2}"#;
    for (paths, wanted) in [
        (
            json!(["payload.d.0", "payload.d.1", "payload.x"]),
            r#"{"a":{"b":1,"c":2},"d":[12]}"#,
        ),
        (
            json!(["payload.a.b", "payload.x", "payload.d"]),
            r#"{"a":{"c":2}}"#,
        ),
        (json!(["payload"]), "{}"),
    ] {
        assert_eq!(payload(text, json!([{"drop": paths}])), wanted, "{paths}");
    }
}

#[test]
fn rename_keeps_the_position_beside_and_replaces_what_is_there() {
    let text = r#"{"a":1,"b":{"c":2,"d":3},"e":[4,5],"s":"x"}"#;
    for (from, to, wanted) in [
        (
            "a",
            "z",
            Some(r#"{"z":1,"b":{"c":2,"d":3},"e":[4,5],"s":"x"}"#),
        ),
        ("a", "s", Some(r#"{"s":1,"b":{"c":2,"d":3},"e":[4,5]}"#)),
        (
            "b.c",
            "b.d",
            Some(r#"{"a":1,"b":{"d":2},"e":[4,5],"s":"x"}"#),
        ),
        (
            "b.c",
            "n.m",
            Some(r#"{"a":1,"b":{"d":3},"e":[4,5],"s":"x","n":{"m":2}}"#),
        ),
        (
            "b",
            "b.c",
            Some(r#"{"a":1,"e":[4,5],"s":"x","b":{"c":{"c":2,"d":3}}}"#),
        ),
        ("b.c", "b", Some(r#"{"a":1,"b":2,"e":[4,5],"s":"x"}"#)),
        (
            "e.0",
            "e.2",
            Some(r#"{"a":1,"b":{"c":2,"d":3},"e":[5,4],"s":"x"}"#),
        ),
        (
            "e.1",
            "f",
            Some(r#"{"a":1,"b":{"c":2,"d":3},"e":[4],"s":"x","f":5}"#),
        ),
        ("a", "s.t", None),
        ("a", "e.x", None),
        ("a", "e.3", None),
        ("missing", "s", None),
    ] {
        let (from_path, to_path) = (format!("payload.{from}"), format!("payload.{to}"));
        let steps = json!([{"rename": {"from": from_path, "to": to_path}}]);
        let got = apply(text, steps).map(|(payload, _)| payload);
        assert_eq!(got.as_deref(), wanted, "{from} to {to}");
    }
}

#[test]
fn set_makes_what_is_missing_and_spares_what_is_in_the_way() {
    let text = r#"{"a":1,"n":null,"e":[{"x":1}]}"#;
    for (path, value, wanted) in [
        (
            "a",
            json!({"k":[1,"\"",0.5,null]}),
            Some(r#"{"a":{"k":[1,"\"",0.5,null]},"n":null,"e":[{"x":1}]}"#),
        ),
        (
            "n.m.o",
            json!(true),
            Some(r#"{"a":1,"n":{"m":{"o":true}},"e":[{"x":1}]}"#),
        ),
        (
            "b.c",
            json!("x"),
            Some(r#"{"a":1,"n":null,"e":[{"x":1}],"b":{"c":"x"}}"#),
        ),
        ("e.0.x", json!(2), Some(r#"{"a":1,"n":null,"e":[{"x":2}]}"#)),
        (
            "e.1.y",
            json!(2),
            Some(r#"{"a":1,"n":null,"e":[{"x":1},{"y":2}]}"#),
        ),
        ("e.2", json!(2), None),
        ("a.b", json!(2), None),
    ] {
        let steps = json!([{"set": {"path": format!("payload.{path}"), "value": value}}]);
        let got = apply(text, steps).map(|(payload, _)| payload);
        assert_eq!(got.as_deref(), wanted, "{path}");
    }
}

#[test]
fn mask_hides_whatever_it_finds() {
    let text = r#"{"s":"secret-1234","u":"żółć","n":4111111111111111,"t":true,"z":null,"o":{"a":["x1",{"b":22}]}}"#;
    let steps = json!([
        {"mask": {"path": "payload.s", "keep_last": 4}},
        {"mask": {"path": "payload.u", "keep_last": 1}},
        {"mask": {"path": "payload.n", "keep_last": 4}},
        {"mask": {"path": "payload.t"}},
        {"mask": {"path": "payload.z"}},
        {"mask": {"path": "payload.o"}},
    ]);
    assert_eq!(
        payload(text, steps),
        r#"{"s":"*******1234","u":"***ć","n":"************1111","t":"****","z":null,"o":{"a":["**",{"b":"**"}]}}"#
    );
    let deep = format!(
        "{{\"d\":{}\"leak\"{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let masked = payload(&deep, json!([{"mask": {"path": "payload.d"}}]));
    assert!(!masked.contains("leak"));
}

#[test]
fn steps_build_on_each_other() {
    let steps = json!([
        {"set": {"path": "payload.user", "value": {"id": "u-1", "email": "a@b.example"}}},
        {"rename": {"from": "payload.user.email", "to": "payload.contact"}},
        {"mask": {"path": "payload.contact", "keep_last": 7}},
        {"keep": ["payload.contact", "metadata.card"]},
        {"mask": {"path": "metadata.card", "keep_last": 4}},
        {"set": {"path": "metadata.tier", "value": "gold"}},
        {"rename": {"from": "metadata.tier", "to": "metadata.app.tier"}},
    ]);
    let (payload, metadata) = apply(r#"{"user":1,"x":2}"#, steps).unwrap();
    assert_eq!(payload, r#"{"contact":"****example"}"#);
    assert_eq!(metadata, r#"{"card":"************1111","app.tier":"gold"}"#);
}

#[test]
fn what_is_no_json_is_an_error_and_never_passed_on_as_it_is() {
    for bad in ["", "[]", "{\"a\":", "{\"a\":{\"b\":\"\\ud800\"}}"] {
        let event = event(bad, "{}");
        let document = Document::new(event.payload(), event.metadata());
        let transform = compile(json!([{"mask": {"path": "payload.a.b"}}])).unwrap();
        let mut out = Vec::new();
        assert_eq!(
            transform.apply(&event, 1, &document, &mut out),
            Err(Invalid),
            "{bad}"
        );
        assert!(out.is_empty());
    }
}

#[test]
fn a_transform_that_cannot_be_meant_names_the_field_and_the_fix() {
    for (step, field, says) in [
        (
            json!({"drop": ["payload.a", "b"]}),
            "/transform/0/drop/1",
            "start with",
        ),
        (
            json!({"rename": {"from": "payload.a", "to": "metadata.a"}}),
            "/transform/0/rename/to",
            "same",
        ),
        (
            json!({"set": {"path": "metadata.a", "value": 1}}),
            "/transform/0/set/value",
            "string",
        ),
        (
            json!({"set": {"path": "payload", "value": 1}}),
            "/transform/0/set/value",
            "inside",
        ),
        (
            json!({"set": {"path": "payload.a", "value": [0.12345678901234567]}}),
            "/transform/0/set/value",
            "digits",
        ),
        (
            json!({"mask": {"path": "payload.a\\"}}),
            "/transform/0/mask/path",
            "backslash",
        ),
    ] {
        let problem = compile(json!([step.clone()])).unwrap_err();
        assert_eq!(problem.field, field, "{step}");
        assert!(problem.message.contains(says), "{}", problem.message);
    }
}
