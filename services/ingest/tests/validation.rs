//! Events against the catalogue of their tenant, against a real Kafka and a real registry.

#[path = "support/installation.rs"]
mod installation;
#[path = "support/vendor.rs"]
mod vendor;

use installation::{Ingest, declare, events, settings, tenant, validate};
use pushrail_directory::{Key, Writer};
use pushrail_kafka::rdkafka::message::OwnedHeaders;
use pushrail_schemas::config::{EventValidation, key};
use pushrail_testkit::{Cluster, Record, headers, wait_for};
use pushrail_topology::topics;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vendor::{VENDOR, Vendor, shop};

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(Cluster::private).await
}

fn event(payload: &str) -> String {
    format!(r#"{{"eventType":"order.completed","customerExternalId":"c-1","payload":{payload}}}"#)
}

fn total(kind: &str) -> Value {
    json!({"required": ["total"], "properties": {"total": {"type": kind}}})
}

/// Posts until the answer is `status`: a change needs its way over Kafka.
async fn until(ingest: &Ingest, key: &str, payload: &str, status: u16) -> Value {
    wait_for(&format!("{status} for {payload}"), async || {
        let (answered, answer) = ingest.post(key, "/v1/events", event(payload)).await;
        (answered == status).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_setting_or_schema_counts_when_it_arrives() {
    let cluster = cluster().await;
    let key = tenant(cluster, "changing").await;
    let ingest = Ingest::start(cluster, settings(cluster.connection())).await;
    let (text, number) = (r#"{"total":"1"}"#, r#"{"total":1}"#);
    until(&ingest, &key, text, 202).await;
    validate(cluster, "changing", EventValidation::Catalogue).await;
    let answer = until(&ingest, &key, text, 422).await;
    assert_eq!(answer["errors"][0]["field"], "eventType");
    declare(cluster, "changing", "order.completed", None).await;
    until(&ingest, &key, text, 202).await;
    declare(
        cluster,
        "changing",
        "order.completed",
        Some(&total("number")),
    )
    .await;
    let answer = until(&ingest, &key, text, 422).await;
    let errors = json!([{"field": "payload/total", "message": "must be a number"}]);
    assert_eq!(answer["errors"], errors);
    until(&ingest, &key, number, 202).await;
    let batch = format!("[{},{}]", event(text), event(number));
    let (status, answer) = ingest.post(&key, "/v1/events/batch", batch).await;
    assert_eq!((status, &answer["results"][0]["errors"]), (207, &errors));
    assert_eq!(answer["results"][1]["status"], "accepted");
    declare(
        cluster,
        "changing",
        "order.completed",
        Some(&total("string")),
    )
    .await;
    until(&ingest, &key, text, 202).await;
    until(&ingest, &key, number, 422).await;
    // Another tenant's catalogue is its own.
    let other = tenant(cluster, "bystander").await;
    validate(cluster, "bystander", EventValidation::Schema).await;
    until(&ingest, &other, number, 202).await;

    let writer = Writer::connect(&cluster.connection()).unwrap();
    let gone = Key::EventType {
        tenant_id: "changing".into(),
        name: "order.completed".into(),
    };
    writer.remove(&gone).await.unwrap();
    let answer = until(&ingest, &key, text, 422).await;
    assert_eq!(answer["errors"][0]["field"], "eventType");
    validate(cluster, "changing", EventValidation::Schema).await;
    until(&ingest, &key, number, 202).await;
    validate(cluster, "changing", EventValidation::Off).await;
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_its_schema_on_the_direct_topic_is_buried_as_it_was() {
    let cluster = cluster().await;
    tenant(cluster, "direct-schema").await;
    declare(
        cluster,
        "direct-schema",
        "order.completed",
        Some(&total("number")),
    )
    .await;
    validate(cluster, "direct-schema", EventValidation::Schema).await;
    tenant(cluster, "direct-closed").await;
    validate(cluster, "direct-closed", EventValidation::Catalogue).await;
    let ingest = Ingest::start(cluster, settings(cluster.connection())).await;
    let vendor = Vendor::register(cluster, "vendor-of-direct-schema", VENDOR).await;
    let topic = topics::direct("direct-schema");
    let bad = vendor.write(shop("c-1", None, r#" {"total": "hunter2"} "#));
    let good = vendor.write(shop("c-1", None, r#"{"total": 1}"#));
    cluster
        .produce(&topic, "bad", &bad, headers(&[("keep", "me")]))
        .await;
    cluster
        .produce(&topic, "good", &good, OwnedHeaders::new())
        .await;
    let closed = topics::direct("direct-closed");
    cluster
        .produce(&closed, "unknown", &good, OwnedHeaders::new())
        .await;
    let accepted = events(cluster, "direct-schema", 1).await;
    assert_eq!(accepted[0].1.payload(), br#"{"total": 1}"#);
    let dead = cluster.read(topics::DLQ_DIRECT, 2).await;
    let of = |key: &str| -> &Record {
        let of_key = |record: &&Record| record.key.as_deref() == Some(key.as_bytes());
        dead.iter().find(of_key).unwrap()
    };
    let record = of("bad");
    assert_eq!(record.value.as_ref(), Some(&bad), "the original bytes");
    assert_eq!(record.header("keep"), Some("me"));
    assert_eq!(record.header("failure_reason"), Some("invalid"));
    assert_eq!(record.header("failure_code"), Some("schema_not_satisfied"));
    let detail = record.header("failure_detail");
    assert_eq!(detail, Some("payload/total must be a number"));
    let record = of("unknown");
    assert_eq!(record.header("failure_reason"), Some("invalid"));
    assert_eq!(record.header("failure_code"), Some("event_type_unknown"));
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbage_schema_on_the_config_topic_stops_no_event() {
    let cluster = cluster().await;
    let api_key = tenant(cluster, "garbage").await;
    validate(cluster, "garbage", EventValidation::Catalogue).await;
    let nested = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
    let recursive = json!({"properties": {"a": {"$ref": "#"}}});
    for (name, schema) in [
        ("wrong", json!({"type": 7})),
        ("nested", nested),
        ("recursive", recursive),
    ] {
        declare(cluster, "garbage", name, Some(&schema)).await;
    }
    declare(
        cluster,
        "garbage",
        "order.completed",
        Some(&total("number")),
    )
    .await;
    // No record of this form: what was known stays in force.
    let broken = key::event_type("garbage", "order.completed");
    cluster
        .produce("config", &broken, b"{\"schema\":", OwnedHeaders::new())
        .await;
    let ingest = Ingest::start(cluster, settings(cluster.connection())).await;
    until(&ingest, &api_key, "{}", 422).await;
    until(&ingest, &api_key, r#"{"total":1}"#, 202).await;
    for _ in 0..3 {
        for name in ["wrong", "nested", "recursive"] {
            let event = event("{}").replace("order.completed", name);
            let (status, answer) = ingest.post(&api_key, "/v1/events", event).await;
            assert_eq!(status, 202, "{name}: {answer}");
        }
    }
    let metrics = ingest.metrics.encode();
    assert!(
        metrics.contains("pushrail_ingest_schemas_unusable_total 3"),
        "{metrics}"
    );
    ingest.stop().await;
}
