//! The audit feed: keeps `audit.attempts.<tenant>` up for the tenants that have one.
//!
//! A vendor may read its own audit records and nobody else's, and Kafka gives rights by topic. So each record of
//! `audit.attempts` whose tenant has `audit_feed` set is written once more, with key, value, headers and time as they are,
//! to the topic of that tenant; all others are passed over. What a tenant's flag says when its record is read decides: a
//! flag that is set later brings the records from then on, and no history.
//!
//! It owns no topic and no right: topics are made by `pushrail topology` and the control plane, users by
//! `pushrail-kafka-access`. It looks into a record as far as its tenant and no further.
//!
//! A tenant's topic may be missing, or refuse records. That is the tenant's loss alone: its copies are dropped and counted,
//! nobody else waits, and when the topic is there its records flow again (`topics` knows which are there, `handler` what
//! to do when Kafka refuses one all the same). `audit.attempts` has every record for as long as it is kept.

mod handler;
mod metrics;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use pushrail_directory::Directory;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::relay::{self, Counters};
use pushrail_kafka::{Connection, worker};
use pushrail_obs::{Health, Metrics};
use pushrail_topology::topics::AUDIT_ATTEMPTS;
use tokio_util::sync::CancellationToken;

use handler::{Feeder, Shared};
use topics::Topics;

/// How the feed works.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    /// Threads, each a member of the group with its share of the partitions.
    pub workers: usize,
    /// Consumer group. All feeds of an installation share one.
    pub group: String,
    pub client_id: String,
    pub commit_interval: Duration,
    /// Longest commit metadata, in bytes; no more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    /// How long a revoked partition, or a shutdown, may wait for acknowledgements.
    pub drain_timeout: Duration,
    /// How often topics that are missing are looked for again.
    pub look_every: Duration,
}

impl Settings {
    pub fn new(connection: Connection) -> Self {
        let relay = relay::Settings::new("", "", Vec::new());
        Settings {
            connection,
            workers: 1,
            group: "pushrail-feed".to_owned(),
            client_id: "pushrail-feed".to_owned(),
            commit_interval: relay.commit_interval,
            metadata_len_max: relay.metadata_len_max,
            drain_timeout: relay.drain_timeout,
            look_every: Duration::from_secs(5),
        }
    }

    fn relay(&self) -> relay::Settings {
        relay::Settings {
            commit_interval: self.commit_interval,
            metadata_len_max: self.metadata_len_max,
            drain_timeout: self.drain_timeout,
            linger: Some(LINGER),
            ..relay::Settings::new(
                &self.group,
                &self.client_id,
                vec![AUDIT_ATTEMPTS.to_owned()],
            )
        }
    }

    /// The operator's, and where those say nothing: a topic that was deleted or made again is noticed within seconds.
    /// librdkafka alone would keep copies for a topic that is gone half a minute, among those of everybody else.
    fn connection(&self) -> Connection {
        let mut connection = self.connection.clone();
        for name in [
            "topic.metadata.propagation.max.ms",
            "topic.metadata.refresh.interval.ms",
        ] {
            let set = connection.properties.entry(name.to_owned());
            set.or_insert_with(|| "5000".to_owned());
        }
        connection
    }
}

/// Copies records until `shutdown`, then drains and leaves the group. No record is looked at before `directory`, which must
/// keep tenants, is ready: one that was, would be passed over for good.
///
/// Readiness has two conditions: `directory`, and `feed`, which is met when Kafka has first given this process partitions.
pub async fn run(
    settings: Settings,
    directory: Directory,
    metrics: &Metrics,
    health: &Health,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    let counters = Counters::new();
    let connection = settings.connection();
    let topics = Topics::default();
    let admin = connection.admin(&settings.client_id).create()?;
    let shared = Shared {
        directory: directory.clone(),
        topics: topics.clone(),
        dropped: metrics::register(metrics, &counters),
        known: health.condition("directory"),
        joined: health.condition("feed"),
    };
    let looking = topics::look(topics, Arc::new(admin), directory, settings.look_every);
    let looking = tokio::spawn(looking);
    let (workers, health) = (settings.workers.max(1), health.clone());
    worker::run("feed", workers, shutdown, move |index, shutdown| {
        let heartbeat = health.heartbeat(format!("feed-{index}"), STUCK_AFTER);
        let (feeder, counters) = (
            Feeder::new(shared.clone(), heartbeat),
            Arc::clone(&counters),
        );
        let (relay, connection) = (settings.relay(), connection.clone());
        async move { relay::run(feeder, &relay, &connection, counters, shutdown).await }
    })
    .await;
    looking.abort();
    Ok(())
}

/// Nobody waits for an audit record; a batch of them costs the broker as much as one.
const LINGER: Duration = Duration::from_millis(20);

/// A worker that has not come round for so long is stuck: nothing it does takes more than seconds.
const STUCK_AFTER: Duration = Duration::from_secs(60);
