//! What arrives in the tables.

use std::time::Duration;

use pushrail_conformance::{record, record_of, records};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use super::support::{Database, send, send_within, verdicts};

#[tokio::test]
async fn a_row_is_the_canonical_event_in_the_columns_of_the_guide() {
    let database = Database::new().await;
    let client = database.client(|_| {}).await;
    let sent = record(r#"{ "total": 12.50, "items": [1, "ä"] }"#);
    assert_eq!(
        verdicts(&send(&client, std::slice::from_ref(&sent)).await),
        ["delivered"]
    );
    let mut connection = database.connection().await;
    let row = sqlx::query(
        "SELECT event_id, event_type, occurred_at::text, customer_external_id, source, payload, metadata,
         received_at::text FROM pushrail_events.events",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(row.get::<uuid::Uuid, _>(0), sent.event.event_id());
    let texts: Vec<String> = [1, 2, 3, 4, 7].map(|at| row.get(at)).into();
    assert_eq!(
        texts,
        [
            "order.completed",
            "2026-01-02 03:04:05.123456+00",
            "cust-1",
            "shop",
            "2026-01-02 03:04:06.123456+00"
        ]
    );
    let payload: Value = row.get(5);
    assert_eq!(payload, json!({"total": 12.50, "items": [1, "ä"]}));
    assert_eq!(row.get::<Value, _>(6), json!({"env": "test"}));
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'pushrail_events'
         AND table_name = 'events' ORDER BY ordinal_position",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let expected = "event_id, event_type, occurred_at, customer_external_id, source, payload, metadata, received_at";
    assert_eq!(columns.join(", "), expected);
}

#[tokio::test]
async fn each_type_has_its_table_and_one_that_fails_leaves_the_others() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE pushrail_events.ev_gone (other int)")
        .await;
    let client = database
        .client(|config| config["tables"] = json!({"type": "per_type", "prefix": "ev_"}))
        .await;
    let all = [
        record_of("order.completed", "{}"),
        record_of("gone", "{}"),
        record_of("invoice.paid", "{}"),
        record_of("invoice.paid", r#"{"a": "\u0000"}"#),
        record_of("order.completed", "{}"),
    ];
    let expected = [
        "delivered",
        "suspend table_unfit",
        "delivered",
        "reject invalid_data",
        "delivered",
    ];
    for _ in 0..2 {
        assert_eq!(verdicts(&send(&client, &all).await), expected);
    }
    assert_eq!(database.ids("ev_order_completed").await.len(), 2);
    assert_eq!(database.ids("ev_invoice_paid").await.len(), 1);
}

#[tokio::test]
async fn calls_that_make_the_same_table_at_once_all_deliver() {
    let database = Database::new().await;
    let client = database.client(|_| {}).await;
    let batches: Vec<_> = (0..8).map(|_| records(20)).collect();
    let calls = batches.iter().map(|batch| send(&client, batch));
    for outcome in futures::future::join_all(calls).await {
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{outcome:?}"
        );
    }
    assert_eq!(database.ids("events").await.len(), 160);
}

#[tokio::test]
async fn the_least_privileges_of_the_guide_are_enough_and_what_is_lacking_is_named() {
    let database = Database::new().await;
    let user = &database.user;
    let refused = |outcome: &pushrail_sink_core::Outcome| {
        outcome.verdicts[0].fault().unwrap().detail.to_string()
    };
    database
        .run(&format!("REVOKE ALL ON SCHEMA pushrail_events FROM {user}"))
        .await;
    let client = database
        .client(|config| config["createTables"] = json!(false))
        .await;
    // Each time what the message says is done, and nothing else, until it is delivered.
    let mut ran = Vec::new();
    for _ in 0..4 {
        let outcome = send(&client, &records(2)).await;
        if verdicts(&outcome)[0] == "delivered" {
            break;
        }
        let detail = refused(&outcome);
        let (_, sql) = detail
            .split_once("; run: ")
            .unwrap_or_else(|| panic!("{detail}"));
        // The owner's GRANT names the table, so it is made first where it is not there.
        let made =
            sql.contains("GRANT") && database.ids("events").await.is_empty() && ran.is_empty();
        if made {
            database
                .run(&format!("GRANT USAGE ON SCHEMA pushrail_events TO {user}"))
                .await;
        } else {
            database.run(sql).await;
        }
        ran.push(sql.to_owned());
    }
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    assert!(
        ran.iter().any(|sql| sql.starts_with("CREATE TABLE")),
        "{ran:?}"
    );
    assert!(
        ran.iter()
            .any(|sql| sql.contains("GRANT INSERT, SELECT (event_id)")),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_lock_is_waited_for_until_the_deadline_and_nothing_stays_behind() {
    let database = Database::new().await;
    let client = database.client(|_| {}).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let mut connection = database.connection().await;
    let mut locking = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE pushrail_events.events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *locking)
        .await
        .unwrap();
    let waiting = records(3);
    let outcome = send_within(&client, &waiting, Duration::from_millis(500)).await;
    assert_eq!(verdicts(&outcome), ["retry timeout"; 3]);
    // The server has let go of it too.
    pushrail_testkit::wait_for("no session of ours waits", async || {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pushrail' AND datname = current_database()
             AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *locking)
        .await
        .unwrap();
        (left == 0).then_some(())
    })
    .await;
    locking.rollback().await.unwrap();
    assert_eq!(verdicts(&send(&client, &waiting).await), ["delivered"; 3]);
    assert_eq!(database.ids("events").await.len(), 4);
}

#[tokio::test]
async fn a_deferred_constraint_is_blamed_on_its_row() {
    let database = Database::new().await;
    let client = database.client(|_| {}).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    database
        .run(
            "CREATE TABLE pushrail_events.types (name text PRIMARY KEY);
             INSERT INTO pushrail_events.types VALUES ('order.completed');
             ALTER TABLE pushrail_events.events ADD FOREIGN KEY (event_type)
             REFERENCES pushrail_events.types (name) DEFERRABLE INITIALLY DEFERRED",
        )
        .await;
    let all = [record("{}"), record_of("unknown", "{}"), record("{}")];
    let expected = ["delivered", "reject constraint_violated", "delivered"];
    assert_eq!(verdicts(&send(&client, &all).await), expected);
}
