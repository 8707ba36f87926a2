//! What happens while Kafka or the registry is away, and when ingest dies in the middle. Each test has servers of its own
//! to stop, one after the other, because memory is finite.

#[path = "support/installation.rs"]
mod installation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use installation::{Ingest, events, settings, tenant};
use pushrail_ingest::Settings;
use pushrail_ingest::direct::GROUP;
use pushrail_kafka::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use pushrail_kafka::rdkafka::message::OwnedHeaders;
use pushrail_kafka::rdkafka::{Offset, TopicPartitionList};
use pushrail_schemas::registry::Registry;
use pushrail_schemas::{avro, wire};
use pushrail_testkit::{Cluster, wait_for, wait_until};
use pushrail_topology::topics;
use tokio::sync::Mutex;

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn event(n: usize) -> String {
    let filler = "x".repeat(1_000);
    format!(
        r#"{{"eventType":"order.completed","customerExternalId":"c-{}","payload":{{"n":{n},"filler":"{filler}"}}}}"#,
        n % 50
    )
}

/// A value written with `EventInput.avsc` as it is.
fn input(schema_id: u32, n: usize) -> Vec<u8> {
    let mut value = Vec::new();
    wire::start(schema_id, &mut value);
    let mut text = |text: &str| {
        value.push((text.len() * 2) as u8);
        value.extend_from_slice(text.as_bytes());
    };
    text("order.completed");
    text("c-1");
    text(&format!("{{\"n\":{n}}}"));
    // Neither time, key nor source; no metadata; no subject.
    value.extend_from_slice(&[0, 0, 0, 4, b'{', b'}', 0]);
    value
}

fn gauge(ingest: &Ingest, name: &str) -> i64 {
    let text = ingest.metrics.encode();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_down_nothing_is_promised_nothing_grows_and_all_comes_back() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::private().await;
    let key = tenant(&cluster, "outage").await;
    let settings = Settings {
        direct_workers: 0,
        in_flight_events_max: 1_000,
        in_flight_bytes_max: 32 * 1024 * 1024,
        ack_timeout: Duration::from_secs(3),
        ..settings(cluster.connection())
    };
    let ingest = Arc::new(Ingest::start(&cluster, settings).await);
    let accepted = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let (statuses, stop) = (
        Arc::new(std::sync::Mutex::new(BTreeMap::<u16, usize>::new())),
        Arc::new(AtomicUsize::new(0)),
    );
    let posters: Vec<_> = (0..64)
        .map(|poster| {
            let (ingest, key) = (Arc::clone(&ingest), key.clone());
            let (accepted, statuses, stop) = (
                Arc::clone(&accepted),
                Arc::clone(&statuses),
                Arc::clone(&stop),
            );
            tokio::spawn(async move {
                let mut n = poster;
                while stop.load(Ordering::Relaxed) == 0 {
                    // Half of them in batches, so that the budget has something to do.
                    let batch: Vec<_> = (0..50).map(event).collect();
                    let (status, answer) = match poster % 2 {
                        0 => ingest.post(&key, "/v1/events", event(n)).await,
                        _ => {
                            ingest
                                .post(&key, "/v1/events/batch", format!("[{}]", batch.join(",")))
                                .await
                        }
                    };
                    n += 64;
                    *statuses.lock().unwrap().entry(status).or_default() += 1;
                    if status == 202 {
                        let mut accepted = accepted.lock().unwrap();
                        accepted.extend(answer["eventId"].as_str().map(str::to_owned));
                        let results = answer["results"].as_array().into_iter().flatten();
                        accepted.extend(results.map(|r| r["eventId"].as_str().unwrap().to_owned()));
                    } else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    let count = |status: u16| statuses.lock().unwrap().get(&status).copied().unwrap_or(0);
    wait_until("accepted events", || count(202) > 200).await;
    cluster.kafka().kill().await;
    wait_until("refusals", || count(503) > 500 && count(429) > 0).await;
    let before = resident_kib();
    let refused = count(503) + count(429);
    wait_until("thousands of refusals", || {
        count(503) + count(429) > refused + 3_000
    })
    .await;
    let grown = resident_kib() - before;
    assert!(
        grown < 100 * 1024,
        "grew by {grown} KiB while Kafka was down"
    );
    assert!(gauge(&ingest, "pushrail_ingest_in_flight_records") <= 1_000);
    let down = count(202);
    cluster.kafka().restart().await.unwrap();
    wait_until("accepted events again", || count(202) > down + 200).await;
    stop.store(1, Ordering::Relaxed);
    for poster in posters {
        poster.await.unwrap();
    }
    assert!(
        statuses
            .lock()
            .unwrap()
            .keys()
            .all(|status| [202, 429, 503].contains(status)),
        "{statuses:?}"
    );
    // Everything that was promised is there; more may be, of what was not confirmed.
    let accepted = accepted.lock().unwrap().clone();
    let found = cluster.read_all(topics::EVENTS).await;
    let ids: std::collections::HashSet<_> = found
        .iter()
        .map(|record| record.header("event_id").unwrap())
        .collect();
    let accepted = accepted.iter().map(String::as_str);
    let lost: Vec<_> = accepted.filter(|id| !ids.contains(id)).collect();
    assert!(lost.is_empty(), "{} lost", lost.len());
    wait_until("an empty queue", || {
        gauge(&ingest, "pushrail_ingest_in_flight_bytes") == 0
    })
    .await;
    Arc::into_inner(ingest).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_is_down_direct_records_wait_and_are_never_buried() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::private().await;
    tenant(&cluster, "patient").await;
    let topic = topics::direct("patient");
    let registry = Registry::new(&cluster.registry_url, None).unwrap();
    let schema_id = registry.id(&topic, avro::EVENT_INPUT).await.unwrap();
    let ingest = Ingest::start(&cluster, settings(cluster.connection())).await;
    cluster.registry().stop().await;
    for n in 0..10 {
        cluster
            .produce(&topic, "k", &input(schema_id, n), OwnedHeaders::new())
            .await;
    }
    wait_for("the loss of readiness", async || {
        let unmet = ingest.health.unmet();
        unmet
            .iter()
            .any(|(name, _)| name == "registry/direct")
            .then_some(())
    })
    .await;
    cluster.registry().restart().await.unwrap();
    assert_eq!(events(&cluster, "patient", 10).await.len(), 10);
    assert_eq!(cluster.read_all(topics::DLQ_DIRECT).await.len(), 0);
    wait_until("readiness", || ingest.health.is_ready()).await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_gives_the_same_records_the_same_ids() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cluster = Cluster::private().await;
    tenant(&cluster, "again").await;
    let topic = topics::direct("again");
    let registry = Registry::new(&cluster.registry_url, None).unwrap();
    let schema_id = registry.id(&topic, avro::EVENT_INPUT).await.unwrap();
    let producer = cluster.producer();
    let sending = (0..2_000).map(|n| {
        let (value, key) = (input(schema_id, n), format!("k-{n}"));
        let (producer, topic) = (&producer, &topic);
        async move {
            let record = pushrail_kafka::rdkafka::producer::FutureRecord::to(topic)
                .key(&key)
                .payload(&value);
            producer
                .send(record, Duration::from_secs(30))
                .await
                .unwrap();
        }
    });
    futures::future::join_all(sending).await;
    let ingest = Ingest::start(&cluster, settings(cluster.connection())).await;
    events(&cluster, "again", 500).await;
    // In the middle, or soon after.
    ingest.stop().await;
    let ingest = Ingest::start(&cluster, settings(cluster.connection())).await;
    let orderly = events(&cluster, "again", 2_000).await;
    assert_eq!(orderly.len(), 2_000, "an orderly restart repeats nothing");
    ingest.stop().await;

    // A crash loses commits: as if all of them had been lost.
    forget_commits(&cluster, &topic).await;
    let ingest = Ingest::start(&cluster, settings(cluster.connection())).await;
    let found = events(&cluster, "again", 4_000).await;
    let mut times: BTreeMap<_, usize> = BTreeMap::new();
    for (_, event) in &found {
        *times
            .entry((event.event_id(), event.payload().to_vec()))
            .or_default() += 1;
    }
    assert_eq!(times.len(), 2_000, "a repeated record keeps its id");
    assert!(times.values().all(|times| *times == 2));
    ingest.stop().await;
}

async fn forget_commits(cluster: &Cluster, topic: &str) {
    let mut config = cluster.connection().reader("pushrail-test");
    config.set("group.id", GROUP);
    let topic = topic.to_owned();
    let committing = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer
            .fetch_metadata(Some(&topic), Duration::from_secs(30))
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..metadata.topics()[0].partitions().len() as i32 {
            list.add_partition_offset(&topic, partition, Offset::Offset(0))
                .unwrap();
        }
        consumer.commit(&list, CommitMode::Sync).unwrap();
    });
    committing.await.unwrap();
}
