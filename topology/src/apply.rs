//! Carries out a plan: creates topics, adds partitions, registers schemas. Each step may be repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use pushrail_schemas::registry::{self, Registry};
use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;

use crate::cluster::{TIMEOUT, failed};
use crate::plan::{Create, Grow};
use crate::{Cluster, Error, Plan, SubjectChange, Topic};

/// How long new partitions may take to get a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What [`Plan::apply`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub created: usize,
    pub grown: usize,
    pub subjects: usize,
}

impl Plan {
    /// Creates, grows and registers as planned, and returns when every new partition has a leader, so that whoever
    /// produces next finds it. Another `apply` at the same time is no error: what exists already counts as done.
    pub async fn apply(
        &self,
        cluster: &Cluster,
        registry: Option<&Registry>,
    ) -> Result<Applied, Error> {
        cluster.create(&self.create).await?;
        cluster.grow(&self.grow).await?;
        let created = self
            .create
            .iter()
            .map(|create| (create.topic.clone(), create.partitions));
        let grown = self.grow.iter().map(|grow| (grow.topic.clone(), grow.to));
        cluster
            .await_leaders(created.chain(grown).collect())
            .await?;
        let mut applied = Applied {
            created: self.create.len(),
            grown: self.grow.len(),
            subjects: 0,
        };
        if let Some(registry) = registry {
            for change in &self.subjects {
                let (SubjectChange::Register { subject, schema }
                | SubjectChange::Compatibility {
                    subject, schema, ..
                }) = change;
                registry.register(subject, schema).await?;
                applied.subjects += 1;
            }
        }
        Ok(applied)
    }
}

/// Which schemas of `wanted` the registry lacks.
pub(crate) async fn compare_subjects(
    wanted: &[Topic],
    registry: &Registry,
) -> Result<Vec<SubjectChange>, Error> {
    let mut changes = Vec::new();
    for topic in wanted {
        let Some(schema) = topic.schema else { continue };
        let subject = registry::subject(&topic.name);
        if registry.lookup(&subject, schema).await?.is_none() {
            changes.push(SubjectChange::Register { subject, schema });
            continue;
        }
        let level = registry.compatibility(&subject).await?;
        if level.as_deref() != Some(registry::COMPATIBILITY) {
            changes.push(SubjectChange::Compatibility {
                subject,
                from: level,
                schema,
            });
        }
    }
    Ok(changes)
}

impl Cluster {
    async fn create(&self, creates: &[Create]) -> Result<(), Error> {
        if creates.is_empty() {
            return Ok(());
        }
        let topics: Vec<NewTopic<'_>> = creates
            .iter()
            .map(|create| {
                let replication = TopicReplication::Fixed(create.replication_factor as i32);
                let mut topic = NewTopic::new(&create.topic, create.partitions as i32, replication);
                for (key, value) in &create.config {
                    topic = topic.set(key, value);
                }
                topic
            })
            .collect();
        let results = self
            .admin
            .create_topics(&topics, &options())
            .await
            .map_err(failed("creating topics"))?;
        accept("create", results, &[RDKafkaErrorCode::TopicAlreadyExists])
    }

    async fn grow(&self, grows: &[Grow]) -> Result<(), Error> {
        if grows.is_empty() {
            return Ok(());
        }
        let partitions: Vec<_> = grows
            .iter()
            .map(|grow| NewPartitions::new(&grow.topic, grow.to as usize))
            .collect();
        let results = self
            .admin
            .create_partitions(&partitions, &options())
            .await
            .map_err(failed("adding partitions"))?;
        // InvalidPartitions: somebody else has grown it meanwhile.
        accept("grow", results, &[RDKafkaErrorCode::InvalidPartitions])
    }

    async fn await_leaders(&self, topics: BTreeMap<String, u32>) -> Result<(), Error> {
        if topics.is_empty() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + LEADERS_WITHIN;
        loop {
            let unready = self.unready(&topics).await?;
            if unready.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                let names: Vec<_> = unready.into_iter().collect();
                return Err(Error::NoLeader(LEADERS_WITHIN.as_secs(), names.join(", ")));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

fn accept(
    doing: &'static str,
    results: Vec<rdkafka::admin::TopicResult>,
    fine: &[RDKafkaErrorCode],
) -> Result<(), Error> {
    for result in results {
        if let Err((topic, code)) = result
            && !fine.contains(&code)
        {
            return Err(Error::Refused { doing, topic, code });
        }
    }
    Ok(())
}
