//! What destinations cost that are being delivered to: threads and resident memory, in clear and with TLS.
//!
//! `cargo run --release -p pushrail-kafka-destination --example active_cost`

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pushrail_conformance::records;
use pushrail_kafka_destination::{Client, Kafka};
use pushrail_sink_core::{Adapter as _, Client as _, Context};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

const COUNT: usize = 50;

/// Threads of this process, and its resident memory in KiB.
fn now() -> (i64, i64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    (of("Threads:"), of("VmRSS:"))
}

fn say(what: &str, (threads, kib): (i64, i64)) {
    let (threads_now, kib_now) = now();
    let each = |more: i64| more as f64 / COUNT as f64;
    println!(
        "{what}: {:.1} threads and {:.0} KiB each",
        each(threads_now - threads),
        each(kib_now - kib)
    );
}

async fn client(at: &str, tls: &str) -> Arc<Client> {
    let adapter = Kafka::new(&Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    });
    let of = |value: Value| serde_json::from_value(value).expect("a configuration");
    let config = of(json!({"bootstrapServers": at, "topic": "events", "tls": tls}));
    let secrets = serde_json::from_value(json!({})).expect("no secrets");
    Arc::new(adapter.connect(config, secrets).await.expect("it holds"))
}

async fn clients(at: &str, tls: &str) -> Vec<Arc<Client>> {
    let before = now();
    let mut all = Vec::new();
    for _ in 0..COUNT {
        all.push(client(at, tls).await);
    }
    say(&format!("{COUNT} idle destinations, TLS {tls}"), before);
    all
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = pushrail_servers::Kafka::builder(folder.path()).start();
    let broker = broker.await.expect("Kafka starts");
    make_topic(&broker.bootstrap()).await;

    let all = clients(&broker.bootstrap(), "off").await;
    let before = now();
    for client in &all {
        let batch = records(100);
        let reply = client.send(&batch, Instant::now() + Duration::from_secs(20));
        let outcome = Client::classify(reply.await, batch.len());
        assert!(
            outcome.verdicts.iter().all(|v| v.fault().is_none()),
            "{outcome:?}"
        );
    }
    say("that deliver to one broker in clear", before);
    drop(all);

    // With TLS it is the trusted authorities that count, and they are read before anything is said.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let at: SocketAddr = silent.local_addr().expect("its address");
    let all = clients(&at.to_string(), "required").await;
    let before = now();
    let mut calls = JoinSet::new();
    for client in all {
        calls.spawn(async move {
            let batch = records(100);
            client
                .send(&batch, Instant::now() + Duration::from_secs(30))
                .await
        });
    }
    let mut open = Vec::new();
    while open.len() < COUNT {
        open.push(silent.accept().await.expect("a connection"));
    }
    say("that have connected to one broker with TLS", before);
}

async fn make_topic(bootstrap: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<rdkafka::client::DefaultClientContext> =
        config.create().expect("a client");
    let topic = NewTopic::new("events", 3, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await;
    made.expect("Kafka answers");
}
