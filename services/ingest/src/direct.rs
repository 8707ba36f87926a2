//! Direct publishing: Avro records on `events.direct.<tenant>` become events like any other.
//!
//! The tenant is the topic's: who may write to it is Kafka's to decide, and what a record says about itself is never
//! asked. Ids are derived, from the idempotency key or from the record's place in its log, so that a restart in the middle
//! gives the same ones again, and `deduplicate` says so. What cannot become an event goes to `dlq.direct` as it was, with
//! the reason in headers, and the partition goes on. Trouble of our own (the registry down, a tenant not yet known) only
//! holds a partition back.

mod dead;
mod handler;
mod schemas;

use std::sync::Arc;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_kafka::relay::{self, Counters};
use pushrail_kafka::{Connection, worker};
use pushrail_obs::Health;
use pushrail_schemas::registry::Registry;
use pushrail_topology::topics;
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::input::rules::Limits;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::seals::Seals;

pub use handler::Direct;

/// The consumer group of direct publishing.
pub const GROUP: &str = "pushrail-direct";

/// What direct publishing needs.
pub struct Shared {
    pub connection: Connection,
    pub workers: usize,
    pub limits: Limits,
    pub drain_timeout: Duration,
    pub keys: Arc<dyn Keys>,
    pub catalogue: Arc<Catalogue>,
    pub seals: Arc<Seals>,
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    pub health: Health,
    /// Id of `Event.avsc` in the registry.
    pub schema_id: u32,
    pub clock: Clock,
}

/// Takes records over until `shutdown`, then drains and commits.
pub async fn run(shared: Shared, shutdown: CancellationToken) {
    let counters = Counters::new();
    let registry = shared.health.condition("registry/direct");
    registry.met();
    let shared = Arc::new(shared);
    let workers = shared.workers;
    let make = move |index: usize, shutdown| {
        let client_id = format!("{GROUP}-{index}");
        let topics = vec![format!("^{}.*", regex_escaped(topics::DIRECT_PREFIX))];
        let mut settings = relay::Settings::new(GROUP, client_id, topics);
        settings.drain_timeout = shared.drain_timeout;
        let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
        let handler = Direct::new(Arc::clone(&shared), Arc::clone(&counters), registry.clone());
        async move { relay::run(handler, &settings, &shared.connection, counters, shutdown).await }
    };
    worker::run("ingest-direct", workers, shutdown, make).await;
}

fn regex_escaped(text: &str) -> String {
    text.replace('.', "\\.")
}
