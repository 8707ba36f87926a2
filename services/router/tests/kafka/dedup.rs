use std::time::Duration;

use pushrail_testkit::wait_until;
use serde_json::json;

use crate::bed::{Bed, PARTITIONS, Router, Sent, delivered};

/// Customers that between them use every partition.
const CUSTOMERS: [&str; 24] = [
    "c-0", "c-1", "c-2", "c-3", "c-4", "c-5", "c-6", "c-7", "c-8", "c-9", "c-10", "c-11", "c-12",
    "c-13", "c-14", "c-15", "c-16", "c-17", "c-18", "c-19", "c-20", "c-21", "c-22", "c-23",
];

/// Sends each customer's event, and reports how many partitions that used.
async fn send(bed: &Bed, payload: &str) -> usize {
    let mut partitions = std::collections::HashSet::new();
    for (id, customer) in CUSTOMERS.into_iter().enumerate() {
        let (partition, _) = bed
            .event(&Sent::new(id as u128, customer, payload).keyed())
            .await;
        partitions.insert(partition);
    }
    partitions.len()
}

async fn settled(routers: &[&Router], partitions: i64) {
    wait_until("the partitions", || {
        let assigned = routers
            .iter()
            .map(|r| r.metric("pushrail_router_partitions"));
        assigned.sum::<i64>() == partitions
            && routers
                .iter()
                .all(|r| r.metric("pushrail_router_partitions") > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_dropped_whoever_reads_it() {
    let bed = Bed::new().await;
    for (id, customer) in CUSTOMERS.into_iter().enumerate() {
        bed.destination(1_000 + id as u128, customer, json!({"eventTypes": ["*"]}))
            .await;
    }
    let count = CUSTOMERS.len();

    // Behind each other, in one worker's hands.
    let mut settings = bed.settings();
    settings.workers = 2;
    let first = bed.start(settings.clone()).await;
    assert_eq!(send(&bed, r#"{"copy":1}"#).await, PARTITIONS as usize);
    send(&bed, r#"{"copy":2}"#).await;
    bed.audit(count).await;
    first.stop().await;

    // Across a restart.
    let first = bed.start(settings.clone()).await;
    send(&bed, r#"{"copy":3}"#).await;
    bed.audit(2 * count).await;

    // Across a rebalance: half the partitions have a new owner, then the other half.
    let second = bed.start(settings.clone()).await;
    settled(&[&first, &second], PARTITIONS.into()).await;
    send(&bed, r#"{"copy":4}"#).await;
    bed.audit(3 * count).await;
    first.stop().await;
    settled(&[&second], PARTITIONS.into()).await;
    send(&bed, r#"{"copy":5}"#).await;
    let audit = bed.audit(4 * count).await;
    assert!(
        audit
            .iter()
            .all(|a| a.class == "duplicate" && a.outcome == "duplicate" && a.destination.is_none())
    );
    wait_until("entries", || {
        second.metric("pushrail_router_dedup_entries") == count as i64
    })
    .await;
    second.stop().await;

    let delivered = delivered(&bed.cluster.read_all("deliver.webhook").await);
    assert_eq!(delivered.len(), count);
    for (id, payloads) in delivered {
        assert_eq!(payloads, [r#"{"copy":1}"#], "event {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_the_window_is_an_event_and_one_without_a_key_always_is() {
    let bed = Bed::new().await;
    bed.destination(1, "c-1", json!({"eventTypes": ["*"]}))
        .await;
    let router = bed.start(bed.settings()).await;
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let keyed = |payload, age| Sent {
        age,
        ..Sent::new(1, "c-1", payload).keyed()
    };
    for sent in [
        keyed("{\"n\":1}", hours(49)),
        keyed("{\"n\":2}", hours(48)),
        keyed("{\"n\":3}", hours(24)),
        keyed("{\"n\":4}", hours(1)),
        keyed("{\"n\":5}", hours(0)),
        Sent::new(2, "c-1", "{\"n\":6}"),
        Sent::new(2, "c-1", "{\"n\":7}"),
    ] {
        bed.event(&sent).await;
    }
    let delivered = delivered(&bed.cluster.read("deliver.webhook", 5).await);
    assert_eq!(delivered[&1], ["{\"n\":1}", "{\"n\":3}", "{\"n\":5}"]);
    assert_eq!(delivered[&2], ["{\"n\":6}", "{\"n\":7}"]);
    assert_eq!(bed.audit(2).await.len(), 2);
    router.stop().await;
}
