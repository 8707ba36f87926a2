//! The log: keeps an index of `audit.attempts` and of the dead letters in PostgreSQL, for people who ask what became of an
//! event, and says how each destination is.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `worker` | reading Kafka, a batch at a time |
//! | `batch` | what was read, and one transaction that keeps all of it and how far it was read |
//! | `health` | the rule by which a destination is healthy, degraded, failing or suspended |
//! | `tell` | transitions of health, as events that the vendor can subscribe to |
//! | `chores` | what is too old goes, and what was not well and has been quiet is well again |
//!
//! Each record is in the index once: its offset is in the transaction that keeps it. Nothing of a delivery waits for it. An
//! index that is slow, stopped or lost is behind, and reads on from where it was when it can.

mod batch;
mod chores;
pub mod health;
mod metrics;
mod record;
mod tell;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use pushrail_kafka::{Connection, worker as threads};
use pushrail_obs::{Health, Metrics};
use pushrail_store::Store;
use pushrail_topology::topics;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub use tell::OPERATIONS;

/// How the log works.
#[derive(Clone)]
pub struct Settings {
    pub connection: Connection,
    /// `postgres://user:password@host:port/database`.
    pub database_url: Zeroizing<String>,
    /// The destination types whose dead letters are kept.
    pub kinds: Vec<String>,
    /// Threads, each a member of the group with its share of the partitions.
    pub workers: usize,
    /// Consumer group. All indexers of an installation share one. Where they stand is in the database, not in Kafka.
    pub group: String,
    pub client_id: String,
    /// Records of one transaction.
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
    /// How long the first record of a batch waits for others.
    pub linger: Duration,
    /// Days that events are kept after they were accepted.
    pub retention_days: u32,
    /// Days that dead letters are kept: what `dlq.*` keeps them.
    pub dead_letter_days: u32,
    /// How often what is too old is removed.
    pub chores_every: Duration,
    /// Id that the registry gave the schema of events.
    pub event_schema_id: u32,
}

impl Settings {
    pub fn new(
        connection: Connection,
        database_url: Zeroizing<String>,
        kinds: Vec<String>,
        event_schema_id: u32,
    ) -> Self {
        Settings {
            connection,
            database_url,
            kinds,
            workers: 1,
            group: "pushrail-log".to_owned(),
            client_id: "pushrail-log".to_owned(),
            batch_records_max: 5_000,
            batch_bytes_max: 16 << 20,
            linger: Duration::from_millis(250),
            retention_days: 30,
            dead_letter_days: 30,
            chores_every: Duration::from_secs(60),
            event_schema_id,
        }
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        let dead = self.kinds.iter().map(|kind| topics::dlq(kind));
        std::iter::once(topics::AUDIT_ATTEMPTS.to_owned())
            .chain(dead)
            .collect()
    }
}

/// Keeps the index until `shutdown`.
///
/// Readiness has one condition, `log`: the database has answered, and Kafka has given this process partitions.
pub async fn run(
    settings: Settings,
    metrics: &Metrics,
    health: &Health,
    shutdown: CancellationToken,
) -> Result<(), pushrail_store::Error> {
    let store = Store::new(&settings.database_url, 1)?;
    let shared = Arc::new(worker::Shared {
        metrics: metrics::Metrics::new(metrics),
        ready: health.condition("log"),
        settings,
    });
    shared.ready.unmet("the database has not answered yet");
    tokio::select! {
        () = migrated(&store) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let chores = chores::run(Arc::clone(&shared), store, shutdown.clone());
    let chores = tokio::spawn(chores);
    let (workers, health) = (shared.settings.workers.max(1), health.clone());
    threads::run("log", workers, shutdown, move |index, shutdown| {
        let heartbeat = health.heartbeat(format!("log-{index}"), STUCK_AFTER);
        worker::run(Arc::clone(&shared), index, heartbeat, shutdown)
    })
    .await;
    let _ = chores.await;
    Ok(())
}

/// Returns when the tables are there. A database that is away is waited for: there is nothing else to do.
async fn migrated(store: &Store) {
    while let Err(error) = store.migrate().await {
        tracing::warn!(%error, "log.database_not_ready");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A worker that has not come round for so long is stuck. A transaction may take a while on a database that is busy.
const STUCK_AFTER: Duration = Duration::from_secs(120);
