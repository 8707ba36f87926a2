//! From nothing to ready, and back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use pushrail_directory::{Directory, Interest};
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::registry::Registry;
use pushrail_topology::Cluster;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::echo;
use crate::env_file::EnvFile;
use crate::folder::DataFolder;
use crate::hints::{self, Ready};
use crate::identity::{self, Identity};
use crate::listeners::{self, Listeners};
use crate::progress::{Step, line};
use crate::servers::Servers;
use crate::services::{Control, LOOPBACK, Plan, Services};

/// What a broker that we started accepts, and what one that we were given can be relied on to accept.
const METADATA_LEN_MAX: usize = 32_767;
const METADATA_LEN_GIVEN: usize = pushrail_kafka::METADATA_LEN_MAX_DEFAULT;
/// How often our servers are looked after.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// What the process gives.
pub struct Surroundings {
    /// Of the process as a whole.
    pub metrics: Metrics,
    pub health: Health,
    pub shutdown: CancellationToken,
}

/// Starts everything, and runs it until `shutdown`; returns when everything has drained and stopped. Fails when something
/// cannot be started, and when a service or a server ends by itself.
pub async fn run(args: Args, surroundings: Surroundings) -> anyhow::Result<()> {
    let from = Instant::now();
    let folder = DataFolder::open(&args.data_dir)?;
    EnvFile::clear(&folder)?;
    let ours = listeners::Servers {
        kafka: args.kafka.is_none(),
        registry: args.registry.is_none(),
        postgres: args.database.is_none(),
    };
    let listeners = Listeners::bind(args.port, folder.path(), ours)?;
    let shutdown = surroundings.shutdown.clone();
    line(format_args!(
        "pushrail {} in {}",
        env!("CARGO_PKG_VERSION"),
        folder.path().display()
    ));
    let started = tokio::select! {
        started = start(&args, &folder, listeners, &surroundings) => started?,
        // What was started so far dies with its handles; nothing was promised to anybody yet.
        () = shutdown.cancelled() => return Ok(()),
    };
    started.run(&folder, from, &shutdown).await
}

/// Everything that runs.
struct Started {
    servers: Servers,
    services: Services,
    identity: Identity,
    addresses: Addresses,
    background: Vec<JoinHandle<()>>,
}

struct Addresses {
    url: String,
    control_url: String,
    echo_url: String,
    ops_url: String,
}

async fn start(
    args: &Args,
    folder: &DataFolder,
    listeners: Listeners,
    surroundings: &Surroundings,
) -> anyhow::Result<Started> {
    let ports = listeners.ports;
    let url = |port| format!("http://127.0.0.1:{port}");
    let addresses = Addresses {
        url: url(ports.http),
        control_url: url(ports.control),
        echo_url: url(ports.echo),
        ops_url: url(ports.ops),
    };
    let servers = Servers::start(args, folder, ports).await?;
    ports.remember(folder.path())?;
    let registry = Arc::new(Registry::new(&servers.registry_url, None).context("--registry")?);
    topology(&servers, &registry).await?;
    let step = Step::start("tenant and keys");
    let identity = Identity::load(folder)?;
    let directory = Directory::start(&servers.connection, Interest::everything())?;
    directory.register(&surroundings.metrics);
    identity
        .ensure(&directory, &servers.database_url)
        .await
        .context("the tenant was not put into the database")?;
    step.done(format_args!("tenant {}", identity::TENANT));
    let step = Step::start("services");
    // These ports were ours until now; ingest and the control plane bind them themselves, as they do in production.
    drop((listeners.http, listeners.control));
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let plan = Plan {
        listen: loopback(ports.http),
        control: Control {
            listen: loopback(ports.control),
            database_url: servers.database_url.expose().to_owned().into(),
            admin_key: identity.admin_key.clone(),
            kafka_sasl: servers.kafka_sasl.clone(),
        },
        connection: servers.connection.clone(),
        ids: registry.ids().await?,
        registry,
        directory: directory.clone(),
        ring: Arc::clone(&identity.ring),
        workers: args.workers.max(1),
        metadata_len_max: if args.kafka.is_none() {
            METADATA_LEN_MAX
        } else {
            METADATA_LEN_GIVEN
        },
    };
    let mut services = Services::start(&plan);
    let background = vec![
        serve(listeners.echo, echo::router())?,
        serve(listeners.ops, ops(surroundings, &services))?,
    ];
    services.ready().await?;
    identity.known(&directory).await?;
    step.done(
        services
            .iter()
            .map(|service| service.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    );
    Ok(Started {
        servers,
        services,
        identity,
        addresses,
        background,
    })
}

/// Topics and schemas, made where they are missing.
async fn topology(servers: &Servers, registry: &Registry) -> anyhow::Result<()> {
    let step = Step::start("topics and schemas");
    let cluster = Cluster::connect(&servers.connection.admin("pushrail-dev"))?;
    let settings = pushrail_topology::Settings::single();
    let (kinds, tenants) = (pushrail_sinks::KINDS, [identity::TENANT]);
    let plan =
        pushrail_topology::plan(&cluster, Some(registry), &settings, kinds, &tenants).await?;
    let applied = plan.apply(&cluster, Some(registry)).await?;
    for drift in &plan.drift {
        tracing::warn!(?drift, "topology.drifted");
    }
    match applied.created {
        0 => step.done("as they should be"),
        created => step.done(format_args!(
            "{created} topics, {} subjects made",
            applied.subjects
        )),
    }
    Ok(())
}

/// The operator's routes: of the process at the root, and of each service under its name.
fn ops(surroundings: &Surroundings, services: &Services) -> Router {
    let root = pushrail_obs::router(surroundings.metrics.clone(), surroundings.health.clone());
    services.iter().fold(root, |router, service| {
        let of_service = pushrail_obs::router(service.metrics.clone(), service.health.clone());
        router.nest(&format!("/{}", service.name), of_service)
    })
}

fn serve(listener: std::net::TcpListener, app: Router) -> anyhow::Result<JoinHandle<()>> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "listener.ended");
        }
    }))
}

impl Started {
    /// Says that everything is ready, waits, and stops everything again.
    async fn run(
        mut self,
        folder: &DataFolder,
        from: Instant,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let file = self.announce(folder, from)?;
        let failed = tokio::select! {
            () = shutdown.cancelled() => None,
            error = self.services.ended() => Some(error),
            error = died(&self.servers) => Some(error),
        };
        // Nobody should begin to use what is about to go.
        drop(file);
        match &failed {
            None => line("\nDraining. (Ctrl-C once more ends at once; nothing is lost.)"),
            Some(_) => line("\nSomething ended by itself; stopping the rest."),
        }
        self.services.stop().await;
        self.servers.stop().await;
        self.background.iter().for_each(JoinHandle::abort);
        match failed {
            None => {
                line("Stopped.");
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    fn announce<'a>(&self, folder: &'a DataFolder, from: Instant) -> anyhow::Result<EnvFile<'a>> {
        let Addresses {
            url,
            control_url,
            echo_url,
            ops_url,
        } = &self.addresses;
        let kafka = &self.servers.connection.bootstrap;
        let registry = &self.servers.registry_url;
        let ring = folder.file(identity::KEY_RING_FILE);
        let properties = self.servers.connection.properties.iter();
        let properties: Vec<String> = properties
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let (ring, networks, properties) = (
            ring.to_string_lossy(),
            LOOPBACK.join(","),
            properties.join(","),
        );
        let mut variables = vec![
            ("PUSHRAIL_URL", url.as_str()),
            ("PUSHRAIL_API_KEY", self.identity.api_key.as_str()),
            ("PUSHRAIL_CONTROL_URL", control_url),
            ("PUSHRAIL_ADMIN_KEY", self.identity.admin_key.as_str()),
            ("PUSHRAIL_KAFKA", kafka),
            ("PUSHRAIL_REGISTRY", registry),
            ("PUSHRAIL_DATABASE_URL", self.servers.database_url.expose()),
            ("PUSHRAIL_ECHO_URL", echo_url),
            ("PUSHRAIL_OPS_URL", ops_url),
            // So that a service that is started beside us has our key, and accepts what we deliver to.
            ("PUSHRAIL_TENANT", identity::TENANT),
            ("PUSHRAIL_KEY_RING_FILE", &ring),
            ("PUSHRAIL_ALLOW_NETWORKS", &networks),
            ("PUSHRAIL_ALLOW_PLAINTEXT", "true"),
            // One broker: `pushrail topology apply` makes the topics of other tenants.
            ("PUSHRAIL_REPLICATION_FACTOR", "1"),
            ("PUSHRAIL_MIN_INSYNC_REPLICAS", "1"),
        ];
        if let Some(sasl) = &self.servers.kafka_sasl {
            variables.push(("PUSHRAIL_KAFKA_SASL", sasl));
        }
        if !properties.is_empty() {
            variables.push(("PUSHRAIL_KAFKA_PROPERTIES", &properties));
        }
        let file = EnvFile::write(folder, &variables)?;
        let seconds = from.elapsed().as_secs_f64();
        hints::print(&Ready {
            folder: folder.path(),
            url,
            api_key: &self.identity.api_key,
            echo_url,
            ops_url,
            kafka,
            registry,
            database: &self.servers.database_shown(),
            seconds,
        });
        Ok(file)
    }
}

/// Waits for a server of ours to end by itself.
async fn died(servers: &Servers) -> anyhow::Error {
    loop {
        if let Err(error) = servers.alive() {
            return error.into();
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
