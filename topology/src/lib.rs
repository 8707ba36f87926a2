//! The topics: declared once in `topics.toml`, named here for services, compared with a cluster and applied to it.
//!
//! [`topics`] and [`TIERS`] are what services use. [`plan`] prints the difference to a live cluster and [`Plan::apply`]
//! creates and grows. Neither ever shrinks, deletes or alters: what differs in another way is reported as drift, because
//! whoever made it so may have had a reason, and undoing it may lose records.

mod apply;
mod cluster;
mod declare;
mod plan;
pub mod topics;

pub use apply::Applied;
pub use cluster::{Cluster, Live, LiveTopic};
pub use declare::{Growth, Settings, Topic, WantedError, wanted};
pub use plan::{Drift, Plan, SubjectChange, compare};
pub use topics::{TIERS, Tier};

use pushrail_schemas::registry::{Registry, RegistryError};

/// The tier for a record that must wait `delay_ms`; see [`Tier::for_delay`].
pub fn tier_for(delay_ms: u64) -> &'static Tier {
    Tier::for_delay(delay_ms)
}

/// Why a topology could not be compared or applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Wanted(#[from] WantedError),
    #[error("Kafka: {doing}: {source}")]
    Kafka {
        doing: &'static str,
        source: rdkafka::error::KafkaError,
    },
    #[error("Kafka refused to {doing} topic {topic}: {code}")]
    Refused {
        doing: &'static str,
        topic: String,
        code: rdkafka::types::RDKafkaErrorCode,
    },
    #[error(
        "replication factor {wanted} needs {wanted} brokers, and the cluster has {brokers}; lower the replication factor or add brokers"
    )]
    Brokers { wanted: u32, brokers: usize },
    #[error("topics were created, but these have partitions without a leader after {0} s: {1}")]
    NoLeader(u64, String),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Compares the topics that `kinds` and `tenants` need with a cluster and, where one is given, its registry.
/// Changes nothing.
pub async fn plan(
    cluster: &Cluster,
    registry: Option<&Registry>,
    settings: &Settings,
    kinds: &[&str],
    tenants: &[&str],
) -> Result<Plan, Error> {
    let wanted = wanted(settings, kinds, tenants)?;
    let live = cluster.read(&wanted).await?;
    if live.brokers < settings.replication_factor as usize {
        return Err(Error::Brokers {
            wanted: settings.replication_factor,
            brokers: live.brokers,
        });
    }
    let mut plan = compare(&wanted, &live);
    if let Some(registry) = registry {
        plan.subjects = apply::compare_subjects(&wanted, registry).await?;
    }
    Ok(plan)
}
