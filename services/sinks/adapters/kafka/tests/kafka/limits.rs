//! What a topic or a broker does not take.

use std::time::Duration;

use pushrail_conformance::{record, records};
use tokio::time::Instant;

use super::bed::{bed, connect, send, send_within, verdicts};

#[tokio::test]
async fn a_topic_that_takes_less_at_once_gets_less_and_everything() {
    let bed = bed().await;
    // A batch of a thousand is ten times what it takes.
    let topic = bed.topic(1, &[("max.message.bytes", "50000")]).await;
    let client = connect(&bed.clear(&topic)).await;
    let mut sent = 0;
    let mut times = Vec::new();
    for _ in 0..7 {
        let batch = records(1_000);
        let started = Instant::now();
        let outcome = send_within(&client, &batch, Duration::from_secs(60)).await;
        times.push(started.elapsed());
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{:?}",
            verdicts(&outcome)
        );
        sent += batch.len();
    }
    assert_eq!(bed.read(&topic).await.len(), sent);
    // It has learned.
    assert!(times[6] < times[0] / 4, "{times:?}");
}

#[tokio::test]
async fn a_poisoned_record_costs_its_neighbours_nothing() {
    let bed = bed().await;
    let topic = bed.topic(1, &[("max.message.bytes", "20000")]).await;
    let client = connect(&bed.clear(&topic)).await;
    let mut all = records(20);
    all.insert(7, record(&format!(r#"{{"x": "{}"}}"#, "y".repeat(50_000))));
    let mut expected = vec!["delivered"; 21];
    expected[7] = "reject too_large";
    let outcome = send(&client, &all).await;
    assert_eq!(verdicts(&outcome), expected);
    assert_eq!(bed.read(&topic).await.len(), 20);
}

#[tokio::test]
async fn whoever_is_over_a_quota_is_late_and_loses_nothing() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    bed.tool(
        "kafka.admin.ConfigCommand",
        &[
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            "old",
            "--add-config",
            "producer_byte_rate=20000",
        ],
    )
    .await;
    bed.acls(&[
        "--add",
        "--allow-principal",
        "User:old",
        "--operation",
        "Write",
        "--topic",
        &topic,
    ])
    .await;
    let client = connect(&bed.as_user("plain", "old", &topic)).await;
    let mut all = 0;
    for _ in 0..4 {
        let batch = records(100);
        let outcome = send_within(&client, &batch, Duration::from_secs(40)).await;
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{outcome:?}"
        );
        all += batch.len();
    }
    assert_eq!(bed.read(&topic).await.len(), all);
}
