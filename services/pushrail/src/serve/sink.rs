//! `pushrail sink`: one kind's deliveries.

use std::sync::Arc;

use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs, RegistryArgs, parse_bytes};

use crate::args::{EgressArgs, VaultArgs, WorkerArgs, registry};
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail sink --kind webhook
  pushrail sink --kind webhook --workers 4 --ops-listen 0.0.0.0:9090
  pushrail sink --kind webhook --allow-network 10.0.0.0/8

Start more of them, here or elsewhere: they share the kind's partitions.")]
pub(crate) struct Args {
    /// Destination type that it serves.
    #[arg(long, env = "PUSHRAIL_SINK_KIND", value_name = "KIND", value_parser = PossibleValuesParser::new(pushrail_sinks::KINDS))]
    kind: String,
    #[command(flatten)]
    workers: WorkerArgs,
    /// Attempts under way to one destination, at most.
    #[arg(long, env = "PUSHRAIL_SINK_LANE_IN_FLIGHT", value_name = "COUNT")]
    lane_in_flight: Option<usize>,
    /// Attempts under way on one worker that answer in their usual time, at most.
    #[arg(long, env = "PUSHRAIL_SINK_IN_FLIGHT", value_name = "COUNT")]
    in_flight: Option<usize>,
    /// Bytes waiting on one worker, at most.
    #[arg(long, env = "PUSHRAIL_SINK_QUEUE", value_name = "SIZE", value_parser = parse_bytes)]
    queue: Option<usize>,
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

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let ring = Arc::new(args.vault.key_ring()?);
    let registry = registry(&args.registry)?;
    let name = format!("sink-{}", args.kind);
    process::run(&name, &args.ops.clone(), 1, async |service| {
        let Some(ids) = process::schema_ids(&registry, &service).await else {
            return Ok(());
        };
        let settings = pushrail_sinks::Settings {
            connection: args.kafka.connection(),
            kind: args.kind,
            workers: args.workers.count(),
            context: args.egress.context(),
            event_schema_id: ids.event,
            attempt_schema_id: ids.attempt,
            metadata_len_max: args.workers.metadata_max,
            drain_timeout: args.workers.drain_timeout,
            limits: limits(args.lane_in_flight, args.in_flight, args.queue),
        };
        let (metrics, health) = (&service.metrics, &service.health);
        pushrail_sinks::run(settings, ring, metrics, health, service.shutdown.clone()).await?;
        Ok(())
    })
}

fn limits(
    lane_in_flight: Option<usize>,
    in_flight: Option<usize>,
    queue: Option<usize>,
) -> pushrail_sinks::Limits {
    let mut limits = pushrail_sinks::Limits::default();
    if let Some(count) = lane_in_flight {
        limits.lane_in_flight_max = count.max(1);
    }
    if let Some(count) = in_flight {
        limits.active_max = count.max(1);
    }
    if let Some(bytes) = queue {
        limits.queued_bytes_max = bytes.max(1);
    }
    limits
}
