//! The router: reads accepted events, finds the destinations that want each, and writes a delivery for every one of them.
//!
//! It owns routes, filters, transforms and the deduplication window. It knows nothing of how a destination is reached, and
//! never decides that an event is lost: what is not delivered is recorded on `audit.attempts` with its reason
//! (`no_match`, `filtered`, `disabled`, `duplicate`), what cannot be read goes to `dlq.events` with its bytes.
//!
//! - [`index`] finds who wants an event.
//! - `filter` and `transform` look into payload and metadata where a destination asks for it, and nowhere else.
//! - [`dedup`] recognises repeats.
//! - `fanout` puts these together, without I/O: what it decides is tested without Kafka.
//! - `worker` is what Kafka sees: one thread, one consumer, one producer; `write` turns decisions into records.
//! - `routes` keeps the index equal to the directory, which is one for all workers.
//! - `single` is the same for one destination by itself, for whoever replays events to it.

mod accepted;
#[doc(hidden)]
pub mod bench;
pub mod dedup;
mod document;
mod fanout;
mod filter;
pub mod index;
mod json;
mod metrics;
mod number;
mod path;
mod route;
mod routes;
mod single;
#[cfg(test)]
mod testing;
mod transform;
mod worker;
mod write;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_directory::Directory;
use pushrail_kafka::relay::{self, Counters};
use pushrail_kafka::{Connection, worker as threads};
use pushrail_obs::{Health, Metrics};
use pushrail_payload_keys::PayloadKeys;
use pushrail_topology::topics;
use pushrail_vault::KeyRing;
use tokio_util::sync::CancellationToken;

use dedup::restore::Limits;
use index::Index;
use worker::{Shared, Worker};

pub use accepted::{Accepted, Unreadable};
pub use route::check;
pub use single::{Single, Skipped};

/// A worker that has not come round for so long is stuck: nothing it does takes more than seconds.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How the router works.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    /// Threads, each a member of the group with its share of the partitions.
    pub workers: usize,
    /// Consumer group. All routers of an installation share one.
    pub group: String,
    pub client_id: String,
    /// Id of the schema that audit records are written with.
    pub attempt_schema_id: u32,
    /// Destination types that have sinks and topics. Events for others are recorded as skipped; none accepts all.
    pub kinds: Vec<String>,
    /// How long a repeat of an event with an idempotency key is dropped. At most what the topic `dedup` retains.
    pub dedup_window: Duration,
    /// Event ids that the window of one partition remembers, some 40 bytes each.
    pub dedup_entries_max: usize,
    pub commit_interval: Duration,
    /// Longest commit metadata, in bytes; no more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    /// How long a revoked partition, or a shutdown, may wait for acknowledgements.
    pub drain_timeout: Duration,
    pub clock: Clock,
    /// Opens what sealed payloads are opened with; without it what a filter or transform would have to see is skipped.
    pub ring: Option<Arc<KeyRing>>,
}

impl Settings {
    /// The deduplication window unless told otherwise.
    pub const DEDUP_WINDOW: Duration = Duration::from_secs(24 * 3_600);
    /// 200 MB a partition at most; a partition that takes 50 keyed events a second needs 4.3 million.
    pub const DEDUP_ENTRIES_MAX: usize = 5_000_000;

    pub fn new(connection: Connection, attempt_schema_id: u32) -> Self {
        let relay = relay::Settings::new("", "", Vec::new());
        Settings {
            connection,
            workers: 1,
            group: "pushrail-router".to_owned(),
            client_id: "pushrail-router".to_owned(),
            attempt_schema_id,
            kinds: Vec::new(),
            dedup_window: Self::DEDUP_WINDOW,
            dedup_entries_max: Self::DEDUP_ENTRIES_MAX,
            commit_interval: relay.commit_interval,
            metadata_len_max: relay.metadata_len_max,
            drain_timeout: relay.drain_timeout,
            clock: Clock::process(),
            ring: None,
        }
    }

    fn relay(&self) -> relay::Settings {
        let topics = vec![topics::EVENTS.to_owned()];
        relay::Settings {
            commit_interval: self.commit_interval,
            metadata_len_max: self.metadata_len_max,
            drain_timeout: self.drain_timeout,
            ..relay::Settings::new(&self.group, &self.client_id, topics)
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            window_ms: i64::try_from(self.dedup_window.as_millis()).unwrap_or(i64::MAX / 4),
            entries_max: self.dedup_entries_max,
        }
    }
}

/// Routes events until `shutdown`, then drains and leaves the group. No event is read before `directory` is ready: one that
/// was routed without its destinations would be lost to them.
///
/// Readiness has two conditions: `directory`, and `router`, which is met when Kafka has first given this process partitions.
pub async fn run(
    settings: Settings,
    directory: Directory,
    metrics: &Metrics,
    health: &Health,
    shutdown: CancellationToken,
) {
    let counters = Counters::new();
    let shown = metrics::Metrics::register(metrics, &counters);
    let (known, joined) = (health.condition("directory"), health.condition("router"));
    let kinds = settings.kinds.iter().map(|kind| kind.as_str().into());
    let index = Arc::new(RwLock::new(Index::new(kinds)));
    // Subscribed before it is read: nothing falls between.
    let changes = directory.subscribe();
    tokio::select! {
        () = directory.ready() => {}
        () = shutdown.cancelled() => return,
    }
    routes::load(&index, &directory, &shown);
    known.met();
    let keys = PayloadKeys::new(directory.clone(), settings.ring.clone());
    let follower = routes::follow(Arc::clone(&index), directory, changes, shown.clone());
    let follower = tokio::spawn(follower);
    let shared = Shared {
        index,
        metrics: shown,
        clock: settings.clock.clone(),
        connection: settings.connection.clone(),
        client_id: settings.client_id.clone(),
        limits: settings.limits(),
        attempt_schema_id: settings.attempt_schema_id,
        keys,
        joined,
    };
    let (workers, health) = (settings.workers.max(1), health.clone());
    threads::run("router", workers, shutdown, move |number, shutdown| {
        let heartbeat = health.heartbeat(format!("router-{number}"), STUCK_AFTER);
        let (worker, counters) = (
            Worker::new(shared.clone(), heartbeat),
            Arc::clone(&counters),
        );
        let (relay, connection) = (settings.relay(), settings.connection.clone());
        async move { relay::run(worker, &relay, &connection, counters, shutdown).await }
    })
    .await;
    follower.abort();
}
