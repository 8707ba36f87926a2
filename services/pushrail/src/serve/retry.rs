//! `pushrail retry`: what waits, and is moved when its time has come.

use clap::Args as ClapArgs;
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs};

use crate::args::WorkerArgs;
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail retry
  pushrail retry --workers 1 --ops-listen 0.0.0.0:9090

Start more of them, here or elsewhere: they share the partitions of the retry tiers.")]
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
    process::run("retry", &args.ops.clone(), 1, async |service| {
        let settings = pushrail_retry::Settings {
            workers: args.workers.count(),
            metadata_len_max: args.workers.metadata_max,
            drain_timeout: args.workers.drain_timeout,
            ..pushrail_retry::Settings::new(args.kafka.connection())
        };
        let (metrics, health) = (&service.metrics, &service.health);
        pushrail_retry::run(settings, metrics, health, service.shutdown.clone()).await;
        Ok(())
    })
}
