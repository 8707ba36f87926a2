//! What a live cluster has: topics, partitions, replication and settings, as the plan needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use crate::{Error, Topic};

/// Longest a call to the cluster may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection for administration.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) admin: Arc<AdminClient<DefaultClientContext>>,
}

/// The topics of a cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub brokers: usize,
    pub topics: BTreeMap<String, LiveTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTopic {
    pub partitions: u32,
    /// The smallest number of copies that any partition has.
    pub replication_factor: u32,
    /// Values in force, of wanted topics only.
    pub config: BTreeMap<String, String>,
}

impl Cluster {
    /// Uses `config`'s address and security. Connects on first use.
    pub fn connect(config: &ClientConfig) -> Result<Self, Error> {
        let admin = config.create().map_err(failed("connecting"))?;
        Ok(Cluster {
            admin: Arc::new(admin),
        })
    }

    /// Reads all topics, and the settings of those in `wanted`.
    pub(crate) async fn read(&self, wanted: &[Topic]) -> Result<Live, Error> {
        let metadata = self.metadata().await?;
        let mut live = Live {
            brokers: metadata.brokers().len(),
            topics: BTreeMap::new(),
        };
        for topic in metadata.topics() {
            let copies = topic
                .partitions()
                .iter()
                .map(|partition| partition.replicas().len());
            let found = LiveTopic {
                partitions: topic.partitions().len() as u32,
                replication_factor: copies.min().unwrap_or(0) as u32,
                config: BTreeMap::new(),
            };
            live.topics.insert(topic.name().to_owned(), found);
        }
        let names: Vec<&str> = wanted
            .iter()
            .map(|topic| topic.name.as_str())
            .filter(|name| live.topics.contains_key(*name))
            .collect();
        for (name, config) in self.configs(&names).await? {
            if let Some(topic) = live.topics.get_mut(&name) {
                topic.config = config;
            }
        }
        Ok(live)
    }

    async fn configs(
        &self,
        names: &[&str],
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let resources: Vec<_> = names
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let described = self.admin.describe_configs(&resources, &options).await;
        let described = described.map_err(failed("reading topic settings"))?;
        let mut configs = Vec::with_capacity(names.len());
        for (name, resource) in names.iter().zip(described) {
            let resource = resource.map_err(|code| Error::Refused {
                doing: "read the settings of",
                topic: (*name).to_owned(),
                code,
            })?;
            // The answers are in the order of the questions, but the answer itself knows best.
            let name = match &resource.specifier {
                rdkafka::admin::OwnedResourceSpecifier::Topic(name) => name.clone(),
                _ => (*name).to_owned(),
            };
            let entries = resource.entries.into_iter();
            configs.push((
                name,
                entries
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect(),
            ));
        }
        Ok(configs)
    }

    /// Names of `topics` that have fewer partitions than asked for, or partitions without a leader.
    pub(crate) async fn unready(
        &self,
        topics: &BTreeMap<String, u32>,
    ) -> Result<BTreeSet<String>, Error> {
        let metadata = self.metadata().await?;
        let mut unready: BTreeSet<String> = topics.keys().cloned().collect();
        for topic in metadata.topics() {
            let led = topic
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count();
            if topics
                .get(topic.name())
                .is_some_and(|wanted| led >= *wanted as usize)
            {
                unready.remove(topic.name());
            }
        }
        Ok(unready)
    }

    async fn metadata(&self) -> Result<Metadata, Error> {
        let admin = self.admin.clone();
        // librdkafka's call blocks.
        let fetched =
            tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, TIMEOUT));
        fetched
            .await
            .expect("reading metadata does not panic")
            .map_err(failed("reading metadata"))
    }
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(KafkaError) -> Error {
    move |source| Error::Kafka { doing, source }
}
