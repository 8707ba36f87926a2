//! What arrives in the tables.

use pushrail_conformance::{record, record_of, records};
use pushrail_testkit::bigquery;
use serde_json::{Value, json};

use super::support::{Place, send, strict_table, verdicts, without_source};

#[tokio::test]
async fn a_row_is_the_canonical_event_as_googles_own_client_reads_it() {
    let place = Place::new().await;
    let client = place.client(|_| {}).await;
    let sent = record(r#"{ "total": 12.50, "items": [1, "ä"] }"#);
    let outcome = send(&client, std::slice::from_ref(&sent)).await;
    assert_eq!(verdicts(&outcome), ["delivered"], "{outcome:?}");
    let table = place.table("order_completed");
    let name = table.trim_matches('`');
    let script = format!(
        r#"
table = client.get_table(dataset + ".{name}")
columns = [[f.name, f.field_type, f.mode] for f in table.schema]
row = list(client.list_rows(table))[0]
say([columns, table.time_partitioning.field, table.clustering_fields, list(row.values()),
    query("SELECT payload.items[1], JSON_VALUE(metadata, '$.env') FROM `{name}`".replace("`{name}`", f"`{{dataset}}.{name}`"))])
"#
    );
    let found = bigquery().await.python(&script).await;
    let columns = json!([
        ["event_id", "STRING", "REQUIRED"],
        ["event_type", "STRING", "REQUIRED"],
        ["occurred_at", "TIMESTAMP", "REQUIRED"],
        ["customer_external_id", "STRING", "REQUIRED"],
        ["source", "STRING", "NULLABLE"],
        ["payload", "JSON", "REQUIRED"],
        ["metadata", "JSON", "REQUIRED"],
        ["received_at", "TIMESTAMP", "REQUIRED"],
    ]);
    assert_eq!(found[0], columns);
    assert_eq!(found[1], "received_at");
    assert_eq!(found[2], json!(["customer_external_id"]));
    let expected = json!([
        sent.event.event_id().to_string(),
        "order.completed",
        "2026-01-02 03:04:05.123456+00:00",
        "cust-1",
        "shop",
        {"total": 12.50, "items": [1, "ä"]},
        {"env": "test"},
        "2026-01-02 03:04:06.123456+00:00",
    ]);
    assert_eq!(found[3], expected);
    assert_eq!(found[4], json!([["ä", "test"]]));
}

#[tokio::test]
async fn each_type_has_its_table_and_one_that_fails_leaves_the_others() {
    let place = Place::new().await;
    let odd = format!(
        "CREATE TABLE {} (other INT64, event_id INT64)",
        place.table("gone")
    );
    bigquery().await.query(&odd).await;
    strict_table(&place.table("invoice_paid")).await;
    let client = place.client(|_| {}).await;
    let all = [
        record_of("order.completed", "{}"),
        record_of("gone", "{}"),
        record_of("invoice.paid", "{}"),
        without_source("invoice.paid"),
        record_of("order.completed", "{}"),
    ];
    let outcome = send(&client, &all).await;
    let expected = [
        "delivered",
        "suspend table_unfit",
        "delivered",
        "reject invalid_row",
        "delivered",
    ];
    assert_eq!(verdicts(&outcome), expected, "{outcome:?}");
    assert_eq!(place.ids("order_completed").await.len(), 2);
    assert_eq!(place.ids("invoice_paid").await, [all[2].event.event_id()]);
}

#[tokio::test]
async fn all_types_go_into_one_wide_table_where_that_is_wanted() {
    let place = Place::new().await;
    let table = format!("{}wide", place.prefix);
    let client = place
        .client(|config| config["tables"] = json!({"type": "single", "table": table}))
        .await;
    let all = [
        record_of("order.completed", "{}"),
        record_of("invoice.paid", "{}"),
    ];
    assert_eq!(verdicts(&send(&client, &all).await), ["delivered"; 2]);
    let sql = format!("SELECT event_type FROM `{table}` ORDER BY event_type");
    let types = bigquery().await.query(&sql).await;
    assert_eq!(types, [[json!("invoice.paid")], [json!("order.completed")]]);
}

#[tokio::test]
async fn columns_that_a_table_lacks_are_appended_behind_its_own() {
    let place = Place::new().await;
    let table = place.table("order_completed");
    // As it was made by an older version, and then by its owner.
    let old = format!(
        "CREATE TABLE {table} (event_id STRING NOT NULL, event_type STRING, occurred_at TIMESTAMP, customer_external_id STRING,
         payload JSON, their_own INT64)"
    );
    bigquery().await.query(&old).await;
    bigquery()
        .await
        .query(&format!(
            "INSERT INTO {table} (event_id, their_own) VALUES ('before', 7)"
        ))
        .await;
    let client = place.client(|_| {}).await;
    let sent = records(3);
    let outcome = send(&client, &sent).await;
    assert_eq!(verdicts(&outcome), ["delivered"; 3], "{outcome:?}");
    let name = table.trim_matches('`');
    let script =
        format!(r#"say([[f.name, f.mode] for f in client.get_table(dataset + ".{name}").schema])"#);
    let columns = bigquery().await.python(&script).await;
    let names: Vec<_> = columns
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c[0].as_str().unwrap())
        .collect();
    let expected = [
        "event_id",
        "event_type",
        "occurred_at",
        "customer_external_id",
        "payload",
        "their_own",
        "source",
        "metadata",
        "received_at",
    ];
    assert_eq!(names, expected);
    let sql = format!(
        "SELECT their_own, source, JSON_VALUE(metadata, '$.env') FROM {table} ORDER BY their_own NULLS LAST"
    );
    let rows = bigquery().await.query(&sql).await;
    assert_eq!(rows[0], [json!("7"), Value::Null, Value::Null]);
    assert_eq!(rows[1], [Value::Null, json!("shop"), json!("test")]);
    assert_eq!(rows.len(), 4);
}

#[tokio::test]
async fn a_table_that_was_dropped_meanwhile_is_made_again() {
    let place = Place::new().await;
    let client = place.client(|_| {}).await;
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    let drop = format!("DROP TABLE {}", place.table("order_completed"));
    bigquery().await.query(&drop).await;
    let outcome = send(&client, &records(3)).await;
    assert_eq!(verdicts(&outcome), ["delivered"; 3], "{outcome:?}");
    assert_eq!(place.ids("order_completed").await.len(), 3);
}

#[tokio::test]
async fn calls_that_make_the_same_table_at_once_all_deliver() {
    let place = Place::new().await;
    let client = place.client(|_| {}).await;
    let batches: Vec<_> = (0..8).map(|_| records(20)).collect();
    let calls = batches.iter().map(|batch| send(&client, batch));
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(verdicts(&outcome), ["delivered"; 20], "{outcome:?}");
    }
    assert_eq!(place.ids("order_completed").await.len(), 160);
}

#[tokio::test]
async fn the_view_of_the_guide_has_each_event_once() {
    let place = Place::new().await;
    let sent = records(3);
    // Two processes, one after the other, neither of which knows of the other's stream.
    for _ in 0..2 {
        let client = place.client(|_| {}).await;
        assert_eq!(verdicts(&send(&client, &sent).await), ["delivered"; 3]);
    }
    let table = place.table("order_completed");
    assert_eq!(place.ids("order_completed").await.len(), 6);
    let guide = include_str!("../../src/guide.md");
    let start = guide.find("SELECT * FROM").expect("the view's query");
    let query = &guide[start..start + guide[start..].find(';').unwrap()];
    let sql = query.replace("`my-project.pushrail_events.order_completed`", &table);
    assert_ne!(sql, query);
    assert_eq!(bigquery().await.query(&sql).await.len(), 3);
}
