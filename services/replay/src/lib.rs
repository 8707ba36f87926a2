//! Replay: puts deliveries of one destination on their way again, from its dead letters or from the events of a time.
//!
//! The control plane makes jobs and changes their state; here they are carried out. A job is claimed with a lease, its
//! records are copied to `deliver.<kind>` under the ids that they always had, and how far it is is saved every second,
//! after Kafka has acknowledged what was copied. So whoever dies repeats at most one second's copies, and another goes on
//! where it stopped.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `job` | one job from claim to end: rounds of reading, copying, waiting and saving |
//! | `letters`, `events` | the two places that a job reads, and where it stands in them |
//! | `partitions` | where on `events` a customer's records may lie |
//! | `copies` | what is written |
//! | `pace` | how fast |
//!
//! A copy goes past the router, and so past its deduplication: a replay is asked for, and is not a repeat. What the router
//! would make of an event for the destination is the router's own code ([`pushrail_router::Single`]). It refuses to deliver,
//! and to decide what a failure means: a copy is a delivery like any other, with `origin` and `replay_id` in its headers.

mod copies;
mod events;
mod job;
mod letters;
mod metrics;
mod pace;
mod partitions;

use std::sync::Arc;
use std::time::Duration;

use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_obs::{Condition, Health};
use pushrail_payload_keys::PayloadKeys;
use pushrail_store::replays::work;
use pushrail_store::{Scope, Store};
use pushrail_vault::KeyRing;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use copies::Copies;
use metrics::Metrics;

/// How replays are carried out.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    /// `postgres://user:password@host:port/database`.
    pub database_url: Zeroizing<String>,
    pub client_id: String,
    /// Jobs that this process carries out at the same time; further ones wait, or are taken by other processes.
    pub jobs_max: usize,
    /// Copies a second of one job, whatever it asks for.
    pub rate_max: i32,
    /// Records a second that one job reads, so that it leaves the brokers' disks to live traffic.
    pub scan_rate_max: u32,
    /// How often a job saves where it is: what is copied between two saves is copied again after a crash.
    pub save_every: Duration,
    /// How long a job belongs to a process that says nothing.
    pub lease: Duration,
    /// How often jobs are looked for.
    pub look_every: Duration,
    /// How long jobs are known after they are over.
    pub keep_days: i32,
    /// Opens what sealed payloads are opened with, for destinations with a filter or a transform.
    pub ring: Option<Arc<KeyRing>>,
}

impl Settings {
    pub const JOBS_MAX: usize = 4;
    pub const RATE_MAX: i32 = 1_000;
    pub const SCAN_RATE_MAX: u32 = 20_000;

    pub fn new(connection: Connection, database_url: Zeroizing<String>) -> Self {
        Settings {
            connection,
            database_url,
            client_id: "pushrail-replay".to_owned(),
            jobs_max: Self::JOBS_MAX,
            rate_max: Self::RATE_MAX,
            scan_rate_max: Self::SCAN_RATE_MAX,
            save_every: Duration::from_secs(1),
            lease: Duration::from_secs(20),
            look_every: Duration::from_secs(1),
            keep_days: 90,
            ring: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] pushrail_store::Error),
    #[error("the connection to Kafka can't be made: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Directory(#[from] pushrail_directory::Error),
}

/// What the jobs of a process share.
struct Shared {
    settings: Settings,
    store: Store,
    copies: Copies,
    keys: Option<PayloadKeys>,
    metrics: Metrics,
    /// Holds the leases of this process.
    worker: Uuid,
}

/// Connections of a job: one while it saves, one while it looks deliveries up.
const CONNECTIONS_OF_A_JOB: u32 = 2;
/// What is due without anybody asking.
const CHORES_EVERY: Duration = Duration::from_secs(5);

/// Carries jobs out until `shutdown`; then those under way save where they are and are given back.
///
/// Readiness has one condition, `replay`: the database answers.
pub async fn run(
    settings: Settings,
    metrics: &pushrail_obs::Metrics,
    health: &Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let ready = health.condition("replay");
    ready.unmet("the database has not answered yet");
    let connections = settings.jobs_max.max(1) as u32 * CONNECTIONS_OF_A_JOB + 1;
    let store = Store::new(&settings.database_url, connections)?;
    while let Err(error) = store.migrate().await {
        tracing::warn!(%error, "replay.database_not_ready");
        ready.unmet(error.to_string());
        tokio::select! {
            () = sleep(settings.look_every) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    let keys = match settings.ring.clone() {
        None => None,
        Some(ring) => {
            let directory = Directory::start(&settings.connection, Interest::payload_keys())?;
            tokio::select! {
                () = directory.ready() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            Some(PayloadKeys::new(directory, Some(ring)))
        }
    };
    let shared = Arc::new(Shared {
        keys,
        copies: Copies::new(&settings.connection, &settings.client_id)?,
        metrics: Metrics::register(metrics),
        worker: Uuid::new_v4(),
        store,
        settings,
    });
    let heartbeat = health.heartbeat("replay", STUCK_AFTER);
    let (mut jobs, mut chores) = (JoinSet::new(), Instant::now());
    while !shutdown.is_cancelled() {
        heartbeat.beat();
        while jobs.try_join_next().is_some() {}
        let looked = look(&shared, &mut jobs, &mut chores, &shutdown).await;
        show(&ready, looked);
        tokio::select! {
            () = sleep(shared.settings.look_every) => {}
            Some(_) = jobs.join_next() => {}
            () = shutdown.cancelled() => {}
        }
    }
    while jobs.join_next().await.is_some() {}
    shared.store.close().await;
    Ok(())
}

/// A loop that has not come round for so long is stuck: nothing it does takes more than seconds.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Claims what there is to do, as far as there is room.
async fn look(
    shared: &Arc<Shared>,
    jobs: &mut JoinSet<()>,
    chores: &mut Instant,
    shutdown: &CancellationToken,
) -> Result<(), pushrail_store::Error> {
    if Instant::now() >= *chores {
        *chores = Instant::now() + CHORES_EVERY;
        let mut tx = shared.store.begin(Scope::System).await?;
        work::fail_orphans(&mut tx).await?;
        work::forget_old(&mut tx, shared.settings.keep_days).await?;
        shared.metrics.show(&work::open(&mut tx).await?);
        tx.commit().await?;
    }
    while jobs.len() < shared.settings.jobs_max.max(1) {
        let mut tx = shared.store.begin(Scope::System).await?;
        let claim = work::Claim {
            worker: shared.worker,
            lease: shared.settings.lease,
            rate_max: shared.settings.rate_max.max(1),
        };
        let claimed = work::claim(&mut tx, claim).await?;
        tx.commit().await?;
        let Some(replay) = claimed else { break };
        let (shared, shutdown) = (Arc::clone(shared), shutdown.clone());
        jobs.spawn(async move { job::work(&shared, replay, shutdown).await });
    }
    Ok(())
}

fn show(ready: &Condition, looked: Result<(), pushrail_store::Error>) {
    match looked {
        Ok(()) => ready.met(),
        Err(error) => {
            tracing::warn!(%error, "replay.jobs_wait");
            ready.unmet(error.to_string());
        }
    }
}
