//! An installation: topics, tables, a tenant with a customer and its destination, and workers to start and kill.

use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::message::OwnedHeaders;
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_replay::Settings;
use pushrail_schemas::config::Destination;
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::headers::Delivery;
use pushrail_schemas::identity;
use pushrail_store::replays::{self, New, Of, Reads, Replay, Selection, State};
use pushrail_store::{Scope, Store, customers, destinations, tenants};
use pushrail_testkit::{Cluster, Record, wait_for};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) const PARTITIONS: i32 = 3;

/// With the fixed topics; shared by all tests, each of which has a tenant of its own.
pub(crate) async fn cluster() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::private().await;
            for topic in ["events", "deliver.webhook", "dlq.webhook"] {
                cluster.create(topic, PARTITIONS, &[]).await;
            }
            cluster
        })
        .await
}

pub(crate) struct Installation {
    pub(crate) cluster: &'static Cluster,
    pub(crate) store: Store,
    database_url: String,
    producer: FutureProducer,
    pub(crate) tenant: String,
}

/// A worker that can be killed.
pub(crate) struct Worker {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Worker {
    /// As a process that is gone: nothing is finished and nothing given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) fn at(us: i64) -> String {
    pushrail_clock::rfc3339(us).unwrap()
}

/// An event to be put on `events`.
pub(crate) struct Given<'a> {
    pub(crate) customer: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) payload: &'a str,
    pub(crate) received_at_us: i64,
}

impl Installation {
    pub(crate) async fn new() -> Installation {
        let cluster = cluster().await;
        let database_url = pushrail_testkit::database().await;
        let store = Store::new(&database_url, 4).unwrap();
        store.migrate().await.unwrap();
        let tenant = format!("t{}", Uuid::new_v4().simple());
        let mut tx = store.begin(Scope::System).await.unwrap();
        let named = tenants::Settings::named("test");
        tenants::insert(&mut tx, &tenant, &named).await.unwrap();
        for customer in ["c-1", "c-2"] {
            customers::ensure(&mut tx, &tenant, customer, "")
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        Installation {
            cluster,
            store,
            database_url,
            producer: cluster.producer(),
            tenant,
        }
    }

    /// A destination of `c-1`.
    pub(crate) async fn destination(&self, more: Value) -> Destination {
        let mut value = json!({
            "destinationId": Uuid::now_v7(),
            "tenantId": self.tenant,
            "customerId": identity::customer_id(&self.tenant, "c-1"),
            "customerExternalId": "c-1",
            "kind": "webhook",
            "name": "test",
            "version": 1,
            "config": {},
            "eventTypes": ["*"],
        });
        for (name, more) in more.as_object().into_iter().flatten() {
            value[name] = more.clone();
        }
        let destination: Destination = serde_json::from_str(&value.to_string()).unwrap();
        let mut tx = self.store.begin(Scope::System).await.unwrap();
        destinations::insert(&mut tx, &destination).await.unwrap();
        tx.commit().await.unwrap();
        destination
    }

    /// Statements of a superuser.
    pub(crate) async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        let url = Zeroizing::new(self.database_url.clone());
        Settings {
            look_every: Duration::from_millis(50),
            save_every: Duration::from_millis(200),
            lease: Duration::from_secs(2),
            ..Settings::new(Connection::new(&self.cluster.bootstrap), url)
        }
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(self.settings())
    }

    pub(crate) fn worker_with(&self, settings: Settings) -> Worker {
        let shutdown = CancellationToken::new();
        let ending = shutdown.clone();
        let task = tokio::spawn(async move {
            let (metrics, health) = (pushrail_obs::Metrics::new(), pushrail_obs::Health::new());
            pushrail_replay::run(settings, &metrics, &health, ending)
                .await
                .unwrap();
        });
        Worker { task, shutdown }
    }

    pub(crate) async fn replay(
        &self,
        to: &Destination,
        reads: Reads,
        selection: Selection,
        rate_per_second: i32,
    ) -> Uuid {
        self.replay_in(to, reads, selection, rate_per_second, State::Running)
            .await
    }

    pub(crate) async fn replay_in(
        &self,
        to: &Destination,
        reads: Reads,
        selection: Selection,
        rate_per_second: i32,
        state: State,
    ) -> Uuid {
        let mut tx = self.store.begin(Scope::System).await.unwrap();
        let new = New {
            replay_id: Uuid::now_v7(),
            tenant_id: &to.tenant_id,
            customer_id: to.customer_id,
            destination_id: to.destination_id,
            source: "events",
            reads,
            selection: &selection,
            state,
            start_at_once: false,
            rate_per_second,
            estimate: None,
            actor_kind: "api_key",
            actor_id: "x",
        };
        let made = replays::insert(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        made.replay_id
    }

    pub(crate) async fn get(&self, to: &Destination, replay_id: Uuid) -> Replay {
        let mut tx = self.store.begin(Scope::System).await.unwrap();
        let found = replays::get(&mut tx, of(to), replay_id).await.unwrap();
        found.unwrap()
    }

    pub(crate) async fn set(&self, replay_id: Uuid, state: State) {
        let mut tx = self.store.begin(Scope::System).await.unwrap();
        replays::set_state(&mut tx, replay_id, state).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Waits until a job is in a state.
    pub(crate) async fn until(&self, to: &Destination, id: Uuid, state: State) -> Replay {
        wait_for(&format!("the replay is {}", state.as_str()), async || {
            let found = self.get(to, id).await;
            assert!(
                found.state == state || !found.state.is_over(),
                "it is {found:?}"
            );
            (found.state == state).then_some(found)
        })
        .await
    }

    async fn produce(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        headers: OwnedHeaders,
    ) -> (i32, i64) {
        let record = FutureRecord::to(topic).key(key).payload(value);
        let sent = self.producer.send(record.headers(headers), Timeout::Never);
        let delivery = sent.await.unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Puts an event on `events` as ingest does.
    pub(crate) async fn accept(&self, given: Given<'_>) -> Uuid {
        let id = given.key.map_or_else(Uuid::now_v7, |key| {
            identity::event_id(&self.tenant, given.event_type, key)
        });
        let mut value = Vec::new();
        Parts {
            event_id: id,
            event_type: given.event_type,
            occurred_at_us: given.received_at_us,
            customer_external_id: given.customer,
            idempotency_key: given.key,
            source: None,
            payload: given.payload.as_bytes(),
            metadata: b"{}",
            received_at_us: given.received_at_us,
            subject_id: None,
            sealing: None,
        }
        .encode(7, &mut value);
        let customer_id = identity::customer_id(&self.tenant, given.customer).to_string();
        let headers = pushrail_testkit::headers(&[
            ("tenant_id", &self.tenant),
            ("customer_id", &customer_id),
            ("event_id", &id.to_string()),
            ("deduplicate", if given.key.is_some() { "1" } else { "0" }),
            ("origin", "http"),
        ]);
        let key = identity::event_key(&self.tenant, given.customer);
        let key = String::from_utf8(key).unwrap();
        self.produce("events", &key, &value, headers).await;
        id
    }

    /// Buries a delivery as a sink does, and says where.
    pub(crate) async fn bury(&self, to: &Destination, payload: &str) -> Letter {
        let (event_id, now_us) = (Uuid::now_v7(), pushrail_clock::now_us());
        let mut value = Vec::new();
        Parts {
            event_id,
            event_type: "order.completed",
            occurred_at_us: now_us,
            customer_external_id: &to.customer_external_id,
            idempotency_key: Some("seen-already"),
            source: None,
            payload: payload.as_bytes(),
            metadata: b"{}",
            received_at_us: now_us,
            subject_id: None,
            sealing: None,
        }
        .encode(7, &mut value);
        let delivery_id = identity::delivery_id(event_id, to.destination_id);
        let headers = pushrail_testkit::headers(&[
            ("delivery_id", &delivery_id.to_string()),
            ("event_id", &event_id.to_string()),
            ("tenant_id", &to.tenant_id),
            ("customer_id", &to.customer_id.to_string()),
            ("destination_id", &to.destination_id.to_string()),
            ("kind", "webhook"),
            ("attempt", "9"),
            ("deferrals", "3"),
            ("first_attempt_at", "1700000000000"),
            ("not_before", "1700000000000"),
            ("origin", "live"),
            ("failure_reason", "permanent"),
            ("failure_code", "http_404"),
        ]);
        let key = to.destination_id.to_string();
        let (partition, offset) = self.produce("dlq.webhook", &key, &value, headers).await;
        Letter {
            delivery_id,
            event_id,
            partition,
            offset,
            value,
        }
    }

    /// What `pushrail log` would know of a letter.
    pub(crate) async fn index(&self, to: &Destination, letter: &Letter, code: &str, state: &str) {
        sqlx::query(
            "INSERT INTO dead_letters (kind, partition, \"offset\", tenant_id, customer_id, destination_id, delivery_id,
                 event_id, event_type, received_at, dead_at, attempts, reason, code, detail, value_len, state)
             VALUES ('webhook', $1, $2, $3, $4, $5, $6, $7, 'order.completed', now(), now(), 9, 'permanent', $8, '', 1, $9)",
        )
        .bind(letter.partition)
        .bind(letter.offset)
        .bind(&*to.tenant_id)
        .bind(to.customer_id)
        .bind(to.destination_id)
        .bind(letter.delivery_id)
        .bind(letter.event_id)
        .bind(code)
        .bind(state)
        .execute(&mut self.database().await)
        .await
        .unwrap();
    }

    /// State and replay of every letter that the index has of a destination, by offset.
    pub(crate) async fn indexed(&self, to: &Destination) -> Vec<(i64, String, Option<Uuid>)> {
        sqlx::query_as(
            "SELECT \"offset\", state, replay_id FROM dead_letters WHERE destination_id = $1 ORDER BY \"offset\"",
        )
        .bind(to.destination_id)
        .fetch_all(&mut self.database().await)
        .await
        .unwrap()
    }

    /// What `deliver.webhook` has for a destination now.
    pub(crate) async fn delivered(&self, to: &Destination) -> Vec<Delivered> {
        let records = self.cluster.read_all("deliver.webhook").await;
        let records = records.into_iter();
        records
            .map(Delivered::of)
            .filter(|delivered| delivered.delivery.destination_id == to.destination_id)
            .collect()
    }
}

pub(crate) struct Letter {
    pub(crate) delivery_id: Uuid,
    pub(crate) event_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) delivery: Delivery,
    pub(crate) record: Record,
}

impl Delivered {
    fn of(record: Record) -> Delivered {
        let headers = record.headers.iter();
        let delivery = Delivery::parse(headers.map(|(n, v)| (n.as_str(), v.as_slice())));
        Delivered {
            delivery: delivery.unwrap(),
            record,
        }
    }

    pub(crate) fn payload(&self) -> String {
        let value = self.record.value.clone().unwrap();
        let event = Event::parse(value.into()).unwrap();
        String::from_utf8(event.payload().to_vec()).unwrap()
    }
}

pub(crate) fn of(to: &Destination) -> Of<'_> {
    Of {
        tenant_id: &to.tenant_id,
        customer_id: to.customer_id,
        destination_id: to.destination_id,
    }
}
