use serde_json::json;

use super::*;

const PAYLOAD: &str = r#"{
    "amount": 9007199254740993, "price": 0.10, "name": "Zoë", "none": null, "ok": true,
    "tags": ["a", "b", 1.0], "order": {"id": "o-1", "items": [{"sku": "x"}, {"sku": "y", "n": 2}]},
    "a.b": 1, "0": "zero", "twice": 1, "twice": 2, "empty": "", "at": "2026-01-31T12:00:00Z"
}"#;
const METADATA: &str = r#"{"region": "eu-west", "app.version": "2.1", "n": "10"}"#;

fn compile(declared: Value) -> Result<Filter, Problem> {
    let declared: Declared = serde_json::from_value(declared).unwrap();
    Filter::compile(&declared, "/filter")
}

fn passes(declared: Value) -> bool {
    let document = Document::new(PAYLOAD.as_bytes(), METADATA.as_bytes());
    compile(declared).unwrap().passes(&document).unwrap()
}

#[test]
fn each_operator_on_each_kind_of_value() {
    for (path, op, value, wanted) in [
        ("payload.amount", "eq", json!(9007199254740993u64), true),
        ("payload.amount", "eq", json!(9007199254740992u64), false),
        ("payload.amount", "gt", json!(9007199254740992u64), true),
        ("payload.amount", "lte", json!(9007199254740993u64), true),
        ("payload.amount", "lt", json!(9007199254740993u64), false),
        ("payload.amount", "eq", json!("9007199254740993"), false),
        ("payload.amount", "gt", json!("1"), false),
        ("payload.amount", "prefix", json!("9"), false),
        ("payload.price", "eq", json!(0.1), true),
        ("payload.price", "gte", json!(0.1), true),
        ("payload.price", "gt", json!(0.1), false),
        ("payload.price", "in", json!([1, 0.1]), true),
        ("payload.name", "eq", json!("Zoë"), true),
        ("payload.name", "lt", json!("a"), true),
        ("payload.name", "prefix", json!("Zo"), true),
        ("payload.name", "suffix", json!("ë"), true),
        ("payload.name", "contains", json!("o"), true),
        ("payload.name", "contains", json!(1), false),
        ("payload.at", "gte", json!("2026-01-31T00:00:00Z"), true),
        ("payload.empty", "prefix", json!(""), true),
        ("payload.none", "eq", json!(null), true),
        ("payload.none", "exists", json!(true), true),
        ("payload.none", "ne", json!(0), true),
        ("payload.none", "lt", json!(0), false),
        ("payload.ok", "eq", json!(true), true),
        ("payload.ok", "ne", json!(true), false),
        ("payload.tags", "contains", json!("b"), true),
        ("payload.tags", "contains", json!(1), true),
        ("payload.tags", "contains", json!("c"), false),
        ("payload.tags.0", "eq", json!("a"), true),
        ("payload.tags.3", "exists", json!(false), true),
        ("payload.order.items.0.sku", "in", json!(["w", "x"]), true),
        ("payload.order.items.sku", "exists", json!(false), true),
        (r"payload.a\.b", "eq", json!(1), true),
        ("payload.0", "eq", json!("zero"), true),
        ("payload.twice", "eq", json!(2), true),
        ("payload", "exists", json!(true), true),
        ("metadata.region", "prefix", json!("eu-"), true),
        ("metadata.app.version", "eq", json!("2.1"), true),
        ("metadata.n", "eq", json!(10), false),
        ("metadata.n", "gt", json!(9), false),
    ] {
        let condition = json!({"path": path, "op": op, "value": value});
        assert_eq!(passes(condition.clone()), wanted, "{condition}");
        assert_eq!(
            passes(json!({ "not": condition })),
            !wanted,
            "not {path} {op}"
        );
    }
}

#[test]
fn an_absent_path_passes_nothing_but_ne_and_exists_false() {
    for (op, value, wanted) in [
        ("eq", json!(null), false),
        ("ne", json!(null), true),
        ("lt", json!(1), false),
        ("lte", json!(1), false),
        ("gt", json!(1), false),
        ("gte", json!(1), false),
        ("in", json!([null]), false),
        ("exists", json!(true), false),
        ("exists", json!(false), true),
        ("prefix", json!(""), false),
        ("suffix", json!(""), false),
        ("contains", json!(""), false),
    ] {
        for path in ["payload.missing", "payload.name.x", "metadata.missing"] {
            let condition = json!({"path": path, "op": op, "value": value});
            assert_eq!(passes(condition.clone()), wanted, "{condition}");
        }
    }
}

#[test]
fn trees_combine_as_logic_does() {
    let yes = || json!({"path": "payload.ok", "op": "eq", "value": true});
    let no = || json!({ "not": yes() });
    for (filter, wanted) in [
        (json!({"all": [yes(), yes()]}), true),
        (json!({"all": [yes(), no()]}), false),
        (json!({"any": [no(), yes()]}), true),
        (json!({"any": [no(), no()]}), false),
        (
            json!({"not": {"any": [no(), {"all": [yes(), no()]}]}}),
            true,
        ),
    ] {
        assert_eq!(passes(filter.clone()), wanted, "{filter}");
    }
}

#[test]
fn a_number_that_was_rounded_on_its_way_here_is_refused() {
    let inexact = json!({"path": "payload.a", "op": "eq", "value": 0.12345678901234567});
    let filter = json!({"all": [{"any": [{ "not": inexact }]}]});
    let problem = compile(filter).unwrap_err();
    assert_eq!(problem.field, "/filter/all/0/any/0/not/value");
    assert!(problem.message.contains("at most 15 digits"), "{problem}");
    let beyond = json!({"path": "payload.a", "op": "lt", "value": 123456789012345678901234.0});
    assert!(compile(beyond).unwrap_err().message.contains("64 bits"));
}

#[test]
fn a_payload_that_is_not_json_is_reported_and_not_passed() {
    let filter = compile(json!({"path": "payload.a", "op": "ne", "value": 1})).unwrap();
    for bad in ["", "x", "[]", "{\"a\":", "{\"a\":\"\\ud800\"}"] {
        let document = Document::new(bad.as_bytes(), b"{}");
        assert_eq!(filter.passes(&document), Err(Invalid), "{bad}");
    }
}

#[test]
fn nothing_is_opened_that_the_answer_does_not_need() {
    use crate::path::Root::{Metadata, Payload};
    let document = Document::new(PAYLOAD.as_bytes(), METADATA.as_bytes());
    let region = json!({"path": "metadata.region", "op": "eq", "value": "us"});
    let amount = json!({"path": "payload.amount", "op": "gt", "value": 1});
    let both = compile(json!({"all": [region, amount]})).unwrap();
    assert!(!both.passes(&document).unwrap());
    assert!(document.is_opened(Metadata) && !document.is_opened(Payload));
}
