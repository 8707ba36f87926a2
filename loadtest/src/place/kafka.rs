//! Topics of another cluster than the one that Pushrail runs on, a topic a destination.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Found, Place, Posted, Stock};
use crate::{kafka, sample};

pub(super) const SERVER: &str = "Apache Kafka 4.3, read with librdkafka's consumer";
const PARTITIONS: i32 = 3;

pub struct Kafka {
    server: pushrail_servers::Kafka,
    destinations: u32,
}

fn topic(number: u32) -> String {
    format!("events-{number}")
}

/// Makes topics.
pub(super) async fn create(bootstrap: &str, topics: &[String]) -> anyhow::Result<()> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let new = topics
        .iter()
        .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let new: Vec<_> = new.collect();
    for made in admin.create_topics(&new, &options).await? {
        made.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// The events of all records of these topics.
pub(super) async fn found_in(bootstrap: String, topics: Vec<String>) -> anyhow::Result<Found> {
    let read = move || {
        let (mut found, mut nameless) = (Found::default(), 0);
        for topic in &topics {
            kafka::read_all(&bootstrap, topic, |message| {
                let id = message.headers().and_then(|headers| {
                    let mut all = headers.iter();
                    let value = all.find(|header| header.key == "event_id")?.value?;
                    Uuid::try_parse_ascii(value).ok()
                });
                match id {
                    Some(id) => found.ids.push(id),
                    None => nameless += 1,
                }
            })?;
        }
        anyhow::ensure!(nameless == 0, "{nameless} records have no event_id");
        Ok(found)
    };
    tokio::task::spawn_blocking(read).await?
}

impl Place for Kafka {
    const KIND: &'static str = "kafka";
    const NAME: &'static str = "Kafka";
    const SERVER: &'static str = SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let folder = folder.join(format!("kafka-{}", Uuid::new_v4().simple()));
        let server = pushrail_servers::Kafka::builder(folder).heap_mib(768);
        let server = server.start().await?;
        let topics: Vec<String> = (0..destinations).map(topic).collect();
        create(&server.bootstrap(), &topics).await?;
        Ok(Kafka {
            server,
            destinations,
        })
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "bootstrapServers": self.server.bootstrap(), "topic": topic(number), "tls": "off",
        });
        (config, json!({}))
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        config["bootstrapServers"] = json!(to.to_string());
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let topics = (0..self.destinations).map(topic).collect();
        found_in(self.server.bootstrap(), topics).await
    }

    type Stock = Producer;

    async fn stock(&self, number: u32) -> anyhow::Result<Producer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.server.bootstrap())
            .set("acks", "all")
            .set("enable.idempotence", "true");
        Ok(Producer {
            producer: config.create()?,
            topic: topic(number),
        })
    }
}

/// rdkafka's `FutureProducer`, idempotent: a batch is sent, and every acknowledgement waited for.
pub struct Producer {
    producer: FutureProducer,
    topic: String,
}

impl Stock for Producer {
    async fn send(&mut self, batch: &[Posted]) -> anyhow::Result<()> {
        let sent = batch.iter().map(|event| {
            let id = event.id.to_string();
            let headers = [
                ("event_id", id.as_str()),
                ("event_type", sample::EVENT_TYPE),
                ("customer_external_id", &event.customer),
            ];
            let start = OwnedHeaders::new_with_capacity(headers.len());
            let headers = headers.into_iter().fold(start, |all, (key, value)| {
                let value = Some(value);
                all.insert(Header { key, value })
            });
            let record = FutureRecord::to(&self.topic)
                .key(&event.customer)
                .payload(&event.json)
                .headers(headers);
            self.producer.send(record, Timeout::Never)
        });
        for result in futures::future::join_all(sent).await {
            result
                .map_err(|(error, _)| error)
                .context("Kafka refused a record")?;
        }
        Ok(())
    }
}
