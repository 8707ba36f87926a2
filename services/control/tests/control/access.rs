use std::sync::Arc;
use std::time::Duration;

use pushrail_control::KafkaAccess;
use pushrail_directory::{Directory, Interest};
use pushrail_kafka::rdkafka::ClientConfig;
use pushrail_kafka::rdkafka::consumer::{Consumer, StreamConsumer};
use pushrail_kafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use pushrail_kafka::rdkafka::message::Message as _;
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_schemas::registry::Registry;
use pushrail_testkit::{Cluster, wait_for};
use pushrail_vault::KeyRing;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Control, text, with_access};

async fn offering(cluster: &Cluster) -> Control {
    let registry = Arc::new(Registry::new(&cluster.registry_url, None).unwrap());
    let access = KafkaAccess {
        bootstrap: cluster.sasl_bootstrap.clone(),
        tls: false,
        producer_bytes_per_s: 50_000_000,
        consumer_bytes_per_s: 50_000_000,
        topology: pushrail_topology::Settings::single(),
        registry,
    };
    let ring = Arc::new(KeyRing::generate().unwrap());
    let database = pushrail_testkit::database().await;
    with_access(cluster.connection(), database, ring, Some(access)).await
}

/// A stock client with what the API gave.
fn client(made: &Value) -> ClientConfig {
    let mut config = ClientConfig::new();
    for line in text(&made["librdkafkaProperties"]).lines() {
        if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            config.set(name, value);
        }
    }
    config
}

fn producer(made: &Value) -> FutureProducer {
    let mut config = client(made);
    config
        .set("message.timeout.ms", "10000")
        .set("enable.idempotence", "true");
    config.create().unwrap()
}

async fn write(producer: &FutureProducer, topic: &str) -> Result<(), RDKafkaErrorCode> {
    let record = FutureRecord::to(topic).key("k").payload("v");
    match producer.send(record, Duration::from_secs(10)).await {
        Ok(_) => Ok(()),
        Err((error, _)) => Err(error.rdkafka_error_code().unwrap()),
    }
}

async fn read(made: &Value, group: &str, topic: &str) -> Result<Vec<u8>, RDKafkaErrorCode> {
    let mut config = client(made);
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest");
    let consumer: StreamConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    loop {
        match consumer.recv().await {
            Ok(message) => return Ok(message.payload().unwrap_or_default().to_vec()),
            Err(KafkaError::MessageConsumption(code)) if refusal(code) => return Err(code),
            // librdkafka says that it connects anew, and goes on.
            Err(_) => {}
        }
    }
}

fn refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed
    )
}

#[tokio::test]
async fn a_vendor_uses_kafka_with_what_it_was_given_and_for_nothing_else() {
    let cluster = Cluster::private().await;
    let control = offering(&cluster).await;
    let directory = Directory::start(&cluster.connection(), Interest::everything()).unwrap();
    let (acme, other) = (control.tenant("acme").await, control.tenant("acme-2").await);
    let ask = json!({"name": "warehouse", "readAudit": true});
    let made = control
        .post("/v1/kafka-credentials", &acme.key, ask.clone())
        .await
        .is(201);
    assert_eq!(made["topics"]["write"], json!(["events.direct.acme"]));
    assert_eq!(made["topics"]["read"], json!(["audit.attempts.acme"]));
    assert_eq!(made["state"], "active");
    control
        .post("/v1/kafka-credentials", &other.key, ask)
        .await
        .is(201);

    let vendor = producer(&made);
    write(&vendor, "events.direct.acme").await.unwrap();
    let denied = RDKafkaErrorCode::TopicAuthorizationFailed;
    for topic in [
        "events.direct.acme-2",
        "audit.attempts.acme",
        "audit.attempts",
        "config",
        "events",
    ] {
        assert_eq!(write(&vendor, topic).await, Err(denied), "{topic}");
    }
    let ours = cluster.producer();
    let record = FutureRecord::to("audit.attempts.acme")
        .key("k")
        .payload("mine");
    ours.send(record, Duration::from_secs(10)).await.unwrap();
    let group = format!("{}warehouse", text(&made["groupPrefix"]));
    assert_eq!(
        read(&made, &group, "audit.attempts.acme").await.unwrap(),
        b"mine"
    );
    for topic in [
        "audit.attempts.acme-2",
        "audit.attempts",
        "config",
        "events.direct.acme",
    ] {
        assert_eq!(read(&made, &group, topic).await, Err(denied), "{topic}");
    }
    let foreign = read(&made, "psh-acme-2.warehouse", "audit.attempts.acme").await;
    assert_eq!(foreign, Err(RDKafkaErrorCode::GroupAuthorizationFailed));

    // Whoever keeps the tenant's own topic up is told.
    wait_for("the feed to be wanted", async || {
        directory.tenant("acme").filter(|tenant| tenant.audit_feed)
    })
    .await;

    // Another password, and nobody else's user.
    let path = format!("/v1/kafka-credentials/{}", text(&made["user"]));
    control
        .act(&format!("{path}/rotate"), &other.key)
        .await
        .is(404);
    control.delete(&path, &other.key).await.is(404);
    let rotated = control
        .act(&format!("{path}/rotate"), &acme.key)
        .await
        .is(200);
    assert_ne!(rotated["password"], made["password"]);
    let renewed = producer(&rotated);
    write(&renewed, "events.direct.acme").await.unwrap();
    let listed = control.get("/v1/kafka-credentials", &acme.key).await;
    assert!(!listed.text.contains(rotated["password"].as_str().unwrap()));

    // Revoked: refused within a second, on the connection that is open.
    control.delete(&path, &acme.key).await.is(204);
    let refused = async { while write(&renewed, "events.direct.acme").await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(1), refused)
        .await
        .expect("refused within a second");
    let listed = control
        .get("/v1/kafka-credentials", &acme.key)
        .await
        .is(200);
    assert_eq!(listed["items"][0]["state"], "revoked");
    control
        .act(&format!("{path}/rotate"), &acme.key)
        .await
        .is(404);
    wait_for("the feed to be wanted no longer", async || {
        directory.tenant("acme").filter(|tenant| !tenant.audit_feed)
    })
    .await;
    // A tenant that goes takes its users with it.
    control
        .delete("/v1/tenants/acme-2", ADMIN_KEY)
        .await
        .is(204);
}

#[tokio::test]
async fn without_a_listener_for_vendors_nobody_gets_a_user() {
    let control = crate::support::control().await;
    let acme = control.tenant("acme").await;
    let answer = control
        .post("/v1/kafka-credentials", &acme.key, json!({}))
        .await;
    assert_eq!(
        answer.is(409)["type"],
        "urn:pushrail:problem:no-kafka-access"
    );
    let nothing = json!({"writeDirect": false});
    let answer = control
        .post("/v1/kafka-credentials", &acme.key, nothing)
        .await;
    answer.is(422);
    assert_eq!(answer.fields(), ["readAudit"]);
    let listed = control
        .get("/v1/kafka-credentials", &acme.key)
        .await
        .is(200);
    assert_eq!(listed["items"], json!([]));
}
