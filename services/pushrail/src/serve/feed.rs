//! `pushrail feed`: audit records, for the tenants that read their own.

use clap::Args as ClapArgs;
use pushrail_directory::{Directory, Interest};
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs};

use crate::args::WorkerArgs;
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail feed
  pushrail feed --workers 1 --ops-listen 0.0.0.0:9090

Start more of them, here or elsewhere: they share the partitions of the topic audit.attempts.")]
pub(crate) struct Args {
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let connection = args.kafka.connection();
    process::run("feed", &args.ops.clone(), 1, async |service| {
        let directory = Directory::start(&connection, Interest::keys())?;
        directory.register(&service.metrics);
        let settings = pushrail_feed::Settings {
            workers: args.workers.count(),
            metadata_len_max: args.workers.metadata_max,
            drain_timeout: args.workers.drain_timeout,
            ..pushrail_feed::Settings::new(connection)
        };
        let (metrics, health) = (&service.metrics, &service.health);
        let shutdown = service.shutdown.clone();
        pushrail_feed::run(settings, directory, metrics, health, shutdown).await?;
        Ok(())
    })
}
