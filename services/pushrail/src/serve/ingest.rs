//! `pushrail ingest`: where events come in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use http::Uri;
use pushrail_directory::{Directory, Interest};
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs, RegistryArgs, parse_bytes, parse_duration};

use crate::args::{VaultArgs, registry};
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail ingest --listen 0.0.0.0:8080
  pushrail ingest --workers 4 --direct-workers 0 --ops-listen 0.0.0.0:9090

Start more of them behind a load balancer: they share nothing.")]
pub(crate) struct Args {
    /// Address for POST /v1/events and /v1/events/batch. TLS is the load balancer's.
    #[arg(
        long,
        env = "PUSHRAIL_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,
    /// The control plane, as http://host:port: the rest of the API is forwarded to it, so that vendors have one address.
    #[arg(long, env = "PUSHRAIL_CONTROL_URL", value_name = "URL")]
    control: Option<Uri>,
    /// Threads that serve HTTP, each with a producer of its own; 0 takes one a CPU core.
    #[arg(
        long,
        env = "PUSHRAIL_WORKERS",
        value_name = "COUNT",
        default_value_t = 0,
        help_heading = "Workers"
    )]
    workers: usize,
    /// Threads that take over what vendors publish on events.direct.TENANT; 0 leaves it to other processes.
    #[arg(
        long,
        env = "PUSHRAIL_DIRECT_WORKERS",
        value_name = "COUNT",
        default_value_t = 1,
        help_heading = "Workers"
    )]
    direct_workers: usize,
    /// How long requests under way may take to finish after SIGTERM.
    #[arg(
        long,
        env = "PUSHRAIL_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "15s",
        value_parser = parse_duration,
        help_heading = "Workers"
    )]
    drain_timeout: Duration,
    /// Largest payload of an event.
    #[arg(
        long,
        env = "PUSHRAIL_PAYLOAD_MAX",
        value_name = "SIZE",
        default_value = "256KiB",
        value_parser = parse_bytes,
        help_heading = "Limits"
    )]
    payload_max: usize,
    /// Largest body of a batch.
    #[arg(
        long,
        env = "PUSHRAIL_BATCH_BODY_MAX",
        value_name = "SIZE",
        default_value = "5MiB",
        value_parser = parse_bytes,
        help_heading = "Limits"
    )]
    batch_body_max: usize,
    /// Events in a batch, at most.
    #[arg(
        long,
        env = "PUSHRAIL_BATCH_EVENTS_MAX",
        value_name = "COUNT",
        default_value_t = 1_000,
        help_heading = "Limits"
    )]
    batch_events_max: usize,
    /// Connections at once; more wait.
    #[arg(
        long,
        env = "PUSHRAIL_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value_t = 10_000,
        help_heading = "Limits"
    )]
    connections_max: usize,
    /// Bytes that are read or queued and not acknowledged by Kafka; beyond it requests are answered 429.
    #[arg(
        long,
        env = "PUSHRAIL_IN_FLIGHT_MAX",
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = parse_bytes,
        help_heading = "Limits"
    )]
    in_flight_max: usize,
    /// How long Kafka may take to acknowledge; beyond it requests are answered 503.
    #[arg(
        long,
        env = "PUSHRAIL_ACK_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = parse_duration,
        help_heading = "Limits"
    )]
    ack_timeout: Duration,
    #[command(flatten)]
    vault: VaultArgs,
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
    fn settings(&self) -> pushrail_ingest::Settings {
        let mut settings = pushrail_ingest::Settings::new(self.listen, self.kafka.connection());
        if self.workers > 0 {
            settings.workers = self.workers;
        }
        settings.control = self.control.clone();
        settings.direct_workers = self.direct_workers;
        settings.drain_timeout = self.drain_timeout;
        settings.limits.payload_len_max = self.payload_max;
        // A payload and the fields around it.
        settings.event_body_len_max = settings.event_body_len_max.max(2 * self.payload_max);
        settings.batch_body_len_max = self.batch_body_max;
        settings.batch_events_max = self.batch_events_max;
        settings.connections_max = self.connections_max;
        settings.in_flight_bytes_max = self.in_flight_max;
        settings.ack_timeout = self.ack_timeout;
        settings
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let registry = Arc::new(registry(&args.registry)?);
    let settings = args.settings();
    settings.check()?;
    let ring = args.vault.optional_key_ring()?;
    process::run("ingest", &args.ops, 1, async |service| {
        let directory = Directory::start(&settings.connection, Interest::keys_and_event_types())?;
        directory.register(&service.metrics);
        let surroundings = pushrail_ingest::Surroundings {
            directory,
            ring,
            registry,
            metrics: service.metrics,
            health: service.health,
        };
        let listening = |address| tracing::info!(%address, "ingest.listening");
        pushrail_ingest::run(settings, surroundings, listening, service.shutdown).await?;
        Ok(())
    })
}
