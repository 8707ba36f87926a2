use serde_json::json;

use super::*;

fn problems(value: Value) -> Vec<String> {
    let problems = Filter::parse(&value, "/filter").unwrap_err();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn what_is_read_writes_back_the_same() {
    let filter = json!({"all": [
        {"path": "payload.amount", "op": "gte", "value": 100},
        {"any": [
            {"path": "metadata.region", "op": "in", "value": ["eu", "us"]},
            {"not": {"path": "payload.items.0.sku", "op": "exists", "value": true}}
        ]},
        {"path": "payload.name", "op": "eq", "value": null}
    ]});
    let read: Filter = serde_json::from_value(filter.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), filter);
    assert!(read.problems("").is_empty());
}

#[test]
fn a_bad_filter_says_where_and_what_is_allowed() {
    let condition = |op: &str, value: Value| json!({"path": "payload.a", "op": op, "value": value});
    let table = [
        (
            json!("x"),
            "/filter: must be an object with all, any, not, or path, op and value",
        ),
        (
            json!({}),
            "/filter/path: is missing; /filter/op: is missing; /filter/value: is missing",
        ),
        (
            json!({"all": []}),
            "/filter/all: must have at least one filter",
        ),
        (
            json!({"any": {}}),
            "/filter/any: must be an array of filters",
        ),
        (json!({"not": []}), "/filter/not: must be an object"),
        (
            json!({"all": [condition("eq", json!(1))], "path": "payload.a"}),
            "/filter: all stands alone: move \"path\" into a condition of its own",
        ),
        (
            json!({"pth": "payload.a", "op": "eq", "value": 1}),
            "/filter/pth: is no part of a filter",
        ),
        (
            condition("equals", json!(1)),
            "/filter/op: must be one of eq, ne, lt, lte, gt, gte, in, exists",
        ),
        (
            condition("gt", json!(true)),
            "/filter/value: must be a number or a string",
        ),
        (
            condition("eq", json!([1])),
            "/filter/value: must be a string, number, boolean or null",
        ),
        (
            condition("in", json!("eu")),
            "/filter/value: must be an array",
        ),
        (
            condition("in", json!([])),
            "/filter/value: must list at least one value",
        ),
        (
            condition("in", json!([1, {}])),
            "/filter/value: element 1 must be",
        ),
        (
            condition("exists", json!("yes")),
            "/filter/value: must be true or false",
        ),
        (
            condition("prefix", json!(1)),
            "/filter/value: must be a string",
        ),
        (
            condition("contains", json!({})),
            "/filter/value: must be a string (part of a text)",
        ),
        (
            json!({"path": "amount", "op": "eq", "value": 1}),
            "/filter/path: must start with payload or metadata",
        ),
        (
            json!({"path": "payload..a", "op": "eq", "value": 1}),
            "/filter/path: has an empty name",
        ),
        (
            json!({"path": 1, "op": "eq", "value": 1}),
            "/filter/path: must be a string such as payload.amount",
        ),
    ];
    for (value, expected) in table {
        let said = problems(value.clone()).join("; ");
        assert!(
            said.starts_with(expected),
            "{value}\n said {said}\n not  {expected}"
        );
    }
}

#[test]
fn every_problem_is_named_at_once_and_deep_inside() {
    let said = problems(json!({"all": [
        {"path": "payload.a", "op": "eq", "value": {}},
        {"not": {"any": [{"path": "x", "op": "eq", "value": 1}]}}
    ]}));
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("/filter/all/0/value: "));
    assert!(said[1].starts_with("/filter/all/1/not/any/0/path: "));
}

#[test]
fn a_filter_cannot_be_made_to_eat_the_router() {
    let mut deep = json!({"path": "payload.a", "op": "eq", "value": 1});
    for _ in 0..40 {
        deep = json!({"not": deep});
    }
    assert!(problems(deep)[0].contains("nests at most 16 deep"));
    let one = json!({"path": "payload.a", "op": "eq", "value": 1});
    let wide = problems(json!({"any": vec![one; 1_000]}));
    assert_eq!(wide.len(), 1, "{wide:?}");
    assert!(wide[0].contains("at most 200 conditions"));
}

#[test]
fn serde_says_the_same_and_not_that_no_variant_matched() {
    let error =
        serde_json::from_str::<Filter>(r#"{"path":"payload.a","op":"is","value":1}"#).unwrap_err();
    assert!(
        error.to_string().starts_with("/op: must be one of"),
        "{error}"
    );
}
