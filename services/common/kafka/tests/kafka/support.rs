//! Workers that a test can stop, crash and look into.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pushrail_kafka::rdkafka::message::OwnedHeaders;
use pushrail_kafka::rdkafka::producer::FutureRecord;
use pushrail_kafka::relay::{self, Counters, Flow, Handler, Incoming, Outbox, Settings};
use pushrail_kafka::{Connection, Consumer, Error, TopicPartition};
use pushrail_testkit::{Cluster, Record};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// A handler of one function.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: FnMut(&Incoming<'_>, &mut Outbox) -> Flow> Handler for Each<F> {
    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
        (self.0)(record, out)
    }
}

/// Copies each record to `to`.
pub(crate) fn copy_to(to: &str) -> Each<impl FnMut(&Incoming<'_>, &mut Outbox) -> Flow + use<>> {
    let to = to.to_owned();
    Each(move |record: &Incoming<'_>, out: &mut Outbox| {
        copy(record, &to, out);
        Flow::Done
    })
}

pub(crate) fn copy(record: &Incoming<'_>, to: &str, out: &mut Outbox) {
    let key = record.key.unwrap_or_default();
    out.send(to, key, record.value, record.copy_headers());
}

/// A switch that a test and a handler share.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One relay worker on a thread of its own.
pub(crate) struct Worker {
    pub(crate) counters: Arc<Counters>,
    shutdown: CancellationToken,
    crash: CancellationToken,
    thread: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Worker {
    pub(crate) fn start<H: Handler>(
        connection: &Connection,
        settings: Settings,
        handler: impl FnOnce() -> H + Send + 'static,
    ) -> Worker {
        // Silent, but for what RUST_LOG asks for.
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::OFF.into())
            .from_env_lossy();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
        let counters = Counters::new();
        let (shutdown, crash) = (CancellationToken::new(), CancellationToken::new());
        let (connection, shared) = (connection.clone(), Arc::clone(&counters));
        let (stopped, crashed) = (shutdown.clone(), crash.clone());
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let run = relay::run(handler(), &settings, &connection, shared, stopped);
                tokio::select! {
                    result = run => result,
                    () = crashed.cancelled() => Ok(()),
                }
            })
        });
        Worker {
            counters,
            shutdown,
            crash,
            thread,
        }
    }

    /// Lets it drain.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = (&mut self.thread).await.expect("the worker does not panic");
        ended.expect("the worker ends well");
    }

    /// Ends it where it stands: nothing is waited for or committed.
    pub(crate) async fn crash(mut self) {
        self.crash.cancel();
        let ended = (&mut self.thread).await.expect("the worker does not panic");
        ended.expect("the worker has not failed before");
    }

    pub(crate) fn records(&self) -> u64 {
        self.counters.records.load(Ordering::Relaxed)
    }

    pub(crate) fn held(&self) -> i64 {
        self.counters.held.load(Ordering::Relaxed)
    }

    pub(crate) fn partitions(&self) -> i64 {
        self.counters.partitions.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.counters.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Worker {
    /// A test that fails must not wait for its workers.
    fn drop(&mut self) {
        self.crash.cancel();
    }
}

pub(crate) fn settings(group: &str, topic: &str) -> Settings {
    Settings {
        commit_interval: Duration::from_millis(50),
        ..Settings::new(group, "pushrail-test", vec![topic.to_owned()])
    }
}

/// As [`settings`], with no memory but a small buffer for each partition.
pub(crate) fn tight(group: &str, topic: &str) -> Settings {
    Settings {
        held_bytes_max: 0,
        ..settings(group, topic)
    }
}

/// Writes records with the values `from..to` as text, spread over the partitions by key.
pub(crate) async fn fill(cluster: &Cluster, topic: &str, values: std::ops::Range<usize>) {
    fill_sized(cluster, topic, values, 0).await;
}

/// As [`fill`], each value padded to `len`.
pub(crate) async fn fill_sized(
    cluster: &Cluster,
    topic: &str,
    values: std::ops::Range<usize>,
    len: usize,
) {
    let producer = cluster.producer();
    let mut sent = Vec::new();
    for value in values {
        let key = value.to_string();
        let text = format!("{value:<len$}");
        let delivery = loop {
            let record = FutureRecord::to(topic).key(&key).payload(&text);
            match producer.send_result(record.headers(OwnedHeaders::new())) {
                Ok(delivery) => break delivery,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        sent.push(delivery);
    }
    for delivery in sent {
        delivery.await.expect("answered").expect("acknowledged");
    }
}

/// How often each value is there.
pub(crate) fn counted(records: &[Record]) -> BTreeMap<usize, usize> {
    let mut counted = BTreeMap::new();
    for record in records {
        let text = String::from_utf8(record.value.clone().expect("a value")).expect("text");
        *counted
            .entry(text.trim().parse().expect("a number"))
            .or_default() += 1;
    }
    counted
}

/// Panics unless each of `0..count` is there exactly once.
pub(crate) fn assert_once(records: &[Record], count: usize) {
    let counted = counted(records);
    let lost: Vec<usize> = (0..count).filter(|v| !counted.contains_key(v)).collect();
    let repeated: Vec<_> = counted.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        lost.is_empty(),
        "{} are lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(20)]
    );
    assert!(repeated.is_empty(), "{} are repeated", repeated.len());
}

/// Where `group` stands in `topic`: the sum of its commits, and their metadata.
pub(crate) fn committed(
    cluster: &Cluster,
    group: &str,
    topic: &str,
    partitions: i32,
) -> (i64, Vec<String>) {
    use pushrail_kafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
    let client: BaseConsumer = cluster
        .connection()
        .reader("pushrail-test")
        .set("group.id", group)
        .create()
        .expect("a client");
    let mut list = pushrail_kafka::rdkafka::TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let list = client
        .committed_offsets(list, Duration::from_secs(10))
        .expect("Kafka answers");
    let (mut sum, mut metadata) = (0, Vec::new());
    for element in list.elements() {
        sum += element.offset().to_raw().filter(|o| *o > 0).unwrap_or(0);
        metadata.push(element.metadata().to_owned());
    }
    (sum, metadata)
}

/// A consumer and the partitions of the first assignment that it is told of.
pub(crate) fn poll_until<T>(
    consumer: &Consumer,
    mut take: impl FnMut(pushrail_kafka::Polled<'_>) -> Option<T>,
) -> T {
    let until = tokio::time::Instant::now() + pushrail_testkit::WITHIN;
    loop {
        if let Some(found) = take(consumer.poll()) {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "polled in vain");
        std::thread::yield_now();
    }
}

pub(crate) fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}
