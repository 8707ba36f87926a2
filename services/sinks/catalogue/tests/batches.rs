//! Batches through a real sink, a real Kafka and a real PostgreSQL: how they are cut, what a drain does with them, and what is
//! done with events that are sealed.
#![cfg(feature = "postgres")]

use std::sync::Arc;
use std::time::Duration;

use pushrail_directory::{Record as Config, Writer};
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_schemas::config::Destination;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::{Attempt, Event, identity};
use pushrail_shred::{Erased, Generations, Keyset, Lookup, Owner, SHARDS, Sealing, Tree, part};
use pushrail_sink_core::{Context, canonical};
use pushrail_sinks::{Limits, Settings};
use pushrail_testkit::{Cluster, wait_for};
use pushrail_topology::topics;
use pushrail_vault::KeyRing;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

const TENANT: &str = "acme";

fn destination(url: &Url, batch: Value, ring: &KeyRing, context: &Context) -> Destination {
    let Value::Object(draft) = json!({
        "tenantId": TENANT, "customerExternalId": "c1", "kind": "postgres",
        "config": {
            "host": url.host_str(), "port": url.port(), "user": url.username(), "tls": "off",
            "database": url.path().trim_start_matches('/'),
        },
        "secrets": {"password": url.password()},
        "batch": batch,
    }) else {
        unreachable!()
    };
    let draft = pushrail_admin::Draft::parse(draft).unwrap();
    let adapter = pushrail_sinks::adapter("postgres", context).unwrap();
    let id = Uuid::from_u128(1);
    pushrail_admin::destination(draft, &*adapter, context, ring, id, |_| Vec::new())
        .unwrap_or_else(|error| panic!("{error}"))
        .destination
}

/// What an event is written from, to be changed.
fn parts(event: u128, payload: &str) -> Parts<'_> {
    let now_us = pushrail_clock::now_us();
    Parts {
        event_id: Uuid::from_u128(event),
        event_type: "order.completed",
        occurred_at_us: now_us,
        customer_external_id: "c1",
        idempotency_key: None,
        source: None,
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us: now_us,
        subject_id: None,
        sealing: None,
    }
}

/// Writes a delivery as the router does.
async fn deliver(producer: &FutureProducer, to: u128, parts: Parts<'_>) {
    let (event_id, destination_id) = (parts.event_id, Uuid::from_u128(to));
    let mut value = Vec::new();
    parts.encode(3, &mut value);
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination_id),
        event_id,
        tenant_id: TENANT.into(),
        customer_id: identity::customer_id(TENANT, "c1"),
        destination_id,
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    let mut headers = Some(OwnedHeaders::new());
    delivery.write(Some("postgres"), &mut String::new(), |key, value| {
        let value = Some(value);
        headers = headers.take().map(|h| h.insert(Header { key, value }));
    });
    let (key, headers) = (destination_id.to_string(), headers.unwrap());
    let record = FutureRecord::to("deliver.postgres")
        .key(&key)
        .payload(&value)
        .headers(headers);
    let sent = producer.send(record, Timeout::Never).await;
    sent.expect("the record is acknowledged");
}

/// Rows, and the transactions that they came with.
async fn rows(database: &mut PgConnection) -> (i64, i64) {
    let sql = "SELECT count(*), count(DISTINCT xmin::text) FROM events";
    sqlx::query_as(sql)
        .fetch_one(database)
        .await
        .unwrap_or_default()
}

/// A sink of one destination, and what is around it.
struct Bed {
    cluster: Cluster,
    producer: FutureProducer,
    database: PgConnection,
    ring: Arc<KeyRing>,
    config: Writer,
    metrics: Arc<pushrail_obs::Metrics>,
    shutdown: CancellationToken,
    sink: JoinHandle<()>,
}

impl Bed {
    async fn start(batch: Value) -> Bed {
        let cluster = Cluster::private().await;
        let compacted = [("cleanup.policy", "compact")];
        cluster.create(topics::CONFIG, 1, &compacted).await;
        for topic in ["deliver.postgres", "dlq.postgres", topics::AUDIT_ATTEMPTS] {
            cluster.create(topic, 1, &[]).await;
        }
        for tier in pushrail_topology::TIERS {
            cluster.create(tier.topic, 1, &[]).await;
        }
        let context = Context {
            allowed_networks: vec!["127.0.0.0/8".into()],
            allow_plaintext: true,
        };
        let ring = Arc::new(KeyRing::generate().unwrap());
        let url = Url::parse(&pushrail_testkit::database().await).unwrap();
        let destination = destination(&url, batch, &ring, &context);
        let config = Writer::connect(&cluster.connection()).unwrap();
        config.put(Config::Destination(&destination)).await.unwrap();
        let settings = Settings {
            connection: cluster.connection(),
            kind: "postgres".into(),
            workers: 1,
            context,
            event_schema_id: 3,
            attempt_schema_id: 7,
            metadata_len_max: 4096,
            drain_timeout: Duration::from_secs(10),
            limits: Limits::default(),
        };
        let shutdown = CancellationToken::new();
        let (metrics, health) = (
            Arc::new(pushrail_obs::Metrics::new()),
            pushrail_obs::Health::new(),
        );
        let sink = tokio::spawn({
            let (ring, shutdown, metrics) = (Arc::clone(&ring), shutdown.clone(), metrics.clone());
            async move {
                pushrail_sinks::run(settings, ring, &metrics, &health, shutdown)
                    .await
                    .unwrap();
            }
        });
        Bed {
            producer: cluster.producer(),
            database: PgConnection::connect(url.as_str()).await.unwrap(),
            cluster,
            ring,
            config,
            metrics,
            shutdown,
            sink,
        }
    }

    /// Puts what keys are computed from on `config`.
    async fn tell(&self, shard: u8, tree: &Tree) {
        let bytes = tree.to_bytes();
        let key = self.ring.seal_payload_key(TENANT, EPOCH, shard, &bytes);
        let key = key.unwrap();
        self.config.put(Config::PayloadKey(&key)).await.unwrap();
    }

    /// Waits until exactly so many records wait for company.
    async fn wait_for_batching(&self, records: usize) {
        let waiting = format!("pushrail_sink_batching_records {records}\n");
        wait_for("all to wait in an open batch", async || {
            self.metrics.encode().contains(&waiting).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_cut_by_count_and_what_waits_is_sent_by_a_drain() {
    let mut bed = Bed::start(json!({"records": 200, "ageMs": 60_000})).await;
    let sent = (0..1_000).map(|event| deliver(&bed.producer, 1, parts(event, "{}")));
    futures::future::join_all(sent).await;
    wait_for("whole batches", async || {
        (rows(&mut bed.database).await == (1_000, 5)).then_some(())
    })
    .await;
    // These wait for company, for a minute; one of them cannot be stored.
    for event in 1_000..1_050 {
        let payload = match event {
            1_020 => r#"{"text": "\u0000"}"#,
            _ => "{}",
        };
        deliver(&bed.producer, 1, parts(event, payload)).await;
    }
    bed.wait_for_batching(50).await;
    assert_eq!(rows(&mut bed.database).await, (1_000, 5));
    bed.shutdown.cancel();
    bed.sink.await.unwrap();

    assert_eq!(rows(&mut bed.database).await.0, 1_049);
    let cluster = bed.cluster;
    let records = cluster.read(topics::AUDIT_ATTEMPTS, 1_050).await;
    for record in &records {
        let attempt = Attempt::parse(record.value.as_deref().unwrap()).unwrap();
        let poison = attempt.event_id == Uuid::from_u128(1_020);
        let (class, code) = match poison {
            true => ("permanent", Some("invalid_data")),
            false => ("delivered", None),
        };
        let found = (attempt.attempt, attempt.class, attempt.code);
        assert_eq!(found, (1, class, code), "{attempt:?}");
    }
    let dead = cluster.read_all("dlq.postgres").await;
    assert_eq!(dead.len(), 1);
    let poison = Uuid::from_u128(1_020).to_string();
    assert_eq!(dead[0].header("event_id"), Some(&*poison));
    assert_eq!(cluster.read_all(topics::AUDIT_ATTEMPTS).await.len(), 1_050);
}

const EPOCH: u32 = 7;
const SECRET: &str = r#"{"card": "4111-1111-1111"}"#;
/// As long, and nothing that PostgreSQL stores.
const POISON: &str = r#"{"card": "4111-111\u0000"}"#;

/// Writes a delivery whose event is sealed.
async fn deliver_sealed(producer: &FutureProducer, to: u128, event: u128, keyset: &Keyset) {
    let clear = parts(event, if event == 5 { POISON } else { SECRET });
    let owner = Owner {
        customer_id: identity::customer_id(TENANT, "c1"),
        event_id: clear.event_id,
        subject_id: None,
    };
    // As it was sealed when it came in, be it erased since.
    let generations = Generations::default();
    let Lookup::Key(key) = keyset.key(&owner, generations) else {
        panic!("the key is there")
    };
    let sealing = Sealing {
        epoch: EPOCH,
        generations,
    };
    let sealing = sealing.to_bytes();
    let sealed = Parts {
        payload: &key.sealed(part::PAYLOAD, clear.payload).unwrap(),
        metadata: &key.sealed(part::METADATA, clear.metadata).unwrap(),
        sealing: Some(&sealing),
        ..clear
    };
    deliver(producer, to, sealed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_shares_batches_in_clear_and_what_was_erased_meanwhile_stays_out_alone() {
    // Ten events as they are sent; of what is sealed that would be eight.
    let mut value = Vec::new();
    parts(0, SECRET).encode(3, &mut value);
    let clear = Event::parse(value.into()).unwrap();
    let bytes = 10 * canonical::len_hint(&clear);
    let mut bed = Bed::start(json!({"bytes": bytes, "ageMs": 60_000})).await;
    let (mut keyset, mut erased) = (Keyset::default(), Keyset::default());
    for shard in 0..SHARDS {
        let tree = Tree::generate().unwrap();
        bed.tell(shard, &tree).await;
        erased.put(shard, Arc::new(Tree::from_bytes(&tree.to_bytes()).unwrap()));
        keyset.put(shard, Arc::new(tree));
    }
    for event in 0..9 {
        deliver_sealed(&bed.producer, 1, event, &keyset).await;
    }
    bed.wait_for_batching(9).await;

    let third = Uuid::from_u128(3);
    let (shard, tree) = erased.erase(Erased::Event(third)).unwrap();
    bed.tell(shard, tree).await;
    wait_for("the sink to know of the erasure", async || {
        // To nobody; it is put off as long as it can be read.
        deliver_sealed(&bed.producer, 2, 3, &keyset).await;
        let dead = r#"pushrail_sink_dead_letters_total{reason="erased"}"#;
        bed.metrics.encode().contains(dead).then_some(())
    })
    .await;
    assert_eq!(rows(&mut bed.database).await.0, 0);

    deliver_sealed(&bed.producer, 1, 9, &keyset).await;
    wait_for(
        "the others, but for one that cannot be stored",
        async || (rows(&mut bed.database).await.0 == 8).then_some(()),
    )
    .await;
    let sql = "SELECT count(*) FROM events WHERE payload = $1::jsonb AND metadata = '{}' AND event_id <> $2";
    let (in_clear,): (i64,) = sqlx::query_as(sql)
        .bind(SECRET)
        .bind(third)
        .fetch_one(&mut bed.database)
        .await
        .unwrap();
    assert_eq!(in_clear, 8);
    bed.shutdown.cancel();
    bed.sink.await.unwrap();

    let mut seen = 0;
    for record in bed.cluster.read_all(topics::AUDIT_ATTEMPTS).await {
        let value = record.value.as_deref().unwrap();
        assert!(!String::from_utf8_lossy(value).contains("4111"));
        let attempt = Attempt::parse(value).unwrap();
        if attempt.destination_id != Some(Uuid::from_u128(1)) {
            continue;
        }
        seen += 1;
        let expected = match attempt.event_id.as_u128() {
            3 => (1, "transient", Some("erased")),
            5 => (1, "permanent", Some("invalid_data")),
            _ => (1, "delivered", None),
        };
        let found = (attempt.attempt, attempt.class, attempt.code);
        assert_eq!(found, expected, "{attempt:?}");
        // It answered to all of them.
        assert_eq!(attempt.response_excerpt, None);
    }
    assert_eq!(seen, 10);
}
