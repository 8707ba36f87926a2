//! Copies that Kafka won't take.

use pushrail_kafka::Connection;
use pushrail_kafka::relay::{Flow, Incoming, Outbox};
use pushrail_testkit::{Cluster, Record, cluster, wait_until};

use crate::support::{
    Each, Worker, assert_once, committed, copy, copy_to, counted, fill, fill_sized, settings,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_too_large_is_never_settled_and_stops_no_other_partition() {
    let cluster = cluster().await;
    let from = cluster.topic("large", 3).await;
    let to = cluster.unique("large-copies");
    cluster
        .create(&to, 1, &[("max.message.bytes", "2000")])
        .await;
    let group = cluster.unique("large");
    fill_sized(cluster, &from, 0..1, 50_000).await;
    fill(cluster, &from, 1..3_000).await;
    let records = cluster.read_all(&from).await;
    let stuck = records
        .iter()
        .find(|r| r.value.as_ref().unwrap().len() == 50_000)
        .unwrap()
        .clone();
    let others = records
        .iter()
        .filter(|r| r.partition != stuck.partition)
        .count();
    let target = to.clone();
    let worker = Worker::start(
        &small_batches(cluster),
        settings(&group, &from),
        move || copy_to(&target),
    );
    wait_until("three refusals", || worker.refused() >= 3).await;
    let copies = cluster.read(&to, others).await;
    assert!(copies.len() >= others);
    let (sum, _) = committed(cluster, &group, &from, 3);
    assert!(
        sum <= others as i64 + stuck.offset,
        "the commit passed the refused record"
    );
    alter(cluster, &to, "max.message.bytes", "1000000").await;
    assert_once(&cluster.read(&to, 3_000).await, 3_000);
    worker.stop().await;
    assert_eq!(committed(cluster, &group, &from, 3).0, 3_000);
    assert_once(&cluster.read_all(&to).await, 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_knows_another_place_is_asked_for_it() {
    let cluster = cluster().await;
    let from = cluster.topic("place", 2).await;
    let to = cluster.unique("place-copies");
    cluster
        .create(&to, 1, &[("max.message.bytes", "2000")])
        .await;
    let elsewhere = cluster.topic("place-elsewhere", 1).await;
    let group = cluster.unique("place");
    for start in (0..2_000).step_by(500) {
        fill_sized(cluster, &from, start..start + 3, 50_000).await;
        fill(cluster, &from, start + 3..start + 500).await;
    }
    let (target, other) = (to.clone(), elsewhere.clone());
    let worker = Worker::start(
        &small_batches(cluster),
        settings(&group, &from),
        move || {
            Each(move |record: &Incoming<'_>, out: &mut Outbox| {
                let refused = record.refused.is_some_and(|refusal| refusal.is_final());
                copy(record, if refused { &other } else { &target }, out);
                Flow::Done
            })
        },
    );
    let placed = cluster.read(&elsewhere, 12).await;
    assert_eq!(placed.len(), 12);
    let mut copies = cluster.read(&to, 1_988).await;
    copies.extend(placed);
    assert_once(&copies, 2_000);
    worker.stop().await;
    assert_eq!(committed(cluster, &group, &from, 2).0, 2_000);
    assert_eq!(
        cluster.read_all(&to).await.len(),
        1_988,
        "what was acknowledged is not repeated"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_yet_loses_nothing() {
    let cluster = cluster().await;
    let from = cluster.topic("absent", 2).await;
    let to = cluster.unique("absent-copies");
    let there = cluster.topic("absent-there", 1).await;
    let group = cluster.unique("absent");
    fill(cluster, &from, 0..400).await;
    let mut connection = cluster.connection();
    // Or librdkafka alone would wait for the topic.
    connection
        .properties
        .insert("topic.metadata.propagation.max.ms".into(), "200".into());
    let (target, other) = (to.clone(), there.clone());
    let worker = Worker::start(&connection, settings(&group, &from), move || {
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            copy(
                record,
                if record.partition == 0 {
                    &target
                } else {
                    &other
                },
                out,
            );
            Flow::Done
        })
    });
    let of_zero = cluster
        .read_all(&from)
        .await
        .iter()
        .filter(|r| r.partition == 0)
        .count();
    assert_eq!(
        cluster.read(&there, 400 - of_zero).await.len(),
        400 - of_zero
    );
    wait_until("refusals", || worker.refused() > 0).await;
    cluster.create(&to, 1, &[]).await;
    let mut copies = cluster.read(&to, of_zero).await;
    copies.extend(cluster.read_all(&there).await);
    assert_once(&copies, 400);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copies_that_were_taken_are_not_written_again_with_those_that_were_not() {
    let cluster = cluster().await;
    let from = cluster.topic("fanout", 1).await;
    let missing = cluster.unique("fanout-missing");
    let there = cluster.topic("fanout-there", 1).await;
    let group = cluster.unique("fanout");
    fill(cluster, &from, 0..50).await;
    let mut connection = cluster.connection();
    let patience = ("topic.metadata.propagation.max.ms".into(), "200".into());
    connection.properties.extend([patience]);
    let (absent, present) = (missing.clone(), there.clone());
    let worker = Worker::start(&connection, settings(&group, &from), move || {
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            // Two that are equal, and one to a topic that is not there for one record.
            copy(record, &present, out);
            copy(record, &present, out);
            if record.offset == 20 {
                copy(record, &absent, out);
            }
            Flow::Done
        })
    });
    wait_until("two tries in a row", || worker.refused() >= 2).await;
    cluster.create(&missing, 1, &[]).await;
    assert_once_of(&cluster.read(&missing, 1).await, 20);
    cluster.read(&there, 100).await;
    worker.stop().await;
    assert_eq!(committed(cluster, &group, &from, 1).0, 50);
    let copies = cluster.read_all(&there).await;
    assert!(
        counted(&copies).values().all(|times| *times == 2),
        "{:?}",
        counted(&copies)
    );
}

fn assert_once_of(records: &[Record], value: usize) {
    assert_eq!(
        counted(records).into_iter().collect::<Vec<_>>(),
        [(value, 1)]
    );
}

/// Kafka refuses a batch that is too large as a whole: small ones keep the innocent out of it.
fn small_batches(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connection();
    // Compressed, what is too large here would not be.
    for (name, value) in [("batch.size", "1500"), ("compression.type", "none")] {
        connection.properties.insert(name.into(), value.into());
    }
    connection
}

async fn alter(cluster: &pushrail_testkit::Cluster, topic: &str, name: &str, value: &str) {
    use pushrail_kafka::rdkafka::admin::{
        AdminClient, AdminOptions, AlterConfig, ResourceSpecifier,
    };
    use pushrail_kafka::rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> = cluster
        .connection()
        .admin("pushrail-test")
        .create()
        .expect("a client");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let results = admin
        .alter_configs([&change], &AdminOptions::new())
        .await
        .expect("Kafka answers");
    results
        .into_iter()
        .for_each(|result| drop(result.expect("the setting is taken")));
}
