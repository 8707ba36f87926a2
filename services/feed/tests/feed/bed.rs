//! A cluster with the topics of the feed, feeds to start on it, and audit records to send through.

use std::time::Duration;

use pushrail_directory::{Directory, Interest, Record as Config, Writer};
use pushrail_feed::Settings;
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::config::{EventValidation, Tenant};
use pushrail_testkit::{Cluster, Record, headers, wait_until};
use pushrail_topology::topics;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) const PARTITIONS: i32 = 2;

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    writer: Writer,
    producer: FutureProducer,
    _turn: MutexGuard<'static, ()>,
}

/// A feed in this process.
pub(crate) struct Feed {
    directory: Directory,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bed {
    /// With these tenants, their topics and their feeds.
    pub(crate) async fn new(tenants: &[&str]) -> Bed {
        let turn = TURN.lock().await;
        let cluster = Cluster::private().await;
        let compacted = [("cleanup.policy", "compact")];
        cluster.create(topics::CONFIG, 1, &compacted).await;
        cluster
            .create(topics::AUDIT_ATTEMPTS, PARTITIONS, &[])
            .await;
        let bed = Bed {
            writer: Writer::connect(&cluster.connection()).unwrap(),
            producer: cluster.producer(),
            cluster,
            _turn: turn,
        };
        for tenant in tenants {
            bed.create(tenant).await;
            bed.tenant(tenant, true).await;
        }
        bed
    }

    /// Makes a tenant's topic.
    pub(crate) async fn create(&self, tenant: &str) {
        self.cluster.create(&topics::audit(tenant), 2, &[]).await;
    }

    /// Puts a tenant on the `config` topic, and says at which offset.
    pub(crate) async fn tenant(&self, tenant: &str, audit_feed: bool) -> i64 {
        let tenant = Tenant {
            tenant_id: tenant.into(),
            name: tenant.into(),
            audit_feed,
            event_validation: EventValidation::Off,
            encryption: Default::default(),
        };
        self.writer.put(Config::Tenant(&tenant)).await.unwrap()
    }

    /// Writes an audit record of `tenant`, to the partition that its number chooses.
    pub(crate) async fn attempt(&self, tenant: &str, number: u128) {
        self.write(number, &value(tenant, number, b"{}")).await;
    }

    pub(crate) async fn write(&self, number: u128, value: &[u8]) {
        let number_text = number.to_string();
        let record = FutureRecord::to(topics::AUDIT_ATTEMPTS)
            .partition((number % PARTITIONS as u128) as i32)
            .key(&number_text)
            .payload(value)
            .timestamp(at_ms(number))
            .headers(headers(&[("number", &number_text), ("empty", "")]));
        self.producer.send(record, Timeout::Never).await.unwrap();
    }

    /// The numbers of the records that the tenant has, each checked to be what was written.
    pub(crate) async fn copies(&self, tenant: &str) -> Vec<u128> {
        let records = self.cluster.read_all(&topics::audit(tenant)).await;
        numbers(tenant, &records)
    }

    /// Waits until the tenant has these records, and maybe some twice.
    pub(crate) async fn arrived(&self, tenant: &str, expected: impl IntoIterator<Item = u128>) {
        let mut missing: Vec<u128> = expected.into_iter().collect();
        let (what, owner) = (format!("{} copies", missing.len()), tenant.to_owned());
        let enough = move |records: &[Record]| {
            let found = numbers(&owner, &records[records.len().saturating_sub(1)..]);
            missing.retain(|number| !found.contains(number));
            missing.is_empty()
        };
        self.cluster
            .read_until(&topics::audit(tenant), &what, enough)
            .await;
    }

    /// Starts a feed and waits until it is ready.
    pub(crate) async fn start(&self) -> Feed {
        let settings = settings(self.cluster.connection());
        let (metrics, health) = (Metrics::new(), Health::new());
        let shutdown = CancellationToken::new();
        let directory = Directory::start(&settings.connection, Interest::keys()).unwrap();
        let task = tokio::spawn({
            let (metrics, health, shutdown) = (metrics.clone(), health.clone(), shutdown.clone());
            let directory = directory.clone();
            async move {
                let run = pushrail_feed::run(settings, directory, &metrics, &health, shutdown);
                run.await.unwrap();
            }
        });
        let feed = Feed {
            directory,
            metrics,
            shutdown,
            task,
        };
        // A feed that has not begun has no conditions, and so meets them all.
        wait_until("the feed's readiness", || {
            feed.metrics.encode().contains("pushrail_feed_records") && health.is_ready()
        })
        .await;
        feed
    }
}

impl Feed {
    /// Waits until the feed knows what was put at `offset` of the `config` topic.
    pub(crate) async fn knows(&self, offset: i64) {
        self.directory.seen(offset).await;
    }

    /// Waits until `count` records have been decided on and nothing is left.
    pub(crate) async fn idle_after(&self, count: u64) {
        wait_until("every record to be settled", || {
            self.metric("pushrail_feed_records_total") >= count
                && self.metric("pushrail_feed_partitions") == PARTITIONS as u64
                && self.metric("pushrail_feed_lag_records") == 0
        })
        .await;
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "pushrail_feed_dropped_total{{reason=\"{reason}\"}}"
        ))
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{name} in\n{text}"));
        value.parse().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) fn settings(connection: Connection) -> Settings {
    let mut settings = Settings::new(connection);
    settings.commit_interval = Duration::from_millis(100);
    settings.look_every = Duration::from_millis(100);
    settings
}

fn at_ms(number: u128) -> i64 {
    1_700_000_000_000 + number as i64
}

pub(crate) fn value(tenant: &str, number: u128, payload: &[u8]) -> Vec<u8> {
    let attempt = Attempt {
        attempt_id: Uuid::from_u128(number),
        tenant_id: tenant,
        customer_id: Uuid::from_u128(1),
        event_id: Uuid::from_u128(number),
        event_type: "order.completed",
        delivery_id: None,
        destination_id: None,
        kind: None,
        attempt: 1,
        outcome: Outcome::Delivered,
        class: "delivered",
        code: None,
        status_code: Some(200),
        started_at_us: at_ms(number) * 1_000,
        latency_us: 7,
        error: None,
        response_headers: None,
        response_excerpt: None,
        payload: Some(payload),
        payload_form: "json",
        next_attempt_at_us: None,
        first_attempt_at_us: None,
        origin: "live",
        replay_id: None,
        traceparent: None,
        received_at_us: None,
        subject_id: None,
        sealing: None,
    };
    let mut value = Vec::new();
    attempt.encode(7, &mut value);
    value
}

/// Every record is the tenant's own, as it was written.
fn numbers(tenant: &str, records: &[Record]) -> Vec<u128> {
    let number = |record: &Record| {
        let text = record.header("number").expect("its headers");
        let number: u128 = text.parse().unwrap();
        assert_eq!(record.key.as_deref(), Some(text.as_bytes()));
        assert_eq!(record.header("empty"), Some(""));
        assert_eq!(record.headers.len(), 2);
        assert_eq!(record.timestamp_ms, at_ms(number));
        let expected = value(tenant, number, b"{}");
        assert_eq!(record.value, Some(expected), "{tenant} has {number}");
        number
    };
    let mut numbers: Vec<u128> = records.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}
