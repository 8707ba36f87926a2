//! `pushrail dev`: everything in one process.

use crate::process;

/// One for the operator's server and what follows the configuration, one for the echo receiver: services have threads of
/// their own.
const THREADS: usize = 2;

pub(crate) fn run(args: pushrail_dev::Args) -> anyhow::Result<()> {
    process::run("dev", &args.ops(), THREADS, async |service| {
        let surroundings = pushrail_dev::Surroundings {
            metrics: service.metrics,
            health: service.health,
            shutdown: service.shutdown,
        };
        pushrail_dev::run(args, surroundings).await
    })
}
