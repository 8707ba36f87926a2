//! The suite that every adapter passes.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record, records, reject, retry, run,
    suspend,
};
use pushrail_kafka_destination::Kafka;
use pushrail_sink_core::Context;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bed::{Bed, bed};

struct Server {
    bed: &'static Bed,
    topic: String,
    small: String,
    compacted: String,
}

impl Server {
    async fn start() -> Server {
        let bed = bed().await;
        Server {
            bed,
            topic: bed.topic(3, &[]).await,
            small: bed.topic(1, &[("max.message.bytes", "20000")]).await,
            compacted: bed.topic(1, &[("cleanup.policy", "compact")]).await,
        }
    }

    fn changed(&self, at: SocketAddr, change: impl FnOnce(&mut Value)) -> Option<Given> {
        let mut given = self.destination(at);
        change(&mut given.config);
        Some(given)
    }
}

fn trouble(name: &'static str, given: Option<Given>, expected: Expected) -> Trouble {
    Trouble {
        name,
        given,
        records: records(1),
        fault: Fault::None,
        expected: vec![expected],
    }
}

fn large(bytes: usize) -> String {
    format!(r#"{{"x": "{}"}}"#, "y".repeat(bytes))
}

impl Subject for Server {
    type Adapter = Kafka;

    fn against(&self) -> String {
        "Apache Kafka 4.3.0, read with librdkafka's consumer".to_owned()
    }

    fn adapter(&self, context: Context) -> Kafka {
        Kafka::new(&context)
    }

    fn server(&self) -> SocketAddr {
        self.bed.proxied
    }

    fn proxy_port(&self) -> u16 {
        self.bed.proxy_port
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: json!({"bootstrapServers": at.to_string(), "topic": self.topic, "tls": "off"}),
            secrets: json!({}),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/declaration.json").into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        let mut ids = Vec::new();
        for topic in [&self.topic, &self.small, &self.compacted] {
            ids.extend(
                self.bed
                    .read(topic)
                    .await
                    .iter()
                    .map(super::bed::Arrived::id),
            );
        }
        ids
    }

    fn recognises_repeats(&self) -> Case<()> {
        Err(
            "a topic keeps whatever is written; consumers tell repeats by the header `idempotency_key`, or `event_id`",
        )
    }

    fn partial_failures(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let mut all = records(9);
        all.insert(4, record(&large(30_000)));
        let mut expected = vec![delivered(); 10];
        expected[4] = reject("too_large");
        let compacted = self.changed(at, |config| {
            config["topic"] = json!(self.compacted);
            config["key"] = json!({"type": "none"});
        });
        Ok(vec![
            Trouble {
                name: "a record of 10 that is larger than the topic takes",
                given: self.changed(at, |config| config["topic"] = json!(self.small)),
                records: all,
                fault: Fault::None,
                expected,
            },
            Trouble {
                name: "records without a key for a compacted topic",
                given: compacted,
                records: records(3),
                fault: Fault::None,
                expected: vec![reject("record_refused"); 3],
            },
        ])
    }

    fn throttled(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        Err("a broker delays its answers to whoever is over its quota, and refuses nothing")
    }

    fn rejected_credentials(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let refused = |mechanism: &str| {
            let mut given = self.bed.as_user(mechanism, "scram", &self.topic);
            given.secrets["password"] = json!("an0ther-password");
            Some(given)
        };
        let unknown = Some(self.bed.as_user("scram_sha_512", "nobody", &self.topic));
        let rejected = || suspend("authentication_rejected");
        let denied = Some(self.bed.as_user("plain", "poor", &self.topic));
        Ok(vec![
            trouble("wrong password (PLAIN)", refused("plain"), rejected()),
            trouble(
                "wrong password (SCRAM-SHA-256)",
                refused("scram_sha_256"),
                rejected(),
            ),
            trouble(
                "wrong password (SCRAM-SHA-512)",
                refused("scram_sha_512"),
                rejected(),
            ),
            trouble("unknown user", unknown, rejected()),
            trouble("no right to the topic", denied, suspend("topic_denied")),
        ])
    }

    fn oversized(&self, at: SocketAddr) -> Case<Trouble> {
        Ok(Trouble {
            name: "a record that is larger than the topic takes, alone",
            given: self.changed(at, |config| config["topic"] = json!(self.small)),
            records: vec![record(&large(30_000))],
            fault: Fault::None,
            expected: vec![reject("too_large")],
        })
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        // An answer of 1 GiB to the first request.
        let head = [&(1u32 << 30).to_be_bytes()[..], &1u32.to_be_bytes()].concat();
        Ok(Trouble {
            name: "an endless answer",
            given: None,
            records: records(1),
            fault: Fault::Answer {
                when: Bytes::new(),
                head: head.into(),
                then: Bytes::from(vec![b'x'; 16 * 1024]),
            },
            expected: vec![retry("invalid_response")],
        })
    }

    fn own(&self, at: SocketAddr) -> Vec<Trouble> {
        let missing = self.changed(at, |config| config["topic"] = json!("not-there"));
        let tls = self.changed(at, |config| {
            config["tls"] = json!("required");
        });
        let mut clear = self.bed.clear(&self.topic);
        clear.config["bootstrapServers"] = json!(format!("localhost:{}", self.bed.tls));
        vec![
            trouble("topic missing", missing, suspend("topic_missing")),
            trouble("TLS where there is none", tls, retry("tls_failed")),
            trouble(
                "no TLS where there is",
                Some(clear),
                retry("connection_closed"),
            ),
        ]
    }
}

#[tokio::test]
async fn a_kafka_destination_conforms() {
    run(Server::start().await).await;
}
