//! Ingest: where events come in, over HTTP and straight from Kafka, and become durable records on `events`.
//!
//! It owns what an event must be ([`input`], and where its tenant asks for it [`catalogue`]), how it is answered ([`http`]),
//! and when it counts as accepted: when Kafka has acknowledged it to all in-sync replicas, never earlier. It knows nothing
//! of destinations.

pub mod budget;
pub mod catalogue;
pub mod direct;
pub mod event;
pub mod http;
pub mod input;
pub mod json;
pub mod keys;
pub mod metrics;
pub mod publish;
pub mod seals;
pub mod server;
pub mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_directory::Directory;
use pushrail_obs::{Condition, Health};
use pushrail_payload_keys::PayloadKeys;
use pushrail_schemas::avro;
use pushrail_schemas::registry::{Registry, RegistryError};
use pushrail_topology::topics;
use pushrail_vault::KeyRing;
use tokio_util::sync::CancellationToken;

use server::Server;

pub use settings::{Settings, SettingsError};

/// What ingest needs of the process that it runs in.
pub struct Surroundings {
    pub directory: Directory,
    /// Opens what payloads are sealed with, and subjects hashed; without it events that need either are refused.
    pub ring: Option<Arc<KeyRing>>,
    pub registry: Arc<Registry>,
    pub metrics: pushrail_obs::Metrics,
    pub health: Health,
}

/// Why ingest cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
}

/// How long the registry is left alone between questions at the start.
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// Takes events until `shutdown`, then finishes what is under way. The address is taken at once, and told to
/// `listening`; requests are answered once the directory and the registry have been read, which waits for both.
pub async fn run(
    settings: Settings,
    surroundings: Surroundings,
    listening: impl FnOnce(SocketAddr),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    settings.check()?;
    let address = settings.listen;
    let server = Server::bind(address).await;
    let server = server.map_err(|error| Error::Listen { address, error })?;
    listening(server.address());
    tokio::select! {
        schema_id = start(&surroundings) => {
            serve(settings, surroundings, server, schema_id, shutdown).await;
        }
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

async fn serve(
    settings: Settings,
    surroundings: Surroundings,
    server: Server,
    schema_id: u32,
    shutdown: CancellationToken,
) {
    let metrics = metrics::Metrics::new(&surroundings.metrics);
    let types = Arc::new(surroundings.directory.clone());
    let catalogue = Arc::new(catalogue::Catalogue::new(types, metrics.clone()));
    let payload_keys = PayloadKeys::new(surroundings.directory.clone(), surroundings.ring);
    let seals = Arc::new(seals::Seals::new(payload_keys));
    let keys: Arc<dyn keys::Keys> = Arc::new(surroundings.directory);
    let direct = direct::Shared {
        connection: settings.connection.clone(),
        workers: settings.direct_workers,
        limits: settings.limits.clone(),
        drain_timeout: settings.drain_timeout,
        keys: Arc::clone(&keys),
        catalogue: Arc::clone(&catalogue),
        seals: Arc::clone(&seals),
        registry: surroundings.registry,
        metrics: metrics.clone(),
        health: surroundings.health.clone(),
        schema_id,
        clock: Clock::process(),
    };
    let http = server::Shared {
        settings: Arc::new(settings),
        keys,
        catalogue,
        seals,
        metrics,
        health: surroundings.health,
        schema_id,
        clock: Clock::process(),
    };
    tokio::join!(
        server.run(http, shutdown.clone()),
        direct::run(direct, shutdown),
    );
}

/// Waits until the tenants are known, and the id of the schema that events are written with.
async fn start(surroundings: &Surroundings) -> u32 {
    let directory = surroundings.health.condition("directory");
    let registry = surroundings.health.condition("registry");
    let (_, schema_id) = tokio::join!(
        async {
            surroundings.directory.ready().await;
            directory.met();
        },
        schema_id(&surroundings.registry, &registry),
    );
    schema_id
}

async fn schema_id(registry: &Registry, condition: &Condition) -> u32 {
    let mut last: Option<RegistryError> = None;
    loop {
        match registry.id(topics::EVENTS, avro::EVENT).await {
            Ok(id) => {
                condition.met();
                return id;
            }
            // An operator can mend all of these while we wait, so none ends the process; each is told once.
            Err(error) => {
                if last.as_ref() != Some(&error) {
                    tracing::warn!(%error, "registry.no_schema");
                    condition.unmet(error.to_string());
                }
                last = Some(error);
                tokio::time::sleep(REGISTRY_PAUSE).await;
            }
        }
    }
}
