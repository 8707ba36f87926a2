//! Private Payload Mode through a real sink and a real Kafka: what the audit topic shows, and what is delivered.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use age::x25519::Identity;
use pushrail_directory::{Record as Config, Writer};
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_schemas::config::Destination;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::{Attempt, identity};
use pushrail_sink_core::Context;
use pushrail_sinks::{Limits, Settings};
use pushrail_testkit::{Cluster, Receiver, Record, Reply};
use pushrail_topology::topics;
use pushrail_vault::KeyRing;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TENANT: &str = "acme";
const CARD: &str = "4111-1111-1111";

fn destination(
    id: u128,
    url: &str,
    mode: &Value,
    ring: &KeyRing,
    context: &Context,
) -> Destination {
    let Value::Object(draft) = json!({
        "tenantId": TENANT, "customerExternalId": "c1", "kind": "webhook",
        "config": {"url": url}, "payloadMode": mode,
        "retry": {"maxAttempts": 3, "initialDelayMs": 1, "maxDelayMs": 1000},
    }) else {
        unreachable!()
    };
    let draft = pushrail_admin::Draft::parse(draft).unwrap();
    let adapter = pushrail_sinks::adapter("webhook", context).unwrap();
    let id = Uuid::from_u128(id);
    pushrail_admin::destination(draft, &*adapter, context, ring, id, |_| Vec::new())
        .unwrap()
        .destination
}

/// Writes a delivery as the router does, or as `retry` does after `attempt` attempts.
async fn deliver(cluster: &Cluster, to: u128, event: u128, attempt: u32, payload: &str) {
    let (event_id, destination_id) = (Uuid::from_u128(event), Uuid::from_u128(to));
    let now_us = pushrail_clock::now_us();
    let mut value = Vec::new();
    Parts {
        event_id,
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
    .encode(3, &mut value);
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination_id),
        event_id,
        tenant_id: TENANT.into(),
        customer_id: identity::customer_id(TENANT, "c1"),
        destination_id,
        attempt,
        deferrals: 0,
        first_attempt_at_ms: (attempt > 0).then_some(now_us / 1_000),
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    let mut headers = Some(OwnedHeaders::new());
    delivery.write(Some("webhook"), &mut String::new(), |key, value| {
        let value = Some(value);
        headers = headers.take().map(|h| h.insert(Header { key, value }));
    });
    let key = destination_id.to_string();
    let headers = headers.unwrap();
    cluster
        .produce("deliver.webhook", &key, &value, headers)
        .await;
}

fn opened(identity: &Identity, sealed: &[u8]) -> String {
    let armored = age::armor::ArmoredReader::new(sealed);
    let decryptor = age::Decryptor::new_buffered(armored).unwrap();
    let key = std::iter::once(identity as &dyn age::Identity);
    let mut opened = String::new();
    let mut reader = decryptor.decrypt(key).unwrap();
    reader.read_to_string(&mut opened).unwrap();
    opened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_of_a_private_destination_shows_nothing_of_what_it_delivers() {
    let cluster = Cluster::private().await;
    let compacted = [("cleanup.policy", "compact")];
    cluster.create(topics::CONFIG, 1, &compacted).await;
    for topic in ["deliver.webhook", "dlq.webhook", topics::AUDIT_ATTEMPTS] {
        cluster.create(topic, 1, &[]).await;
    }
    for tier in pushrail_topology::TIERS {
        cluster.create(tier.topic, 1, &[]).await;
    }
    let context = Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    };
    let (ring, receiver) = (
        Arc::new(KeyRing::generate().unwrap()),
        Receiver::start().await,
    );
    let identity = Identity::generate();
    let modes = [
        json!("full"),
        json!("off"),
        json!({"mode": "redact", "paths": ["payload.cards.number"]}),
        json!({"mode": "seal", "publicKey": identity.to_public().to_string()}),
    ];
    let writer = Writer::connect(&cluster.connection()).unwrap();
    for (id, mode) in (0..).zip(&modes) {
        // It refuses the first and repeats what it was sent, in its body and in a header.
        let reply = Reply::status(503).body(format!("no: {CARD}"));
        let reply = reply.header("x-echo", CARD);
        receiver.on(&format!("/{id}"), [reply, Reply::ok().body(CARD)]);
        let url = receiver.url(&format!("/{id}"));
        let destination = destination(id, &url, mode, &ring, &context);
        let config = Config::Destination(&destination);
        writer.put(config).await.unwrap();
    }
    let settings = Settings {
        connection: cluster.connection(),
        kind: "webhook".into(),
        workers: 1,
        context,
        event_schema_id: 3,
        attempt_schema_id: 7,
        metadata_len_max: 4096,
        drain_timeout: Duration::from_secs(5),
        limits: Limits::default(),
    };
    let shutdown = CancellationToken::new();
    let (metrics, health) = (pushrail_obs::Metrics::new(), pushrail_obs::Health::new());
    let sink = tokio::spawn({
        let (ring, shutdown) = (Arc::clone(&ring), shutdown.clone());
        async move {
            pushrail_sinks::run(settings, ring, &metrics, &health, shutdown)
                .await
                .unwrap();
        }
    });

    let payload = json!({"cards": [{"number": CARD, "brand": "v"}], "total": 5}).to_string();
    for to in 0..4 {
        deliver(&cluster, to, 0xe1, 0, &payload).await;
    }
    cluster.read(topics::AUDIT_ATTEMPTS, 4).await;
    // The second attempt, as `retry` hands it back.
    for to in 0..4 {
        deliver(&cluster, to, 0xe1, 1, &payload).await;
    }
    let records: Vec<Record> = cluster.read(topics::AUDIT_ATTEMPTS, 8).await;
    shutdown.cancel();
    sink.await.unwrap();

    let mut seen = HashMap::new();
    for record in &records {
        let value = record.value.as_deref().unwrap();
        let attempt = Attempt::parse(value).unwrap();
        let to = attempt.destination_id.unwrap().as_u128();
        let shows = value
            .windows(CARD.len())
            .any(|bytes| bytes == CARD.as_bytes());
        assert_eq!(shows, to == 0, "{attempt:?}");
        let text = attempt
            .payload
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let (status, form) = (attempt.status_code, attempt.payload_form.to_owned());
        assert_eq!(attempt.response_excerpt.is_some(), to == 0);
        assert_eq!(attempt.response_headers.is_some(), to == 0);
        seen.insert((to, attempt.attempt), (status, form, text));
    }
    let redacted = r#"{"cards":[{"number":"[redacted]","brand":"v"}],"total":5}"#;
    for (number, status) in [(1, Some(503)), (2, Some(200))] {
        let of = |to| seen[&(to, number)].clone();
        let full = (status, "json".to_owned(), Some(payload.clone()));
        assert_eq!(of(0), full);
        assert_eq!(of(1), (status, "omitted".to_owned(), None));
        let expected = (status, "redacted".to_owned(), Some(redacted.to_owned()));
        assert_eq!(of(2), expected);
    }
    let (_, form, sealed) = &seen[&(3, 1)];
    assert_eq!(form, "sealed");
    let sealed = sealed.as_deref().unwrap();
    assert_eq!(opened(&identity, sealed.as_bytes()), payload);
    assert_eq!(
        seen[&(3, 2)],
        (Some(200), "omitted".to_owned(), None),
        "sealed once"
    );
    // All four got the same, twice.
    for to in 0..4 {
        let requests = receiver.requests_to(&format!("/{to}"));
        assert_eq!(requests.len(), 2);
        for request in requests {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["payload"].to_string(), payload);
        }
    }
}
