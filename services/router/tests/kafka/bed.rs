//! A cluster with the pipeline's topics, routers to start on it, and events to send through.

use std::collections::HashMap;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_directory::{Directory, Interest, Record as Config, Writer};
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_obs::{Health, Metrics};
use pushrail_router::Settings;
use pushrail_schemas::config::Destination;
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::identity;
use pushrail_testkit::{Cluster, Record, headers, wait_until};
use pushrail_topology::topics;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const TENANT: &str = "acme";
pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const ATTEMPT_SCHEMA: u32 = 7;

static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) writer: Writer,
    producer: FutureProducer,
    _turn: MutexGuard<'static, ()>,
}

/// A router in this process.
pub(crate) struct Router {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bed {
    pub(crate) async fn new() -> Bed {
        let turn = TURN.lock().await;
        // Traces go nowhere, and are followed all the same. The first test of a process starts this for all.
        let options = pushrail_obs::Options {
            log_filter: std::env::var("PUSHRAIL_TEST_LOG").unwrap_or_else(|_| "off".to_owned()),
            otlp_endpoint: Some("http://127.0.0.1:9".to_owned()),
            ..Default::default()
        };
        std::mem::forget(pushrail_obs::init(&options));
        let cluster = Cluster::private().await;
        let compacted = [("cleanup.policy", "compact")];
        cluster.create(topics::CONFIG, 1, &compacted).await;
        cluster
            .create(
                topics::DEDUP,
                PARTITIONS,
                &[("cleanup.policy", "compact,delete")],
            )
            .await;
        cluster.create(topics::EVENTS, PARTITIONS, &[]).await;
        for topic in [
            topics::AUDIT_ATTEMPTS,
            topics::DLQ_EVENTS,
            "deliver.webhook",
            "deliver.s3",
        ] {
            cluster.create(topic, 2, &[]).await;
        }
        let writer = Writer::connect(&cluster.connection()).unwrap();
        let producer = cluster.producer();
        Bed {
            cluster,
            writer,
            producer,
            _turn: turn,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(self.cluster.connection())
    }

    /// Starts a router and waits until it has partitions.
    pub(crate) async fn start(&self, settings: Settings) -> Router {
        let (metrics, health) = (Metrics::new(), Health::new());
        let shutdown = CancellationToken::new();
        let directory = Directory::start(&settings.connection, Interest::destinations()).unwrap();
        let (m, h, s) = (metrics.clone(), health.clone(), shutdown.clone());
        let task = tokio::spawn(async move {
            pushrail_router::run(settings, directory, &m, &h, s).await;
        });
        let router = Router {
            metrics,
            health,
            shutdown,
            task,
        };
        // A router that has not begun has no conditions, and so meets them all.
        let begun = || router.metrics.encode().contains("pushrail_router_routes");
        wait_until("the router's readiness", || {
            begun() && router.health.is_ready()
        })
        .await;
        router
    }

    /// Puts a destination of `acme`'s `customer`.
    pub(crate) async fn destination(
        &self,
        id: u128,
        customer: &str,
        more: serde_json::Value,
    ) -> i64 {
        let mut value = json!({
            "destinationId": Uuid::from_u128(id),
            "tenantId": TENANT,
            "customerId": identity::customer_id(TENANT, customer),
            "customerExternalId": customer,
            "kind": "webhook",
            "name": "test",
            "version": 1,
            "config": {},
            "eventTypes": ["order.*"],
        });
        for (name, more) in more.as_object().into_iter().flatten() {
            value[name] = more.clone();
        }
        let destination: Destination = serde_json::from_str(&value.to_string()).unwrap();
        self.writer
            .put(Config::Destination(&destination))
            .await
            .unwrap()
    }

    /// Writes an event as ingest does; where it went.
    pub(crate) async fn event(&self, event: &Sent<'_>) -> (i32, i64) {
        let customer_id = identity::customer_id(TENANT, event.customer).to_string();
        let event_id = event.id.to_string();
        let mut pairs = vec![
            ("event_id", event_id.as_str()),
            ("event_type", event.event_type),
            ("tenant_id", TENANT),
            ("customer_id", &customer_id),
            ("origin", "http"),
        ];
        if event.deduplicate {
            pairs.push(("deduplicate", "1"));
        }
        pairs.extend(event.traceparent.map(|parent| ("traceparent", parent)));
        let key = identity::event_key(TENANT, event.customer);
        self.produce(&key, &event.value(), &pairs).await
    }

    pub(crate) async fn produce(
        &self,
        key: &[u8],
        value: &[u8],
        pairs: &[(&str, &str)],
    ) -> (i32, i64) {
        let record = FutureRecord::to(topics::EVENTS)
            .key(key)
            .payload(value)
            .headers(headers(pairs));
        let sent = self.producer.send(record, Timeout::Never).await.unwrap();
        (sent.partition, sent.offset)
    }

    /// Audit records, decoded, once there are `count`.
    pub(crate) async fn audit(&self, count: usize) -> Vec<Audit> {
        let records = self.cluster.read(topics::AUDIT_ATTEMPTS, count).await;
        records.iter().map(Audit::of).collect()
    }
}

pub(crate) fn settings(connection: Connection) -> Settings {
    let mut settings = Settings::new(connection, ATTEMPT_SCHEMA);
    settings.kinds = vec!["webhook".to_owned(), "s3".to_owned()];
    settings.commit_interval = Duration::from_millis(100);
    settings
}

impl Router {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')
                .map(str::to_owned)
        });
        line.unwrap_or_else(|| panic!("{name} in\n{text}"))
            .parse()
            .unwrap()
    }
}

/// An event to send.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) id: Uuid,
    pub(crate) customer: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) deduplicate: bool,
    pub(crate) traceparent: Option<&'a str>,
    /// How long ago it was accepted.
    pub(crate) age: Duration,
}

impl<'a> Sent<'a> {
    pub(crate) fn new(id: u128, customer: &'a str, payload: &'a str) -> Self {
        Sent {
            id: Uuid::from_u128(id),
            customer,
            event_type: "order.completed",
            payload,
            deduplicate: false,
            traceparent: None,
            age: Duration::ZERO,
        }
    }

    pub(crate) fn keyed(self) -> Self {
        Sent {
            deduplicate: true,
            ..self
        }
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let received_at_us = Clock::process().now_us() - self.age.as_micros() as i64;
        let mut value = Vec::new();
        Parts {
            event_id: self.id,
            event_type: self.event_type,
            occurred_at_us: received_at_us,
            customer_external_id: self.customer,
            idempotency_key: self.deduplicate.then_some("k"),
            source: None,
            payload: self.payload.as_bytes(),
            metadata: b"{}",
            received_at_us,
            subject_id: None,
            sealing: None,
        }
        .encode(3, &mut value);
        value
    }
}

/// What the tests want to know of an audit record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Audit {
    pub(crate) event: u128,
    pub(crate) destination: Option<u128>,
    pub(crate) outcome: String,
    pub(crate) class: String,
}

impl Audit {
    pub(crate) fn of(record: &Record) -> Audit {
        let schema = include_str!("../../../../schemas/avro/Attempt.avsc");
        let schema = avro::parse(schema);
        let fields = avro::decode(&schema, &record.value.as_ref().unwrap()[5..]);
        let text = |name: &str| fields.get(name).cloned().flatten();
        let id = |name: &str| text(name).map(|id| Uuid::parse_str(&id).unwrap().as_u128());
        let audit = Audit {
            event: id("event_id").unwrap(),
            destination: id("destination_id"),
            outcome: text("outcome").unwrap(),
            class: text("class").unwrap(),
        };
        let key = Uuid::from_u128(audit.destination.unwrap_or(audit.event)).to_string();
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        audit
    }
}

/// Reading audit records with the library that everybody else uses.
mod avro {
    use super::HashMap;
    use apache_avro::Schema;
    use apache_avro::types::Value;

    pub(super) fn parse(schema: &str) -> Schema {
        Schema::parse_str(schema).unwrap()
    }

    /// The text fields of a record by name; `None` for null.
    pub(super) fn decode(schema: &Schema, mut bytes: &[u8]) -> HashMap<String, Option<String>> {
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema)
            .build()
            .unwrap();
        let Value::Record(fields) = reader.read_value(&mut bytes).unwrap() else {
            panic!("a record");
        };
        fields
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect()
    }

    fn text(value: Value) -> Option<String> {
        match value {
            Value::Union(_, value) => text(*value),
            Value::String(text) => Some(text),
            Value::Uuid(id) => Some(id.to_string()),
            _ => None,
        }
    }
}

/// Events by id and the payloads that were delivered for them.
pub(crate) fn delivered(records: &[Record]) -> HashMap<u128, Vec<String>> {
    let mut delivered = HashMap::<u128, Vec<String>>::new();
    for record in records {
        let event = Event::parse(record.value.clone().unwrap().into()).unwrap();
        let payload = String::from_utf8(event.payload().to_vec()).unwrap();
        delivered
            .entry(event.event_id().as_u128())
            .or_default()
            .push(payload);
    }
    delivered
}
