//! `pushrail log`: the index of what became of events.

use clap::Args as ClapArgs;
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs, RegistryArgs};
use zeroize::Zeroizing;

use crate::args::{DatabaseArgs, registry};
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail log --database @/etc/pushrail/database-url
  pushrail log --retention-days 90 --ops-listen 0.0.0.0:9090

Start more of them, here or elsewhere: they share the partitions of the topic audit.attempts and of the dead letters. No
delivery waits for them: one that was stopped reads on from where it was.")]
pub(crate) struct Args {
    /// Threads, each with a connection to the database and its share of the partitions.
    #[arg(
        long,
        env = "PUSHRAIL_LOG_WORKERS",
        value_name = "COUNT",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    workers: u16,
    /// Days that an event is kept in the log, counted from when it was accepted. A tenant may have less.
    #[arg(
        long,
        env = "PUSHRAIL_LOG_RETENTION_DAYS",
        value_name = "DAYS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3_650)
    )]
    retention_days: u32,
    /// Records of one transaction at most.
    #[arg(
        long,
        env = "PUSHRAIL_LOG_BATCH",
        value_name = "COUNT",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u32).range(1..=50_000)
    )]
    batch: u32,
    #[command(flatten)]
    database: DatabaseArgs,
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
    let workers = usize::from(args.workers);
    let database_url = Zeroizing::new(args.database.url()?.expose().to_owned());
    process::run("log", &args.ops.clone(), 1, async |service| {
        let Some(ids) = process::schema_ids(&registry, &service).await else {
            return Ok(());
        };
        let kinds = pushrail_sinks::kinds();
        let settings = pushrail_log::Settings {
            workers,
            retention_days: args.retention_days,
            batch_records_max: args.batch as usize,
            ..pushrail_log::Settings::new(args.kafka.connection(), database_url, kinds, ids.event)
        };
        let (metrics, health) = (&service.metrics, &service.health);
        let shutdown = service.shutdown.clone();
        Ok(pushrail_log::run(settings, metrics, health, shutdown).await?)
    })
}
