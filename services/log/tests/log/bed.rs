//! A cluster with the topics that the log reads, a database, and indexers to start.

use std::collections::HashMap;

use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_log::Settings;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_store::log::Micros;
use pushrail_store::log::search::{self, Wanted};
use pushrail_store::{Scope, Store};
use pushrail_testkit::{Cluster, headers, wait_until};
use pushrail_topology::topics;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PARTITIONS: i32 = 3;
pub(crate) const TENANT: &str = "acme";

/// A cluster at a time: they are large.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) producer: FutureProducer,
    pub(crate) url: String,
    pub(crate) store: Store,
    _turn: MutexGuard<'static, ()>,
}

/// An indexer in this process.
pub(crate) struct Indexer {
    pub(crate) metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bed {
    pub(crate) async fn new() -> Bed {
        let turn = TURN.lock().await;
        let cluster = Cluster::private().await;
        cluster
            .create(topics::AUDIT_ATTEMPTS, PARTITIONS, &[])
            .await;
        cluster
            .create(&topics::dlq("webhook"), PARTITIONS, &[])
            .await;
        let url = pushrail_testkit::database().await;
        let store = Store::new(&url, 4).unwrap();
        store.migrate().await.unwrap();
        Bed {
            producer: cluster.producer(),
            cluster,
            url,
            store,
            _turn: turn,
        }
    }

    pub(crate) async fn start(&self) -> Indexer {
        self.start_with(|_| ()).await
    }

    pub(crate) async fn start_with(&self, set: impl FnOnce(&mut Settings)) -> Indexer {
        let url = self.url.clone().into();
        let kinds = vec!["webhook".into()];
        let mut settings = Settings::new(self.cluster.connection(), url, kinds, 1);
        // Small batches: there shall be many transactions to interrupt.
        settings.batch_records_max = 50;
        settings.linger = std::time::Duration::from_millis(20);
        set(&mut settings);
        let (metrics, health) = (Metrics::new(), Health::new());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (metrics, health, shutdown) = (metrics.clone(), health.clone(), shutdown.clone());
            async move {
                pushrail_log::run(settings, &metrics, &health, shutdown)
                    .await
                    .unwrap()
            }
        });
        wait_until("the log is ready", || health.unmet().is_empty()).await;
        Indexer {
            metrics,
            shutdown,
            task,
        }
    }

    pub(crate) async fn write(&self, attempt: &Attempt<'_>) {
        let mut value = Vec::new();
        attempt.encode(1, &mut value);
        let key = attempt
            .destination_id
            .unwrap_or(attempt.event_id)
            .to_string();
        let record = FutureRecord::to(topics::AUDIT_ATTEMPTS)
            .key(&key)
            .payload(&value);
        self.producer.send(record, Timeout::Never).await.unwrap();
    }

    /// A record that is none, on both topics.
    pub(crate) async fn write_garbage(&self) {
        for topic in [topics::AUDIT_ATTEMPTS, &topics::dlq("webhook")] {
            let record = FutureRecord::to(topic)
                .key("x")
                .payload(b"garbage".as_slice())
                .headers(headers(&[("x", "y")]));
            self.producer.send(record, Timeout::Never).await.unwrap();
        }
    }

    /// Everything in the index, newest first.
    pub(crate) async fn all(&self, latest: bool) -> Vec<search::Attempt> {
        let wanted = Wanted {
            tenant_id: TENANT.into(),
            latest,
            ..Wanted::default()
        };
        let (mut all, mut after) = (Vec::new(), None);
        let mut tx = self.store.begin(Scope::Tenant(TENANT)).await.unwrap();
        loop {
            let page = search::list(&mut tx, &wanted, after, 97).await.unwrap();
            let Some(last) = page.last() else {
                return all;
            };
            after = Some(search::After {
                received_at: last.received_at,
                started_at: last.started_at,
                attempt_id: last.attempt_id,
            });
            all.extend(page);
        }
    }

    /// Waits until the index has so many attempts.
    pub(crate) async fn arrived(&self, count: usize) -> Vec<search::Attempt> {
        pushrail_testkit::wait_for(&format!("{count} attempts"), async || {
            let all = self.all(false).await;
            (all.len() >= count).then_some(all)
        })
        .await
    }
}

impl Indexer {
    /// Lets it finish what it has read.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// What happened to deliveries, with times that grow.
pub(crate) struct Teller {
    now_us: i64,
    attempts: HashMap<Uuid, u32>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        Teller {
            now_us: pushrail_clock::now_us() - 3_600_000_000,
            attempts: HashMap::new(),
        }
    }

    /// The next attempt of a delivery.
    pub(crate) fn attempt(
        &mut self,
        destination: u128,
        event: u128,
        outcome: Outcome,
    ) -> Attempt<'static> {
        self.now_us += 10_000;
        let destination_id = Uuid::from_u128(0xd000 + destination);
        let event_id = Uuid::from_u128(0xe000 + event);
        let delivery_id = pushrail_schemas::identity::delivery_id(event_id, destination_id);
        let made = !matches!(outcome, Outcome::Queued | Outcome::Skipped);
        let number = self.attempts.entry(delivery_id).or_default();
        *number += u32::from(made);
        let failed = outcome != Outcome::Delivered && made;
        Attempt {
            attempt_id: Uuid::now_v7(),
            tenant_id: TENANT,
            customer_id: pushrail_schemas::identity::customer_id(TENANT, "c1"),
            event_id,
            event_type: "order.completed",
            delivery_id: Some(delivery_id),
            destination_id: Some(destination_id),
            kind: Some("webhook"),
            attempt: if made { *number } else { 0 },
            outcome,
            class: if failed {
                "transient"
            } else {
                outcome.as_str()
            },
            code: failed.then_some("http_503"),
            status_code: made.then_some(if failed { 503 } else { 200 }),
            started_at_us: self.now_us,
            latency_us: 12_000,
            error: failed.then_some("The endpoint answered 503 Service Unavailable."),
            response_headers: made.then_some("content-type: text/plain"),
            response_excerpt: failed.then_some(b"no".as_slice()),
            payload: made.then_some(br#"{"total":12}"#.as_slice()),
            payload_form: if made { "json" } else { "omitted" },
            next_attempt_at_us: None,
            first_attempt_at_us: None,
            origin: "live",
            replay_id: None,
            traceparent: None,
            // Of the event, and so the same for all of its attempts.
            received_at_us: Some(
                pushrail_clock::now_us() / 60_000_000 * 60_000_000 - event as i64 * 1_000,
            ),
            subject_id: None,
            sealing: None,
        }
    }

    pub(crate) fn now(&self) -> Micros {
        Micros(self.now_us)
    }

    pub(crate) fn later(&mut self, minutes: i64) {
        self.now_us += minutes * 60_000_000;
    }
}
