//! Ingest against a real Kafka and a real registry.

#[path = "support/installation.rs"]
mod installation;
#[path = "support/vendor.rs"]
mod vendor;

use std::collections::{BTreeMap, BTreeSet};

use apache_avro::types::Value as Avro;
use installation::{Ingest, events, install, revoke, settings, tenant};
use pushrail_ingest::Settings;
use pushrail_kafka::rdkafka::message::OwnedHeaders;
use pushrail_schemas::registry::Registry;
use pushrail_schemas::{avro, identity, wire};
use pushrail_testkit::{Cluster, Record, headers, wait_for};
use pushrail_topology::topics;
use tokio::sync::OnceCell;
use vendor::{VENDOR, Vendor, shop};

/// The fixed topics for ourselves.
async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(Cluster::private).await
}

fn event(customer: &str, n: usize) -> String {
    format!(
        r#"{{"eventType":"order.completed","customerExternalId":"{customer}","payload":{{"n": {n}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_means_durable_and_a_revoked_key_means_nothing() {
    let cluster = cluster().await;
    let key = tenant(cluster, "http-one").await;
    let ingest = Ingest::start(
        cluster,
        Settings {
            direct_workers: 0,
            ..settings(cluster.connection())
        },
    )
    .await;
    let (status, answer) = ingest.post(&key, "/v1/events", event("c-1", 1)).await;
    assert_eq!(status, 202, "{answer}");
    let found = events(cluster, "http-one", 1).await;
    let (record, event_read) = &found[0];
    let id = answer["eventId"].as_str().unwrap();
    assert_eq!(event_read.event_id().to_string(), id);
    assert_eq!(event_read.payload(), br#"{"n": 1}"#);
    assert_eq!(record.key.as_deref(), Some(&b"http-one/c-1"[..]));
    assert_eq!(record.header("event_id"), Some(id));
    assert_eq!(record.header("event_type"), Some("order.completed"));
    assert_eq!(record.header("origin"), Some("http"));
    let customer = identity::customer_id("http-one", "c-1").to_string();
    assert_eq!(record.header("customer_id"), Some(&*customer));
    let registry = Registry::new(&cluster.registry_url, None).unwrap();
    let schema = registry.id(topics::EVENTS, avro::EVENT).await.unwrap();
    assert_eq!(
        wire::split(record.value.as_ref().unwrap()).unwrap().0,
        schema
    );

    revoke(cluster, "http-one").await;
    wait_for("the revocation", async || {
        let (status, _) = ingest.post(&key, "/v1/events", event("c-1", 2)).await;
        (status == 401).then_some(())
    })
    .await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_in_batches_are_all_there_once() {
    let cluster = cluster().await;
    let key = tenant(cluster, "http-many").await;
    let ingest = Ingest::start(
        cluster,
        Settings {
            direct_workers: 0,
            ..settings(cluster.connection())
        },
    )
    .await;
    let batch = |b: usize| {
        let events: Vec<_> = (0..1_000)
            .map(|n| event(&format!("c-{}", n % 40), b * 1_000 + n))
            .collect();
        format!("[{}]", events.join(","))
    };
    let posting = (0..10).map(|b| ingest.post(&key, "/v1/events/batch", batch(b)));
    let mut accepted = BTreeSet::new();
    for (status, answer) in futures::future::join_all(posting).await {
        assert_eq!(status, 202);
        for result in answer["results"].as_array().unwrap() {
            accepted.insert(result["eventId"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(accepted.len(), 10_000);
    let found = events(cluster, "http-many", 10_000).await;
    let ids: BTreeSet<_> = found
        .iter()
        .map(|(_, event)| event.event_id().to_string())
        .collect();
    assert_eq!(found.len(), 10_000);
    assert_eq!(ids, accepted);
    // One customer's events of one batch stay in order.
    let mut last: BTreeMap<(i64, String), i64> = BTreeMap::new();
    for (_, event) in &found {
        let payload: serde_json::Value = serde_json::from_slice(event.payload()).unwrap();
        let n = payload["n"].as_i64().unwrap();
        let customer = event.customer_external_id().to_owned();
        let before = last.insert((n / 1_000, customer), n);
        assert!(before.is_none_or(|before| before < n), "overtaken");
    }
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stock_avro_producer_writes_becomes_an_event() {
    let cluster = cluster().await;
    tenant(cluster, "direct-one").await;
    let ingest = Ingest::start(cluster, settings(cluster.connection())).await;
    let topic = topics::direct("direct-one");
    let vendor = Vendor::register(cluster, "vendor-of-direct-one", VENDOR).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let value = vendor.write(shop("c-1", Some("k-1"), r#" { "total" : 1.50 } "#));
    cluster
        .produce(
            &topic,
            "any",
            &value,
            headers(&[("traceparent", trace), ("tenant_id", "other")]),
        )
        .await;
    let value = vendor.write(shop("c-2", None, "{}"));
    let (partition, offset) = cluster
        .produce(&topic, "any", &value, OwnedHeaders::new())
        .await;

    let found = events(cluster, "direct-one", 2).await;
    let of = |customer: &str| {
        found
            .iter()
            .find(|(_, event)| event.customer_external_id() == customer)
            .unwrap()
    };
    let (record, event) = of("c-1");
    assert_eq!(event.payload(), br#"{ "total" : 1.50 }"#);
    assert_eq!(
        event.event_id(),
        identity::event_id("direct-one", "order.completed", "k-1")
    );
    assert_eq!(record.header("origin"), Some("direct"));
    assert_eq!(
        record.header("tenant_id"),
        Some("direct-one"),
        "the topic's, never the record's"
    );
    assert_eq!(record.header("traceparent"), Some(trace));
    assert_eq!(record.header("deduplicate"), Some("1"));
    let (record, event) = of("c-2");
    let source = cluster.read_all(&topic).await;
    let source = source
        .iter()
        .find(|r| (r.partition, r.offset) == (partition, offset))
        .unwrap();
    assert_eq!(
        event.event_id(),
        identity::event_id_at(&topic, partition, offset, source.timestamp_ms)
    );
    assert_eq!(event.occurred_at_us(), source.timestamp_ms * 1_000);
    assert_eq!(record.header("deduplicate"), Some("1"));

    // A tenant that comes later is picked up.
    tenant(cluster, "direct-late").await;
    let value = vendor.write(shop("c-3", None, "{}"));
    cluster
        .produce(
            &topics::direct("direct-late"),
            "any",
            &value,
            OwnedHeaders::new(),
        )
        .await;
    events(cluster, "direct-late", 1).await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_foreign_records_are_buried_with_a_reason_and_stop_nobody() {
    let cluster = cluster().await;
    tenant(cluster, "direct-bad").await;
    // A topic whose tenant was never made.
    install(cluster, &["direct-nobody"]).await;
    let ingest = Ingest::start(cluster, settings(cluster.connection())).await;
    let topic = topics::direct("direct-bad");
    let vendor = Vendor::register(cluster, "vendor-of-direct-bad", VENDOR).await;
    let other = r#"{"type":"record","name":"Other","fields":[{"name":"a","type":"int"}]}"#;
    let other = Vendor::register(cluster, "other-of-direct-bad", other).await;
    let mut unknown = Vec::new();
    wire::start(999_999, &mut unknown);
    let good = vendor.write(shop("c-1", None, "{}"));
    let cases = [
        (
            "garbage",
            b"garbage".to_vec(),
            "undecodable",
            "not_confluent_avro",
        ),
        ("empty", Vec::new(), "undecodable", "not_confluent_avro"),
        ("short", vec![0, 0, 1], "undecodable", "not_confluent_avro"),
        ("unknown", unknown, "undecodable", "schema_unknown"),
        (
            "other",
            other.write(vec![("a", Avro::Int(1))]),
            "undecodable",
            "schema_unsuitable",
        ),
        (
            "cut",
            good[..good.len() - 1].to_vec(),
            "undecodable",
            "unreadable",
        ),
        (
            "trailing",
            [&good[..], b"x"].concat(),
            "undecodable",
            "unreadable",
        ),
        (
            "payload",
            vendor.write(shop("c-1", None, "[1]")),
            "invalid",
            "invalid_event",
        ),
        (
            "json",
            vendor.write(shop("c-1", None, "{")),
            "invalid",
            "invalid_event",
        ),
        (
            "customer",
            vendor.write(shop("", None, "{}")),
            "invalid",
            "invalid_event",
        ),
        (
            "large",
            vendor.write(shop(
                "c-1",
                None,
                &format!("{{\"a\":\"{}\"}}", "x".repeat(300_000)),
            )),
            "invalid",
            "too_large",
        ),
    ];
    for (key, value, ..) in &cases {
        let spoofed = headers(&[("keep", "me"), ("failure_reason", "spoofed")]);
        cluster.produce(&topic, key, value, spoofed).await;
        cluster
            .produce(&topic, key, &good, OwnedHeaders::new())
            .await;
    }
    let nobody = topics::direct("direct-nobody");
    cluster
        .produce(&nobody, "foreign", &good, OwnedHeaders::new())
        .await;

    // A good record behind each bad one, in the same partition.
    assert_eq!(
        events(cluster, "direct-bad", cases.len()).await.len(),
        cases.len()
    );
    let count = cases.len() + 1;
    let dead = cluster.read(topics::DLQ_DIRECT, count).await;
    assert_eq!(dead.len(), count);
    let of = |key: &str| -> &Record {
        dead.iter()
            .find(|record| record.key.as_deref() == Some(key.as_bytes()))
            .unwrap()
    };
    for (key, value, reason, code) in &cases {
        let record = of(key);
        assert_eq!(
            record.value.as_ref(),
            Some(value),
            "{key}: the original bytes"
        );
        assert_eq!(record.header("failure_reason"), Some(*reason), "{key}");
        assert_eq!(record.header("failure_code"), Some(*code), "{key}");
        assert_eq!(record.header("keep"), Some("me"), "{key}");
        assert!(
            !record.header("failure_detail").unwrap().is_empty(),
            "{key}"
        );
        assert!(
            record
                .header("failure_source")
                .unwrap()
                .starts_with(&format!("{topic}/")),
            "{key}"
        );
        assert!(record.header("failed_at").is_some(), "{key}");
    }
    assert_eq!(
        of("payload").header("failure_detail"),
        Some("payload must be a JSON object, not an array")
    );
    let foreign = of("foreign");
    assert_eq!(foreign.header("failure_reason"), Some("foreign"));
    assert_eq!(foreign.header("failure_code"), Some("unknown_tenant"));
    ingest.stop().await;
}
