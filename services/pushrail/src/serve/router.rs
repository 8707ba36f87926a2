//! `pushrail router`: who gets which event.

use std::time::Duration;

use clap::Args as ClapArgs;
use pushrail_directory::{Directory, Interest};
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs, RegistryArgs, parse_duration};

use crate::args::{VaultArgs, WorkerArgs, registry};
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail router
  pushrail router --workers 2 --dedup-window 48h --ops-listen 0.0.0.0:9090

Start more of them, here or elsewhere: they share the partitions of the topic events.")]
pub(crate) struct Args {
    /// How long a repeat of an event with an idempotency key is dropped; at most what the topic dedup retains.
    #[arg(
        long,
        env = "PUSHRAIL_DEDUP_WINDOW",
        value_name = "TIME",
        default_value = "24h",
        value_parser = parse_duration
    )]
    dedup_window: Duration,
    /// Event ids that the window of one partition remembers, some 40 bytes each.
    #[arg(
        long,
        env = "PUSHRAIL_DEDUP_ENTRIES",
        value_name = "COUNT",
        default_value_t = pushrail_router::Settings::DEDUP_ENTRIES_MAX
    )]
    dedup_entries: usize,
    #[command(flatten)]
    workers: WorkerArgs,
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

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let registry = registry(&args.registry)?;
    let connection = args.kafka.connection();
    let ring = args.vault.optional_key_ring()?;
    process::run("router", &args.ops.clone(), 1, async |service| {
        let Some(ids) = process::schema_ids(&registry, &service).await else {
            return Ok(());
        };
        let directory = Directory::start(&connection, Interest::destinations())?;
        directory.register(&service.metrics);
        let settings = pushrail_router::Settings {
            workers: args.workers.count(),
            kinds: pushrail_sinks::kinds(),
            dedup_window: args.dedup_window,
            dedup_entries_max: args.dedup_entries,
            metadata_len_max: args.workers.metadata_max,
            drain_timeout: args.workers.drain_timeout,
            ring,
            ..pushrail_router::Settings::new(connection, ids.attempt)
        };
        let (metrics, health) = (&service.metrics, &service.health);
        pushrail_router::run(
            settings,
            directory,
            metrics,
            health,
            service.shutdown.clone(),
        )
        .await;
        Ok(())
    })
}
