//! Puts the pieces of a sink together: the adapter of its kind, the engine, the directory and the vault. It is the only
//! crate that knows both the adapters and the engine.

mod adapters;
mod destinations;

use std::sync::Arc;

use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_payload_keys::PayloadKeys;
use pushrail_sink_core::Context;
use pushrail_sink_engine::{Metrics, Settings as EngineSettings};
use pushrail_vault::KeyRing;
use tokio_util::sync::CancellationToken;

pub use adapters::{KINDS, adapter, adapters, kinds};
pub use pushrail_sink_engine::Limits;

/// One kind's sink.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    pub kind: String,
    /// Threads, each a member of the kind's consumer group.
    pub workers: usize,
    pub context: Context,
    /// Ids that the registry gave the schemas of events and of audit records.
    pub event_schema_id: u32,
    pub attempt_schema_id: u32,
    /// No more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    pub drain_timeout: std::time::Duration,
    pub limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unknown destination type {kind:?}; this build has: {}", KINDS.join(", "))]
    UnknownKind { kind: String },
    #[error(transparent)]
    Directory(#[from] pushrail_directory::Error),
}

/// Runs the sink of one kind until `shutdown`; returns when it has drained.
pub async fn run(
    settings: Settings,
    ring: Arc<KeyRing>,
    metrics: &pushrail_obs::Metrics,
    health: &pushrail_obs::Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Some(adapter) = adapter(&settings.kind, &settings.context) else {
        return Err(Error::UnknownKind {
            kind: settings.kind,
        });
    };
    let configured = health.condition(format!("sink-{}-directory", settings.kind));
    configured.unmet("the configuration has not been read yet");
    let directory = Directory::start(&settings.connection, Interest::kind(&settings.kind))?;
    directory.register(metrics);
    tokio::select! {
        // A destination that is not known yet would look like one that was removed.
        () = directory.ready() => configured.met(),
        () = shutdown.cancelled() => return Ok(()),
    }
    let (info, batching) = (adapter.info().clone(), adapter.batching());
    let keys = PayloadKeys::new(directory.clone(), Some(Arc::clone(&ring)));
    let destinations = destinations::Configured {
        keys,
        directory,
        adapter,
        ring,
    };
    let mut engine = EngineSettings::new(
        settings.connection,
        &settings.kind,
        settings.event_schema_id,
        settings.attempt_schema_id,
    );
    engine.workers = settings.workers;
    engine.metadata_len_max = settings.metadata_len_max;
    engine.drain_timeout = settings.drain_timeout;
    engine.limits = settings.limits;
    pushrail_sink_engine::run(
        engine,
        &info,
        batching,
        Arc::new(destinations),
        Metrics::new(metrics),
        shutdown,
    )
    .await;
    Ok(())
}
