//! Speed of the sink: it drains a backlog, and two baselines do the same visible work beside it.
//!
//! All run on one machine with broker and receivers, one after the other, several times round; medians of each. A rate is
//! what the receiver saw, from the first to the last request, for all alike. CPU is the sending process's own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use pushrail_topology::topics;
use serde::Serialize;
use tokio::process::Command;

use super::{Options, drain};
use crate::baseline::Drained;
use crate::bed::Bed;
use crate::destinations::Family;
use crate::kafka::{self, Prefill};
use crate::machine;
use crate::receiver::{Arrival, Receiver};
use crate::report::Report;
use crate::sample;
use crate::stats::median;

const DESTINATIONS: u32 = 100;
/// Requests in flight of the baselines.
const CONCURRENCY: usize = 256;
const SALT: u64 = 10;
const BASELINE_AUDIT: &str = "baseline.audit";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Runner {
    Bare,
    Minimal,
    Sink,
}

impl Runner {
    fn label(self) -> &'static str {
        match self {
            Runner::Bare => "(a) bare loop: hyper, kept connections, nothing else",
            Runner::Minimal => "(b) minimal: Kafka, sign, POST, audit, commit",
            Runner::Sink => "Pushrail's sink",
        }
    }
}

/// One drain.
#[derive(Clone, Debug, Serialize)]
struct Run {
    runner: Runner,
    round: usize,
    per_second: f64,
    /// CPU of the sending process per delivery.
    cpu_us: f64,
    receiver_us: f64,
    kafka_us: f64,
    /// CPU of the whole machine per delivery, others' work included.
    machine_us: f64,
    /// Deliveries that the sink put off through a retry tier, by what it says itself.
    deferred: u64,
    /// Arrivals in each quarter of a second.
    timeline: Vec<u32>,
}

/// CPU figures at one moment.
struct Meter {
    receiver: u64,
    kafka: u64,
    machine: u64,
}

struct Stage {
    bed: Bed,
    receiver: Receiver,
    count: u64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let (count, rounds) = if options.quick {
        (20_000, 1)
    } else {
        (1_000_000, 3)
    };
    let stage = Stage::set_up(count).await?;
    let mut runs = Vec::new();
    for round in 0..=rounds {
        for runner in [Runner::Bare, Runner::Minimal, Runner::Sink] {
            let run = stage.drain(runner, round).await?;
            let label = match round {
                0 => "warming up".to_owned(),
                _ => format!("round {round}"),
            };
            eprintln!(
                "  {label}: {runner:?}: {:.0}/s, {:.1} µs",
                run.per_second, run.cpu_us
            );
            // While it warms up, the broker's compiler takes a third of a core from whoever needs the broker.
            if round > 0 {
                runs.push(run);
            }
        }
    }
    stage.bed.stop().await;
    Ok(report(options, count, rounds, &runs))
}

impl Stage {
    async fn set_up(count: u64) -> anyhow::Result<Self> {
        let bed = Bed::start("speed").await?;
        let receiver = Receiver::start(1).await?;
        let family = Family::new(SALT, DESTINATIONS);
        bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
        kafka::create_topics(&bed.bootstrap(), &[BASELINE_AUDIT]).await?;
        let (bootstrap, schema_id) = (bed.bootstrap(), bed.ids.event);
        tokio::task::spawn_blocking(move || {
            kafka::prefill(&Prefill {
                bootstrap: &bootstrap,
                topic: &topics::deliver("webhook"),
                schema_id,
                destinations: &family.ids,
                first: 0,
                count,
                value_len: sample::VALUE_LEN,
            })
        })
        .await??;
        Ok(Stage {
            bed,
            receiver,
            count,
        })
    }

    fn meter(&self) -> Meter {
        Meter {
            receiver: machine::cpu_us(self.receiver.pid()),
            kafka: self.bed.kafka.pids().into_iter().map(machine::cpu_us).sum(),
            machine: machine::busy_us(),
        }
    }

    async fn drain(&self, runner: Runner, round: usize) -> anyhow::Result<Run> {
        self.receiver.clear().await?;
        let before = self.meter();
        let (cpu_us, deferred) = match runner {
            Runner::Bare => (self.child(&["bare"]).await?.cpu_us, 0),
            Runner::Minimal => (self.minimal(round).await?.cpu_us, 0),
            Runner::Sink => {
                let patience = Duration::from_secs(20);
                let sink = drain::all(&self.bed, &self.receiver, self.count, patience).await?;
                (sink.cpu_us, sink.deferred)
            }
        };
        let after = self.meter();
        let each = |us: u64| us as f64 / self.count as f64;
        let arrivals = self.receiver.arrivals().await?;
        Ok(Run {
            runner,
            round,
            per_second: drain::rate(&arrivals),
            cpu_us: each(cpu_us),
            receiver_us: each(after.receiver - before.receiver),
            kafka_us: each(after.kafka.saturating_sub(before.kafka)),
            machine_us: each(after.machine - before.machine),
            deferred,
            timeline: timeline(&arrivals),
        })
    }

    async fn minimal(&self, round: usize) -> anyhow::Result<Drained> {
        let (bootstrap, group) = (self.bed.bootstrap(), format!("baseline-{round}"));
        let salt = SALT.to_string();
        self.child(&[
            "minimal", "--kafka", &bootstrap, "--group", &group, "--salt", &salt,
        ])
        .await
    }

    /// Runs a baseline as a process of its own, as the sink is one.
    async fn child(&self, arguments: &[&str]) -> anyhow::Result<Drained> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(arguments)
            .args(["--receiver", &self.receiver.address().to_string()])
            .args(["--destinations", &DESTINATIONS.to_string()])
            .args(["--count", &self.count.to_string()])
            .args(["--concurrency", &CONCURRENCY.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(180), command.output()).await??;
        anyhow::ensure!(
            output.status.success(),
            "{arguments:?} ended with {}",
            output.status
        );
        serde_json::from_slice(&output.stdout).context("a baseline printed no figures")
    }
}

fn timeline(arrivals: &[Arrival]) -> Vec<u32> {
    let first = arrivals.iter().map(|arrival| arrival.at_us).min();
    let mut counts = Vec::new();
    for arrival in arrivals {
        let at = ((arrival.at_us - first.unwrap_or(0)) / 250_000) as usize;
        counts.resize(counts.len().max(at + 1), 0);
        counts[at] += 1;
    }
    counts
}

fn report(options: Options, count: u64, rounds: usize, runs: &[Run]) -> Report {
    let mut report = Report::new(
        "speed",
        "Speed of the sink beside its baselines",
        options.quick,
    );
    report.method = format!(
        "{count} deliveries of {} byte events to {DESTINATIONS} destinations, drained {rounds} times by each of three, after a round that warms up: \
         {CONCURRENCY} requests in flight for the baselines. One broker and one receiver thread on the same machine. \
         Medians. The sink signs twice, writes an audit record with the payload, and commits, as the minimal loop does.",
        sample::VALUE_LEN
    );
    let of = |runner, figure: fn(&Run) -> f64| {
        median(runs.iter().filter(|r| r.runner == runner).map(figure))
    };
    let rate = |runner| of(runner, |run| run.per_second);
    let ratio = |base| rate(Runner::Sink) / rate(base).max(1.0);
    report.at_least(
        "sink against (a) the bare loop, rate",
        ratio(Runner::Bare),
        0.6,
        " ×",
    );
    report.at_least(
        "sink against (b) the minimal loop, rate",
        ratio(Runner::Minimal),
        0.8,
        " ×",
    );
    report.at_most(
        "CPU of the sink per delivery",
        of(Runner::Sink, |run| run.cpu_us),
        30.0,
        " µs",
    );
    let rows = [Runner::Bare, Runner::Minimal, Runner::Sink].map(|runner| {
        let us = |figure| format!("{:.1}", of(runner, figure));
        vec![
            runner.label().into(),
            format!("{:.0}", rate(runner)),
            us(|run| run.cpu_us),
            us(|run| run.receiver_us),
            us(|run| run.kafka_us),
            us(|run| run.machine_us),
            format!("{:.0}", of(runner, |run| run.deferred as f64)),
        ]
    });
    let head = [
        "",
        "deliveries/s",
        "its CPU, µs",
        "receiver, µs",
        "Kafka, µs",
        "whole machine, µs",
        "put off",
    ];
    report.table("Per delivery, medians", &head, rows.to_vec());
    report.data = serde_json::json!({ "runs": runs });
    report
}
