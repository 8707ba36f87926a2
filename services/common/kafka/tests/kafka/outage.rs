//! Kafka goes away.

use std::collections::HashSet;
use std::time::Duration;

use pushrail_kafka::Consumer;
use pushrail_kafka::rdkafka::consumer::CommitMode;
use pushrail_testkit::{Cluster, Record, wait_until};
use tokio::time::Instant;

use crate::consumer::start;
use crate::support::{Worker, copy_to, fill, partition, poll_until, settings};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_dies_and_comes_back_mid_stream_loses_nothing() {
    let mut cluster = Cluster::private().await;
    let from = cluster.topic("outage", 6).await;
    let to = cluster.topic("outage-copies", 6).await;
    let group = cluster.unique("outage");
    const COUNT: usize = 100_000;
    fill(&cluster, &from, 0..COUNT).await;
    let mut workers = Vec::new();
    for _ in 0..2 {
        let to = to.clone();
        workers.push(Worker::start(
            &cluster.connection(),
            settings(&group, &from),
            move || copy_to(&to),
        ));
    }
    for round in 1..=2 {
        let records = |workers: &[Worker]| workers.iter().map(Worker::records).sum::<u64>();
        let before = records(&workers);
        wait_until("progress", || {
            records(&workers) > before + 3_000 || records(&workers) >= COUNT as u64
        })
        .await;
        cluster.kafka().kill().await;
        cluster.kafka().restart().await.expect("Kafka comes back");
        println!("round {round}: {} records handled before", before);
    }
    let (mut looked_at, mut values) = (0, HashSet::new());
    let enough = move |records: &[Record]| {
        let new = records[looked_at..].iter().map(|r| r.value.clone());
        values.extend(new);
        looked_at = records.len();
        values.len() == COUNT
    };
    let copies = cluster.read_until(&to, "every value", enough).await;
    println!("{} copies of {COUNT} records", copies.len());
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_while_kafka_is_away() {
    let mut cluster = Cluster::private().await;
    let from = cluster.topic("away", 2).await;
    let to = cluster.topic("away-copies", 2).await;
    fill(&cluster, &from, 0..5_000).await;
    let mut settings = settings("away", &from);
    settings.drain_timeout = Duration::from_secs(2);
    let target = to.clone();
    let worker = Worker::start(&cluster.connection(), settings, move || copy_to(&target));
    wait_until("work", || worker.records() >= 5_000).await;
    cluster.kafka().kill().await;
    let began = Instant::now();
    worker.stop().await;
    let took = began.elapsed();
    println!("the shutdown took {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_commit_gives_up_while_kafka_is_away() {
    let mut cluster = Cluster::private().await;
    let topic = cluster.topic("sync", 1).await;
    let config = cluster.connection().consumer("sync", "pushrail-test");
    let name = topic.clone();
    let consumer = tokio::task::spawn_blocking(move || {
        let consumer = Consumer::new(&config, &[&name]).expect("a consumer");
        poll_until(&consumer, |polled| start(&consumer, polled));
        consumer
    });
    let consumer = consumer.await.expect("without a panic");
    cluster.kafka().kill().await;
    let committed = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let tp = partition(&topic, 0);
        let result = consumer.commit([(&tp, 0, String::new())], CommitMode::Sync);
        assert!(result.is_err());
        drop(consumer);
        began.elapsed()
    });
    let took = committed.await.expect("without a panic");
    assert!(
        took < Duration::from_secs(15),
        "commit and close took {took:?}"
    );
}
