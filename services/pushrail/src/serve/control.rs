//! `pushrail control`: the API that tenants, customers and destinations are made with.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use pushrail_control::KafkaAccess;
use pushrail_http::Network;
use pushrail_settings::{
    FileArgs, Hidden, KafkaArgs, OpsArgs, RegistryArgs, parse_bytes, parse_duration,
};
use zeroize::Zeroizing;

use crate::args::{DatabaseArgs, EgressArgs, ReplicationArgs, VaultArgs, registry};
use crate::process;

/// A key that can be guessed is none.
const ADMIN_KEY_LEN_MIN: usize = 20;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail control --listen 0.0.0.0:8081 --database @/etc/pushrail/database-url --admin-key @/etc/pushrail/admin-key
  curl http://127.0.0.1:8081/openapi.json          what it offers; /docs shows it

Start more of them behind a load balancer: one of them at a time tells Kafka, and the others are ready to. Vendors reach it
through ingest, when that is started with --control.")]
pub(crate) struct Args {
    /// Address of the API. TLS is the load balancer's.
    #[arg(
        long,
        env = "PUSHRAIL_CONTROL_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8081"
    )]
    listen: SocketAddr,
    /// The operator's key, of at least 20 characters, or @FILE. Whoever has it may do everything.
    #[arg(
        long,
        env = "PUSHRAIL_ADMIN_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    admin_key: Option<Hidden>,
    /// Network of proxies whose X-Forwarded-For is believed, such as that of ingest and the load balancer. Repeat it, or
    /// separate by commas.
    #[arg(
        long = "trusted-proxy",
        env = "PUSHRAIL_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<Network>,
    /// Where vendors reach Kafka with users of their own (SASL, SCRAM-SHA-512): host:port, comma separated. None are made
    /// without it.
    #[arg(
        long,
        env = "PUSHRAIL_KAFKA_SASL",
        value_name = "HOST:PORT",
        help_heading = "Kafka for vendors"
    )]
    kafka_sasl: Option<String>,
    /// That listener speaks no TLS: for loopback and networks that nobody else is on.
    #[arg(
        long,
        env = "PUSHRAIL_KAFKA_SASL_PLAINTEXT",
        help_heading = "Kafka for vendors"
    )]
    kafka_sasl_plaintext: bool,
    /// What one such user may write a second, by broker.
    #[arg(
        long,
        env = "PUSHRAIL_KAFKA_WRITE_RATE",
        value_name = "SIZE",
        default_value = "10MiB",
        value_parser = parse_bytes,
        help_heading = "Kafka for vendors"
    )]
    kafka_write_rate: usize,
    /// What one such user may read a second, by broker.
    #[arg(
        long,
        env = "PUSHRAIL_KAFKA_READ_RATE",
        value_name = "SIZE",
        default_value = "10MiB",
        value_parser = parse_bytes,
        help_heading = "Kafka for vendors"
    )]
    kafka_read_rate: usize,
    #[command(flatten)]
    replication: ReplicationArgs,
    /// Requests a second of one credential, on average; ten times as many at once.
    #[arg(
        long,
        env = "PUSHRAIL_REQUESTS_PER_SECOND",
        value_name = "COUNT",
        default_value = "100",
        help_heading = "Limits"
    )]
    requests_per_second: NonZeroU32,
    /// How long requests under way may take to finish after SIGTERM.
    #[arg(
        long,
        env = "PUSHRAIL_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "15s",
        value_parser = parse_duration,
        help_heading = "Limits"
    )]
    drain_timeout: Duration,
    /// Connections to the database at once, but for the one that listens for what is to be told.
    #[arg(
        long = "database-connections",
        env = "PUSHRAIL_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(2..=1_000),
        help_heading = "Database"
    )]
    database_connections: u32,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    egress: EgressArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

impl Args {
    fn admin_key(&self) -> anyhow::Result<Zeroizing<String>> {
        let key = self.admin_key.as_ref().context(
            "no operator's key: set PUSHRAIL_ADMIN_KEY_FILE to a file with a long random one \
             (`openssl rand -hex 32` makes one)",
        )?;
        let key = Zeroizing::new(key.expose().trim().to_owned());
        ensure!(
            key.len() >= ADMIN_KEY_LEN_MIN && key.bytes().all(|b| b.is_ascii_graphic()),
            "--admin-key: must have at least {ADMIN_KEY_LEN_MIN} visible ASCII characters"
        );
        Ok(key)
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let registry = Arc::new(registry(&args.registry)?);
    let ring = Arc::new(args.vault.key_ring()?);
    let database_url = Zeroizing::new(args.database.url()?.expose().to_owned());
    let admin_key = args.admin_key()?;
    let context = args.egress.context();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    process::run("control", &args.ops.clone(), threads, async |service| {
        let Some(ids) = process::schema_ids(&registry, &service).await else {
            return Ok(());
        };
        let kafka_access = args.kafka_sasl.clone().map(|bootstrap| KafkaAccess {
            bootstrap,
            tls: !args.kafka_sasl_plaintext,
            producer_bytes_per_s: args.kafka_write_rate as u64,
            consumer_bytes_per_s: args.kafka_read_rate as u64,
            topology: args.replication.settings(),
            registry: Arc::clone(&registry),
        });
        let settings = pushrail_control::Settings {
            listen: args.listen,
            connection: args.kafka.connection(),
            database_url,
            database_connections_max: args.database_connections,
            admin_key,
            adapters: pushrail_sinks::adapters(&context),
            context,
            check_route: pushrail_router::check,
            kafka_access,
            trusted_proxies: args.trusted_proxies,
            requests_per_second: args.requests_per_second,
            ids,
        };
        let shutdown = service.shutdown.clone();
        let listening = |address| tracing::info!(%address, "control.listening");
        let (metrics, health) = (&service.metrics, &service.health);
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(args.drain_timeout).await;
        };
        tokio::select! {
            ended = pushrail_control::run(settings, ring, metrics, health, listening, shutdown.clone()) => Ok(ended?),
            () = late => {
                tracing::warn!("control.drain_cut_short");
                Ok(())
            }
        }
    })
}
