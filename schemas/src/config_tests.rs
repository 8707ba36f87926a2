use serde_json::json;

use super::*;

fn destination(change: impl FnOnce(&mut serde_json::Value)) -> Destination {
    let mut value = json!({
        "destinationId": Uuid::from_u128(1),
        "tenantId": "acme",
        "customerId": identity::customer_id("acme", "c-1"),
        "customerExternalId": "c-1",
        "kind": "webhook",
        "name": "Orders",
        "version": 1,
        "config": {"url": "https://example.com"},
        "eventTypes": ["order.*", "invoice.paid", "*"],
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

#[test]
fn what_may_be_left_out_has_good_defaults() {
    let destination = destination(|_| {});
    assert_eq!(destination.problems(), []);
    assert_eq!(destination.retry.max_attempts, 16);
    assert_eq!(destination.state, State::Active);
}

#[test]
fn each_bad_field_is_named() {
    let table = [
        ("/tenantId", json!("A")),
        ("/customerExternalId", json!("")),
        ("/customerId", json!(Uuid::from_u128(9))),
        ("/name", json!("")),
        ("/eventTypes", json!([])),
        ("/eventTypes/1", json!(["a", "a.*.b"])),
        ("/eventTypes/0", json!(["order.**"])),
        ("/eventTypes/0", json!(["or*"])),
        ("/retry/maxAttempts", json!({"maxAttempts": 0})),
        ("/retry/maxAgeMs", json!({"maxAgeMs": 86_400_001})),
        (
            "/retry/initialDelayMs",
            json!({"initialDelayMs": 5_000, "maxDelayMs": 1_000}),
        ),
        ("/rateLimit/perSecond", json!({"perSecond": 0.0})),
        ("/rateLimit/burst", json!({"perSecond": 1, "burst": 0})),
        ("/batch/records", json!({"records": 0})),
        ("/batch/bytes", json!({"bytes": 1_023})),
        ("/batch/ageMs", json!({"ageMs": 3_600_001})),
        ("/timeoutMs", json!(0)),
        ("/transform/0/drop/0", json!([{"drop": ["card"]}])),
    ];
    for (field, value) in table {
        let member = field.split('/').nth(1).unwrap();
        let problems = destination(|all| all[member] = value.clone()).problems();
        assert!(
            problems.iter().any(|problem| problem.field == field),
            "{field} = {value}: {problems:?}"
        );
    }
    let endless = destination(|all| all["rateLimit"] = json!({"perSecond": 1}))
        .rate_limit
        .unwrap();
    assert_eq!(
        RateLimit {
            per_second: f64::NAN,
            ..endless
        }
        .problems()[0]
            .0,
        "perSecond"
    );
}

#[test]
fn a_filter_built_in_code_is_checked_too() {
    let mut destination = destination(|_| {});
    destination.filter = Some(Filter::All { all: Vec::new() });
    assert_eq!(destination.problems()[0].field, "/filter/all");
}
