//! Isolation: what do the healthy destinations of one partition feel of the dark ones beside them?
//!
//! All destinations hash to one partition of `deliver.webhook`, the worst case: one consumer, one queue, one worker. Runs
//! with and without dark destinations alternate, each with destinations of its own, so that no breaker or queue of one run
//! helps or harms the next; the same positions are compared. Deliveries are published open loop, straight to the topic.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::{Options, wait};
use crate::bed::Bed;
use crate::destinations::Family;
use crate::generator::{self, direct};
use crate::receiver::{Arrival, Behaviour, Plan, Receiver, Rule};
use crate::report::Report;
use crate::services::{Kind, Service};
use crate::stats::{Latency, median};
use crate::witness::Witness;

const PARTITION: i32 = 5;
const PARTITIONS: i32 = 12;
/// The start of a run, which opens connections, is not measured.
const WARM_UP_US: i64 = 3_000_000;

/// The first runs of the plan, which warm up.
const UNMEASURED: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Size {
    destinations: u32,
    seconds: u64,
    pairs: usize,
    /// How long dark destinations may take to catch up before the next run.
    heal: Duration,
    rates: &'static [f64],
}

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Run {
    rate: f64,
    dark: bool,
    /// From due to arrival, of the healthy ones, without those that were due while the machine stood still.
    latency: Latency,
    /// The same of all of them.
    latency_of_all: Latency,
    /// The share that was left out.
    left_out: f64,
    /// Deliveries to healthy ones per second of the measured window.
    healthy_per_second: f64,
    /// Deliveries to healthy ones that had not arrived when the run ended.
    healthy_missing: u64,
    sink_cpu_us: f64,
}

struct Stage {
    bed: Bed,
    /// Serves the healthy ones, in all runs.
    light: Receiver,
    /// Serves those that are dark in every other run: its own process, so that misbehaving costs the healthy nothing
    /// but the machine's time.
    shade: Receiver,
    sink: Service,
    retry: Service,
    size: Size,
    families: Vec<Family>,
    next: u64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = if options.quick {
        let heal = Duration::from_secs(10);
        Size {
            destinations: 100,
            seconds: 7,
            pairs: 1,
            heal,
            rates: &[300.0],
        }
    } else {
        let (heal, rates) = (Duration::from_secs(60), &[300.0, 1_000.0]);
        Size {
            destinations: 1_000,
            seconds: 20,
            pairs: 3,
            heal,
            rates,
        }
    };
    let mut stage = Stage::set_up(size).await?;
    let mut runs = Vec::new();
    for (n, (rate, dark)) in plan(size).into_iter().enumerate() {
        let run = stage.go(n, rate, dark).await?;
        let is_measured = n >= UNMEASURED;
        eprintln!(
            "  {rate:.0}/s, {}{}: p50 {:.1} ms, p99 {:.1} ms ({:.1} of all, {:.0} % left out), {:.0}/s to the healthy",
            if dark { "30 % dark" } else { "all healthy" },
            if is_measured { "" } else { " (warming up)" },
            run.latency.p50_ms,
            run.latency.p99_ms,
            run.latency_of_all.p99_ms,
            run.left_out * 100.0,
            run.healthy_per_second
        );
        if is_measured {
            runs.push(run);
        }
    }
    stage.sink.stop().await?;
    stage.retry.stop().await?;
    stage.bed.stop().await;
    Ok(report(options, size, &runs))
}

/// Every run: at each rate, without and with dark ones in turn, after a pair at the highest rate in which the broker's
/// compiler does its work.
fn plan(size: Size) -> Vec<(f64, bool)> {
    let pair = |rate: f64| [(rate, false), (rate, true)];
    let highest = size.rates.iter().copied().fold(0.0, f64::max);
    let measured = size
        .rates
        .iter()
        .flat_map(|rate| pair(*rate).repeat(size.pairs));
    pair(highest).into_iter().chain(measured).collect()
}

/// Three of ten are dark.
fn is_dark(position: u32) -> bool {
    position % 10 < 3
}

/// The five kinds of darkness, in turn.
fn darkness(position: u32) -> Behaviour {
    match (position / 10 * 3 + position % 10) % 5 {
        0 => Behaviour::Hang,
        1 => Behaviour::Drip { interval_ms: 200 },
        2 => Behaviour::status(503),
        3 => Behaviour::Reset,
        _ => Behaviour::Huge {
            status: 200,
            bytes: 1 << 30,
        },
    }
}

impl Stage {
    async fn set_up(size: Size) -> anyhow::Result<Self> {
        let bed = Bed::start("isolation").await?;
        let (light, shade) = (Receiver::start(1).await?, Receiver::start(1).await?);
        let make = |salt| {
            let mut family =
                Family::in_partition(100 + salt as u64, size.destinations, PARTITION, PARTITIONS);
            // Tries the dark ones more often than the default does: harder on the healthy, and the sooner over.
            family.retry.max_delay_ms = 5_000;
            family
        };
        let families: Vec<Family> = (0..plan(size).len()).map(make).collect();
        for (n, family) in families.iter().enumerate() {
            let base = n as u32 * size.destinations;
            let url = |i| {
                if is_dark(i) {
                    shade.url(base + i)
                } else {
                    light.url(base + i)
                }
            };
            bed.configure(family.records(&bed.ring, url)?)?;
        }
        let sink = Service::start(&bed, Kind::Sink, "sink", &[]).await?;
        let retry = Service::start(&bed, Kind::Retry, "retry", &[]).await?;
        Ok(Stage {
            bed,
            light,
            shade,
            sink,
            retry,
            size,
            families,
            next: 0,
        })
    }

    async fn go(&mut self, n: usize, rate: f64, dark: bool) -> anyhow::Result<Run> {
        let base = n as u32 * self.size.destinations;
        let positions = (0..self.size.destinations).filter(|i| dark && is_dark(*i));
        let rules = positions
            .map(|i| Rule::always(base + i, base + i + 1, darkness(i)))
            .collect();
        self.shade.set_plan(&Plan { rules }).await?;
        self.light.clear().await?;
        self.shade.clear().await?;
        let events = (rate * self.size.seconds as f64) as u64;
        let load = direct::Load {
            bootstrap: self.bed.bootstrap(),
            schema_id: self.bed.ids.event,
            first: self.next,
            events,
            per_second: Some(rate),
        };
        self.next += events;
        let (ids, cpu, started_us) = (
            self.families[n].ids.clone(),
            self.sink.cpu_us(),
            pushrail_clock::now_us(),
        );
        let witness = Witness::start();
        generator::on_own_thread(move || direct::deliveries(load, ids)).await?;
        // What is late by more than this is late by any measure.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stalls = witness.map(Witness::end).unwrap_or_default();
        let sink_cpu_us = (self.sink.cpu_us() - cpu) as f64 / events as f64;
        let arrivals = self.light.arrivals().await?;
        let mine: Vec<&Arrival> = arrivals.iter().filter(|a| a.destination >= base).collect();
        let healthy = (0..events)
            .filter(|n| !is_dark((n % u64::from(self.size.destinations)) as u32))
            .count();
        let measured = mine.iter().filter(|a| a.sent_us >= started_us + WARM_UP_US);
        let latency = |arrivals: &mut dyn Iterator<Item = &&Arrival>| {
            Latency::of(arrivals.map(|a| a.at_us - a.sent_us))
        };
        let latency_of_all = latency(&mut measured.clone());
        let latency = latency(&mut measured.clone().filter(|a| !stalls.cover(a.sent_us)));
        let window_us = (self.size.seconds as i64) * 1_000_000 - WARM_UP_US;
        let run = Run {
            rate,
            dark,
            latency,
            latency_of_all,
            left_out: 1.0 - latency.count as f64 / latency_of_all.count.max(1) as f64,
            healthy_per_second: measured.count() as f64 / (window_us as f64 / 1e6),
            healthy_missing: (healthy as u64).saturating_sub(mine.len() as u64),
            sink_cpu_us,
        };
        self.heal().await.with_context(|| self.sink.last_words())?;
        Ok(run)
    }

    /// Lets the dark ones answer, and waits until what was put off has been delivered.
    async fn heal(&self) -> anyhow::Result<()> {
        self.shade.set_plan(&Plan::default()).await?;
        let left = wait::settled(&self.bed.bootstrap(), self.size.heal).await?;
        if left.total() > 0 {
            eprintln!(
                "  {} deliveries to formerly dark destinations still wait for their next attempt",
                left.total()
            );
        }
        Ok(())
    }
}

fn report(options: Options, size: Size, runs: &[Run]) -> Report {
    let mut report = Report::new(
        "isolation",
        "Isolation: healthy destinations beside dark ones",
        options.quick,
    );
    report.method = format!(
        "{} destinations whose ids all hash to partition {PARTITION} of {PARTITIONS}, one sink. In every other run 30 % of \
         them are dark: hanging, dripping a byte every 200 ms, 503, reset, a body of 1 GiB, a fifth each. Deliveries \
         are published open loop, round robin, for {} s; {} pairs of runs at each rate, alternating, after a pair that warms up. Latency is from the \
         time a delivery was due to its arrival, healthy destinations only, without the first {} s and without what was due \
         while the machine itself stood still: when a thread that is first in line for a core slept longer than it asked to. \
         Medians over runs.",
        size.destinations,
        size.seconds,
        size.pairs,
        WARM_UP_US / 1_000_000
    );
    let mut rows = Vec::new();
    for rate in size.rates {
        let of = |dark, figure: fn(&Run) -> f64| {
            median(
                runs.iter()
                    .filter(|run| run.dark == dark && run.rate == *rate)
                    .map(figure),
            )
        };
        let ratio = |figure| of(true, figure) / of(false, figure).max(1e-9);
        let (p50, p99) = (
            ratio(|run| run.latency.p50_ms),
            ratio(|run| run.latency.p99_ms),
        );
        let throughput = ratio(|run| run.healthy_per_second);
        report.at_most(
            &format!("{rate:.0}/s: p50 with dark ones / without"),
            p50,
            1.2,
            " ×",
        );
        report.at_most(
            &format!("{rate:.0}/s: p99 with dark ones / without"),
            p99,
            1.2,
            " ×",
        );
        report.at_least(
            &format!("{rate:.0}/s: throughput with dark ones / without"),
            throughput,
            0.95,
            " ×",
        );
        for dark in [false, true] {
            let ms = |figure| format!("{:.2}", of(dark, figure));
            rows.push(vec![
                format!("{rate:.0}"),
                if dark { "30 % dark" } else { "all healthy" }.to_owned(),
                ms(|run| run.latency.p50_ms),
                ms(|run| run.latency.p90_ms),
                ms(|run| run.latency.p99_ms),
                ms(|run| run.latency.p999_ms),
                ms(|run| run.latency.max_ms),
                ms(|run| run.latency_of_all.p99_ms),
                format!("{:.0}", of(dark, |run| run.left_out * 100.0)),
                format!("{:.1}", of(dark, |run| run.healthy_per_second)),
                format!("{:.0}", of(dark, |run| run.healthy_missing as f64)),
                format!("{:.0}", of(dark, |run| run.sink_cpu_us)),
            ]);
        }
    }
    let head = [
        "deliveries/s",
        "",
        "p50, ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "p99 of all",
        "left out, %",
        "healthy/s",
        "missing",
        "sink CPU per delivery, µs",
    ];
    report.table("Healthy destinations", &head, rows);
    report.data = serde_json::json!({ "runs": runs });
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_ten_are_dark_and_each_kind_is_a_fifth_of_them() {
        let dark: Vec<u32> = (0..1_000).filter(|i| is_dark(*i)).collect();
        assert_eq!(dark.len(), 300);
        let hanging = dark
            .iter()
            .filter(|i| darkness(**i) == Behaviour::Hang)
            .count();
        let reset = dark
            .iter()
            .filter(|i| darkness(**i) == Behaviour::Reset)
            .count();
        assert_eq!((hanging, reset), (60, 60));
    }
}
