//! The retry mover: puts a record back on its way when its tier's delay has passed.
//!
//! A sink that must wait writes the record to a `retry.<tier>` with the time before which it must not be attempted. All
//! records of a tier wait the same time, so a partition's order is its due order and nothing waits behind what is due
//! later; the mover only ever looks at the head of each partition. What is due goes to `deliver.<kind>`, or to the next
//! tier when its own time is further away than one tier reaches ([`hop`]).
//!
//! It owns no policy: when, whether and how often to retry is the sink's business. Records pass with key, value and
//! headers as they came. A record that it can't place is a dead letter with the reason in its headers, and stops nobody.

pub mod hop;
mod metrics;
mod mover;
mod place;

use std::sync::Arc;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_kafka::relay::{self, Counters};
use pushrail_kafka::{Connection, worker};
use pushrail_obs::{Health, Metrics};
use pushrail_topology::TIERS;
use tokio_util::sync::CancellationToken;

use mover::Mover;

/// How the mover works.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    /// Threads, each a member of the group with its share of the partitions.
    pub workers: usize,
    /// Consumer group. All movers of an installation share one.
    pub group: String,
    pub client_id: String,
    pub commit_interval: Duration,
    /// Longest commit metadata, in bytes; no more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    /// How long a revoked partition, or a shutdown, may wait for acknowledgements.
    pub drain_timeout: Duration,
    /// Compared with the records' times.
    pub clock: Clock,
}

impl Settings {
    pub fn new(connection: Connection) -> Self {
        let relay = relay::Settings::new("", "", Vec::new());
        Settings {
            connection,
            workers: 1,
            group: "pushrail-retry".to_owned(),
            client_id: "pushrail-retry".to_owned(),
            commit_interval: relay.commit_interval,
            metadata_len_max: relay.metadata_len_max,
            drain_timeout: relay.drain_timeout,
            clock: Clock::process(),
        }
    }

    fn relay(&self) -> relay::Settings {
        let topics = TIERS.iter().map(|tier| tier.topic.to_owned()).collect();
        relay::Settings {
            commit_interval: self.commit_interval,
            metadata_len_max: self.metadata_len_max,
            drain_timeout: self.drain_timeout,
            linger: Some(LINGER),
            ..relay::Settings::new(&self.group, &self.client_id, topics)
        }
    }
}

/// Moves records until `shutdown`, then drains and leaves the group. Readiness is the condition `retry`: it is met when
/// Kafka has first given this process partitions.
pub async fn run(
    settings: Settings,
    metrics: &Metrics,
    health: &Health,
    shutdown: CancellationToken,
) {
    let counters = Counters::new();
    let shown = metrics::Moves::register(metrics, &counters);
    let ready = health.condition("retry");
    let health = health.clone();
    let workers = settings.workers.max(1);
    worker::run("retry", workers, shutdown, move |index, shutdown| {
        let (settings, counters) = (settings.clone(), Arc::clone(&counters));
        let mover = Mover::new(
            settings.clock.clone(),
            shown.clone(),
            ready.clone(),
            health.heartbeat(format!("retry-{index}"), STUCK_AFTER),
        );
        async move {
            let relay = settings.relay();
            relay::run(mover, &relay, &settings.connection, counters, shutdown).await
        }
    })
    .await;
}

/// What waited for seconds at least may wait this much longer, so that the next attempts of many dark destinations are a few
/// requests to the broker, and not one each.
const LINGER: Duration = Duration::from_millis(20);

/// A worker that has not come round for so long is stuck: nothing it does takes more than seconds.
const STUCK_AFTER: Duration = Duration::from_secs(60);
