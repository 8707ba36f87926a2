//! `pushrail-loadtest <scenario>`: see [`pushrail_loadtest`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pushrail_loadtest::baseline::{self, Drained, minimal};
use pushrail_loadtest::scenario::{self, Scenario};
use pushrail_loadtest::stats::Latency;
use pushrail_loadtest::{generator, kafka, receiver, sample};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    about = "Puts load on Pushrail, kills it, and judges what it did",
    version
)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// A size that takes a minute at most, to see whether a scenario works
    #[arg(long, global = true)]
    quick: bool,
    /// Seed of everything that is random
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Where reports go
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
}

/// The scenarios, as commands.
#[derive(Clone, Copy, Subcommand)]
enum Proof {
    /// Sink draining a backlog, beside a bare loop and a minimal sink
    Speed,
    /// HTTP in, webhook out: rates and latencies
    EndToEnd,
    /// Healthy destinations beside dark ones in one partition
    Isolation,
    /// Memory of the sink
    Memory,
    /// 1, 2 and 4 sinks, and a rolling restart
    Scaling,
    /// Everything is killed at random; nothing may be lost
    Conservation,
    /// Malformed requests, records and configurations: what each is told
    BadInput,
    /// Signing secrets replaced while events flow
    Rotation,
    /// PostgreSQL killed while the API is in use and events flow
    Database,
    /// How soon a change of configuration is in force
    Propagation,
    /// 100,000 destinations: memory, start, look-up, latency
    Destinations,
    /// Planted credentials, looked for everywhere
    Secrets,
    /// The delivery log: how fast it is written, and what that costs
    LogIndexing,
    /// The delivery log killed for ten minutes under load
    LogOutage,
    /// Ten searches in a delivery log of ten million attempts
    LogSearch,
    /// A replay of 100,000 deliveries beside live traffic, killed in its middle
    Replay,
    /// Sinks of each kind killed in the middle of batches: what is there twice
    KindCrash,
    /// Sinks of each kind against the stock clients of their systems
    KindSpeed,
    /// Memory of idle destinations of each kind
    KindIdle,
    /// Credentials of other kinds replaced and taken away while deliveries flow
    KindRotation,
}

impl Proof {
    fn scenario(self) -> Scenario {
        match self {
            Proof::Speed => Scenario::Speed,
            Proof::EndToEnd => Scenario::EndToEnd,
            Proof::Isolation => Scenario::Isolation,
            Proof::Memory => Scenario::Memory,
            Proof::Scaling => Scenario::Scaling,
            Proof::Conservation => Scenario::Conservation,
            Proof::BadInput => Scenario::BadInput,
            Proof::Rotation => Scenario::Rotation,
            Proof::Database => Scenario::Database,
            Proof::Propagation => Scenario::Propagation,
            Proof::Destinations => Scenario::Destinations,
            Proof::Secrets => Scenario::Secrets,
            Proof::LogIndexing => Scenario::LogIndexing,
            Proof::LogOutage => Scenario::LogOutage,
            Proof::LogSearch => Scenario::LogSearch,
            Proof::Replay => Scenario::Replay,
            Proof::KindCrash => Scenario::KindCrash,
            Proof::KindSpeed => Scenario::KindSpeed,
            Proof::KindIdle => Scenario::KindIdle,
            Proof::KindRotation => Scenario::KindRotation,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Runs all scenarios and writes report.md
    Report,
    #[command(flatten)]
    Run(Proof),
    /// A misbehaving receiver, until standard input ends (scenarios start their own)
    Receiver {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Remember no arrivals
        #[arg(long)]
        no_log: bool,
        /// Verify signatures
        #[arg(long)]
        verify: bool,
    },
    /// Posts events to an ingest over HTTP, at a rate or flat out, and prints what came of it as JSON
    Post {
        #[arg(long)]
        ingest: SocketAddr,
        #[arg(long, env = "PUSHRAIL_API_KEY", hide_env_values = true)]
        api_key: String,
        #[arg(long, default_value_t = 1_000)]
        events: u64,
        /// Events a second; flat out when it is not given
        #[arg(long)]
        rate: Option<f64>,
        /// Events in a request
        #[arg(long, default_value_t = 1)]
        batch: u64,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 1)]
        customers: u32,
        /// Prefix of idempotency keys; without it, events carry none
        #[arg(long)]
        keys: Option<String>,
    },
    /// Publishes Avro events to events.direct.dev, at a rate or flat out
    Publish {
        #[arg(long, env = "PUSHRAIL_KAFKA")]
        kafka: String,
        /// Id of EventInput in the registry
        #[arg(long)]
        schema_id: u32,
        #[arg(long, default_value_t = 1_000)]
        events: u64,
        #[arg(long)]
        rate: Option<f64>,
        #[arg(long, default_value_t = 1)]
        customers: u32,
    },
    /// Baseline (a): posts as fast as the client can, and prints what it cost as JSON
    Bare {
        #[arg(long)]
        receiver: SocketAddr,
        #[arg(long, default_value_t = 100)]
        destinations: u32,
        #[arg(long)]
        count: u64,
        #[arg(long, default_value_t = 256)]
        concurrency: usize,
    },
    /// Baseline (b): drains a topic with a minimal sink, and prints what it cost as JSON
    Minimal {
        #[arg(long)]
        kafka: String,
        #[arg(long, default_value = "deliver.webhook")]
        topic: String,
        #[arg(long)]
        group: String,
        #[arg(long)]
        receiver: SocketAddr,
        #[arg(long, default_value_t = 0)]
        salt: u64,
        #[arg(long, default_value_t = 100)]
        destinations: u32,
        #[arg(long)]
        count: u64,
        #[arg(long, default_value_t = 256)]
        concurrency: usize,
    },
    /// Writes ready deliveries
    Prefill {
        #[arg(long)]
        kafka: String,
        #[arg(long, default_value = "deliver.webhook")]
        topic: String,
        #[arg(long, default_value_t = 1)]
        schema_id: u32,
        #[arg(long, default_value_t = 0)]
        salt: u64,
        #[arg(long, default_value_t = 100)]
        destinations: u32,
        #[arg(long)]
        count: u64,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // No backtrace: what was missed is in the report.
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let options = scenario::Options {
        quick: args.quick,
        seed: args.seed,
    };
    match args.command {
        Command::Report => local(scenario::run_all(options, &args.results)),
        Command::Run(scenario) => {
            let report = local(scenario.scenario().run(options, &args.results))?;
            anyhow::ensure!(report.holds(), "a bar was missed");
            Ok(())
        }
        Command::Receiver {
            listen,
            threads,
            no_log,
            verify,
        } => receiver::run(listen, threads, !no_log, verify),
        Command::Post {
            ingest,
            api_key,
            events,
            rate,
            batch,
            connections,
            customers,
            keys,
        } => {
            let load = generator::http::Load {
                ingest,
                api_key,
                connections,
                first: 0,
                events,
                batch,
                per_second: rate,
                payload_len: sample::PAYLOAD_LEN,
                customers,
                keys,
                patience: Duration::from_secs(30),
            };
            post(local(generator::http::run(load))?)
        }
        Command::Publish {
            kafka,
            schema_id,
            events,
            rate,
            customers,
        } => {
            let load = generator::direct::Load {
                bootstrap: kafka,
                schema_id,
                first: 0,
                events,
                per_second: rate,
            };
            local(generator::direct::events(
                load,
                customers,
                sample::PAYLOAD_LEN,
            ))
        }
        Command::Bare {
            receiver,
            destinations,
            count,
            concurrency,
        } => print(local(baseline::bare::run(
            receiver,
            destinations,
            count,
            concurrency,
        ))?),
        Command::Minimal {
            kafka,
            topic,
            group,
            receiver,
            salt,
            destinations,
            count,
            concurrency,
        } => {
            let job = minimal::Job {
                bootstrap: kafka,
                topic,
                audit_topic: "baseline.audit".to_owned(),
                group,
                partitions: 12,
                destinations: minimal::destinations(salt, destinations),
                receiver,
                count,
                concurrency,
            };
            print(local(minimal::run(job))?)
        }
        Command::Prefill {
            kafka,
            topic,
            schema_id,
            salt,
            destinations,
            count,
        } => {
            local(kafka::create_topics(&kafka, &[&topic, "baseline.audit"]))?;
            let ids: Vec<_> = (0..destinations)
                .map(|n| sample::destination_id(salt, n.into()))
                .collect();
            kafka::prefill(&kafka::Prefill {
                bootstrap: &kafka,
                topic: &topic,
                schema_id,
                destinations: &ids,
                first: 0,
                count,
                value_len: sample::VALUE_LEN,
            })
        }
    }
}

/// Runs a future on a current-thread runtime.
fn local<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn post(sent: generator::http::Sent) -> anyhow::Result<()> {
    let latency = Latency::of(sent.latencies_us.iter().map(|us| i64::from(*us)));
    let summary = serde_json::json!({
        "requests": sent.accepted.len(),
        "repeats": sent.repeats,
        "given_up": sent.given_up,
        "last_error": sent.last_error,
        "seconds": sent.wall.as_secs_f64(),
        "latency": latency,
    });
    println!("{summary}");
    anyhow::ensure!(sent.given_up == 0, "{} requests failed", sent.given_up);
    Ok(())
}

fn print(drained: Drained) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&drained)?);
    Ok(())
}
