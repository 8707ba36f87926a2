use serde_json::json;

use super::*;

fn destination(id: u128, kind: &str, version: u64) -> serde_json::Value {
    json!({
        "destinationId": Uuid::from_u128(id),
        "tenantId": "acme",
        "customerId": identity::customer_id("acme", "c-1"),
        "customerExternalId": "c-1",
        "kind": kind,
        "name": "Orders",
        "version": version,
        "config": {"url": "https://example.com"},
        "eventTypes": ["order.*"],
    })
}

/// Applies a record as the topic would bring it.
fn apply(
    table: &mut Table,
    key: &str,
    value: Option<serde_json::Value>,
) -> Result<Option<Change>, Malformed> {
    let value = value.map(|value| value.to_string());
    table.apply(Some(key.as_bytes()), value.as_ref().map(String::as_bytes))
}

fn key(id: u128) -> String {
    format!("destination/{}", Uuid::from_u128(id))
}

#[test]
fn the_newest_record_wins_and_a_tombstone_removes() {
    let mut table = Table::new(Interest::everything());
    let id = Uuid::from_u128(1);
    assert_eq!(
        apply(&mut table, &key(1), Some(destination(1, "webhook", 1))),
        Ok(Some(Change::Destination(id)))
    );
    let first = table.destination(id).unwrap();
    apply(&mut table, &key(1), Some(destination(1, "webhook", 2))).unwrap();
    assert_eq!(
        (first.version, table.destination(id).unwrap().version),
        (1, 2)
    );
    assert_eq!(
        apply(&mut table, &key(1), None),
        Ok(Some(Change::Removed(id)))
    );
    assert_eq!(
        apply(&mut table, &key(1), None),
        Ok(None),
        "a second tombstone is no news"
    );
    assert!(table.destination(id).is_none() && table.destinations() == 0);
}

#[test]
fn a_version_that_goes_down_wins_too_or_processes_would_disagree() {
    let (mut old, mut fresh) = (
        Table::new(Interest::everything()),
        Table::new(Interest::everything()),
    );
    apply(&mut old, &key(1), Some(destination(1, "webhook", 5))).unwrap();
    apply(&mut old, &key(1), Some(destination(1, "webhook", 4))).unwrap();
    // A process that starts after compaction sees the last record only.
    apply(&mut fresh, &key(1), Some(destination(1, "webhook", 4))).unwrap();
    let version = |table: &mut Table| table.destination(Uuid::from_u128(1)).unwrap().version;
    assert_eq!((version(&mut old), version(&mut fresh)), (4, 4));
    assert_eq!((old.rewound, fresh.rewound), (1, 0));
}

#[test]
fn a_sink_keeps_its_own_kind_and_no_keys() {
    let mut table = Table::new(Interest::kind("webhook"));
    apply(&mut table, &key(1), Some(destination(1, "webhook", 1))).unwrap();
    assert_eq!(
        apply(&mut table, &key(2), Some(destination(2, "s3", 1))),
        Ok(None)
    );
    assert_eq!(
        apply(
            &mut table,
            "tenant/acme",
            Some(json!({"tenantId": "acme", "name": "Acme"}))
        ),
        Ok(None)
    );
    assert_eq!((table.destinations(), table.tenants().len()), (1, 0));
    let gone = apply(&mut table, &key(1), Some(destination(1, "s3", 2)));
    assert_eq!(
        gone,
        Ok(Some(Change::Removed(Uuid::from_u128(1)))),
        "it is not ours any more"
    );
}

#[test]
fn what_is_malformed_changes_nothing_and_shows_no_value() {
    let mut table = Table::new(Interest::everything());
    apply(&mut table, &key(1), Some(destination(1, "webhook", 1))).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = destination(1, "webhook", 2);
        changed[field] = value;
        Some(changed)
    };
    let secret = "hunter2";
    let table_of = [
        (key(1), with("retry", json!({"maxAttempts": secret}))),
        (key(1), with("retry", json!({"maxAttempts": 0}))),
        (key(1), with("filter", json!({"op": "eq"}))),
        (key(1), with("eventTypes", json!([]))),
        (key(1), with("kind", json!("Direct"))),
        (key(1), with("destinationId", json!(Uuid::from_u128(2)))),
        (key(1), Some(json!(secret))),
        ("destination/1".into(), None),
        ("shop/acme".into(), Some(json!({}))),
        ("event_type/acme".into(), Some(json!({}))),
        (
            "event_type/acme/order".into(),
            Some(json!({"schema": secret})),
        ),
        (
            "event_type/acme/order".into(),
            Some(json!({"tenantId": "other", "name": "order"})),
        ),
        (
            "event_type/acme/a/b".into(),
            Some(json!({"tenantId": "acme", "name": "a/b"})),
        ),
        (
            "tenant/acme".into(),
            Some(json!({"tenantId": "other", "name": "x"})),
        ),
        (
            "tenant/A".into(),
            Some(json!({"tenantId": "A", "name": "x"})),
        ),
        (
            "api_key/k".into(),
            Some(json!({"keyId": "k", "tenantId": "acme", "sha256": "00"})),
        ),
    ];
    for (key, value) in table_of {
        let error = apply(&mut table, &key, value.clone())
            .expect_err(&key)
            .to_string();
        assert!(!error.contains(secret), "{error}");
    }
    assert_eq!(table.apply(None, None), Err(Malformed::NoKey));
    assert_eq!(table.apply(Some(&[0xff]), None), Err(Malformed::Key));
    assert_eq!(table.destination(Uuid::from_u128(1)).unwrap().version, 1);
    let named = apply(
        &mut table,
        &key(1),
        with("retry", json!({"maxAttempts": "x"})),
    )
    .unwrap_err()
    .to_string();
    assert!(named.contains("retry.maxAttempts"), "{named}");
}

#[test]
fn a_key_counts_only_with_its_tenant_and_until_it_is_replaced() {
    let mut table = Table::new(Interest::keys());
    let record = |api_key: &str| {
        Some(json!({"keyId": "k1", "tenantId": "acme", "sha256": crate::api_key_sha256(api_key)}))
    };
    apply(&mut table, "api_key/k1", record("secret-1")).unwrap();
    let known =
        |table: &Table, api_key: &str| table.tenant_of_digest(&crate::digest(api_key)).is_some();
    assert!(!known(&table, "secret-1"), "its tenant does not exist");
    apply(
        &mut table,
        "tenant/acme",
        Some(json!({"tenantId": "acme", "name": "Acme"})),
    )
    .unwrap();
    assert!(known(&table, "secret-1") && !known(&table, "secret-2"));
    apply(&mut table, "api_key/k1", record("secret-2")).unwrap();
    assert!(!known(&table, "secret-1") && known(&table, "secret-2"));
    assert_eq!(
        apply(&mut table, &key(1), Some(destination(1, "webhook", 1))),
        Ok(None)
    );
    apply(&mut table, "api_key/k1", None).unwrap();
    assert!(!known(&table, "secret-2"));
}

#[test]
fn what_is_in_use_is_shared_and_what_is_not_is_forgotten() {
    let mut table = Table::new(Interest::everything());
    for id in 0..10_000 {
        apply(&mut table, &key(id), Some(destination(id, "webhook", 1))).unwrap();
    }
    let held = table.destination(Uuid::from_u128(7)).unwrap();
    for id in 0..10_000 {
        table.destination(Uuid::from_u128(id));
    }
    assert!(Arc::ptr_eq(
        &held,
        &table.destination(Uuid::from_u128(7)).unwrap()
    ));
    assert!(
        table.live.len() < 64,
        "{} destinations are held in memory for one user",
        table.live.len()
    );
}

#[test]
fn event_types_are_kept_by_whoever_wants_them_until_their_records_change() {
    let mut table = Table::new(Interest::keys_and_event_types());
    let record = |name: &str, schema: serde_json::Value| {
        Some(json!({"tenantId": "acme", "name": name, "schema": schema}))
    };
    let changed = apply(
        &mut table,
        "event_type/acme/order.paid",
        record("order.paid", json!({"type": "object"})),
    );
    let change = Change::EventType {
        tenant_id: "acme".into(),
        name: "order.paid".into(),
    };
    assert_eq!(changed, Ok(Some(change)));
    apply(
        &mut table,
        "event_type/acme/order",
        record("order", json!(null)),
    )
    .unwrap();
    let paid = table.event_type("acme", "order.paid").unwrap();
    assert_eq!(paid.schema.as_deref(), Some(r#"{"type":"object"}"#));
    assert_eq!(table.event_type("acme", "order").unwrap().schema, None);
    assert!(table.event_type("other", "order").is_none());
    // What uses it knows by that whether it has changed.
    assert!(Arc::ptr_eq(
        &paid,
        &table.event_type("acme", "order.paid").unwrap()
    ));
    for name in ["order.paid", "order"] {
        apply(&mut table, &format!("event_type/acme/{name}"), None).unwrap();
        assert!(table.event_type("acme", name).is_none());
    }
    assert_eq!(table.event_types(), 0);
    for interest in [
        Interest::keys(),
        Interest::destinations(),
        Interest::kind("webhook"),
    ] {
        let mut table = Table::new(interest);
        let ignored = apply(
            &mut table,
            "event_type/acme/order",
            record("order", json!({})),
        );
        assert_eq!((ignored, table.event_types()), (Ok(None), 0));
    }
}
