//! `pushrail replay`: deliveries that are put on their way again, for those who asked for it over the API.

use std::time::Duration;

use clap::Args as ClapArgs;
use pushrail_replay::Settings;
use pushrail_settings::{FileArgs, KafkaArgs, OpsArgs, parse_duration};
use zeroize::Zeroizing;

use crate::args::{DatabaseArgs, VaultArgs};
use crate::process;

#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "\
Examples:
  pushrail replay --database @/etc/pushrail/database-url
  pushrail replay --replay-rate-max 200 --jobs 2 --ops-listen 0.0.0.0:9090

Replays are made and started over the API (POST /v1/customers/{externalId}/destinations/{destinationId}/replays). Start more
of these, here or elsewhere: they share the jobs, and one that dies is taken over from where it saved last. Jobs of one
destination run one after the other.")]
pub(crate) struct Args {
    /// Jobs at the same time; further ones wait, or are taken by other processes.
    #[arg(
        long,
        env = "PUSHRAIL_REPLAY_JOBS",
        value_name = "COUNT",
        default_value_t = Settings::JOBS_MAX as u32,
        value_parser = clap::value_parser!(u32).range(1..=64),
        help_heading = "Pace"
    )]
    jobs: u32,
    /// Copies a second of one job, whatever it asks for.
    #[arg(
        long,
        env = "PUSHRAIL_REPLAY_RATE_MAX",
        value_name = "COUNT",
        default_value_t = Settings::RATE_MAX,
        value_parser = clap::value_parser!(i32).range(1..=100_000),
        help_heading = "Pace"
    )]
    replay_rate_max: i32,
    /// Records of the topic events a second that one job reads.
    #[arg(
        long,
        env = "PUSHRAIL_REPLAY_READ_RATE_MAX",
        value_name = "COUNT",
        default_value_t = Settings::SCAN_RATE_MAX,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000),
        help_heading = "Pace"
    )]
    replay_read_rate_max: u32,
    /// How long a job belongs to a process that says nothing; at least 15s, which Kafka may take for a copy.
    #[arg(
        long,
        env = "PUSHRAIL_REPLAY_LEASE",
        value_name = "TIME",
        default_value = "20s",
        value_parser = lease,
        help_heading = "Pace"
    )]
    lease: Duration,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

const LEASE_MIN: Duration = Duration::from_secs(15);

fn lease(text: &str) -> Result<Duration, String> {
    let lease = parse_duration(text)?;
    match lease >= LEASE_MIN {
        true => Ok(lease),
        false => Err("must be at least 15s".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let database_url = Zeroizing::new(args.database.url()?.expose().to_owned());
    let ring = args.vault.optional_key_ring()?;
    process::run("replay", &args.ops.clone(), 1, async |service| {
        let settings = Settings {
            jobs_max: args.jobs as usize,
            rate_max: args.replay_rate_max,
            scan_rate_max: args.replay_read_rate_max,
            lease: args.lease,
            ring,
            ..Settings::new(args.kafka.connection(), database_url)
        };
        let (metrics, health) = (&service.metrics, &service.health);
        let shutdown = service.shutdown.clone();
        pushrail_replay::run(settings, metrics, health, shutdown).await?;
        Ok(())
    })
}
