//! A real Kafka and a real registry.

use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_servers::kafka::Builder;
use pushrail_servers::{Kafka, Registry};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use tokio::sync::OnceCell;

use crate::folder::Folder;
use crate::wait::wait_for;

const KAFKA: &str = "PUSHRAIL_TEST_KAFKA";
const KAFKA_SASL: &str = "PUSHRAIL_TEST_KAFKA_SASL";
const REGISTRY: &str = "PUSHRAIL_TEST_REGISTRY";

/// Servers that tests talk to.
#[derive(Debug)]
pub struct Cluster {
    pub bootstrap: String,
    /// The listeners on which a client must name itself (SCRAM-SHA-512) and may do what an ACL grants. Empty where the
    /// cluster of the environment has none that we know.
    pub sasl_bootstrap: String,
    /// What a stock registry client takes.
    pub registry_url: String,
    /// Only of a cluster that we started.
    servers: Option<Servers>,
}

#[derive(Debug)]
struct Servers {
    kafka: Kafka,
    registry: Registry,
    _folder: Folder,
}

/// The cluster that all tests of a run share: the one that `PUSHRAIL_TEST_KAFKA`, `PUSHRAIL_TEST_KAFKA_SASL` and
/// `PUSHRAIL_TEST_REGISTRY` name, else one that this process starts and that ends with it. Use topics, groups and subjects that are yours alone.
pub async fn cluster() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED
        .get_or_init(
            async || match (std::env::var(KAFKA), std::env::var(REGISTRY)) {
                (Ok(bootstrap), Ok(registry_url)) => Cluster {
                    bootstrap,
                    sasl_bootstrap: std::env::var(KAFKA_SASL).unwrap_or_default(),
                    registry_url,
                    servers: None,
                },
                _ => Cluster::private().await,
            },
        )
        .await
}

impl Cluster {
    /// One of your own, to stop and kill, or to have the fixed topics for yourself. Costs 4 s and 600 MB.
    pub async fn private() -> Cluster {
        Cluster::private_with(|kafka| kafka).await
    }

    /// As [`Cluster::private`], of which the brokers differ from the usual.
    pub async fn private_with(shape: impl FnOnce(Builder) -> Builder) -> Cluster {
        let folder = Folder::new();
        let (kafka, registry) = tokio::join!(
            shape(Kafka::builder(folder.path().join("kafka"))).start(),
            Registry::builder(folder.path().join("registry")).start(),
        );
        let (kafka, registry) = (
            kafka.expect("Kafka starts"),
            registry.expect("the registry starts"),
        );
        Cluster {
            bootstrap: kafka.bootstrap(),
            sasl_bootstrap: kafka.sasl_bootstrap(),
            registry_url: registry.url(),
            servers: Some(Servers {
                kafka,
                registry,
                _folder: folder,
            }),
        }
    }

    /// The Kafka of a private cluster, to stop, kill and restart.
    pub fn kafka(&mut self) -> &mut Kafka {
        &mut self
            .servers
            .as_mut()
            .expect("only a private cluster's servers may be stopped")
            .kafka
    }

    /// The registry of a private cluster, to stop, kill and restart.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self
            .servers
            .as_mut()
            .expect("only a private cluster's servers may be stopped")
            .registry
    }

    pub fn connection(&self) -> Connection {
        Connection::new(&self.bootstrap)
    }

    /// A name that nobody else uses; `hint` says in logs what it is for.
    pub fn unique(&self, hint: &str) -> String {
        format!("{hint}-{}", uuid::Uuid::new_v4().simple())
    }

    /// Creates a topic with a name of its own, and returns the name when every partition has a leader.
    pub async fn topic(&self, hint: &str, partitions: i32) -> String {
        let name = self.unique(hint);
        self.create(&name, partitions, &[]).await;
        name
    }

    /// Creates `topic` with `config`; returns when every partition has a leader.
    pub async fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let client = self.connection().admin("pushrail-test");
        let admin =
            AdminClient::<DefaultClientContext>::from_config(&client).expect("an admin client");
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            new = new.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let results = admin
            .create_topics(&[new], &options)
            .await
            .expect("Kafka answers");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("cannot create {topic}: {code}"));
        }
        wait_for("the topic's leaders", async || {
            let metadata = admin
                .inner()
                .fetch_metadata(Some(topic), Duration::from_secs(10))
                .ok()?;
            let ready = metadata
                .topics()
                .first()?
                .partitions()
                .iter()
                .filter(|p| p.leader() >= 0)
                .count();
            (ready == partitions as usize).then_some(())
        })
        .await;
    }
}
