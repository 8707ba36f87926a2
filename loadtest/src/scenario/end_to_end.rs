//! End to end: HTTP in, webhook out, every service and server on the same cores.

use std::time::Duration;

use anyhow::Context as _;

use super::{Options, wait};
use crate::bed::Bed;
use crate::destinations::Family;
use crate::generator::{self, direct, http};
use crate::receiver::{Arrival, Receiver};
use crate::report::Report;
use crate::sample;
use crate::services::{Kind, Service};
use crate::stats::{Latency, median};

const DESTINATIONS: u32 = 100;

/// One way of putting events in.
#[derive(Clone, Copy, Debug)]
enum Way {
    Singles,
    Batches,
    Direct,
    Paced,
}

/// What one run of it came to.
#[derive(Clone, Debug, serde::Serialize)]
struct Run {
    way: String,
    events: u64,
    /// Requests answered 202, in events a second; 0 of direct publishing, which has none.
    accepted_per_second: f64,
    /// From the first event sent to the last one delivered.
    delivered_per_second: f64,
    /// From due to the 202; of direct publishing, nothing.
    accepting: Latency,
    /// From `receivedAt` to the receiver.
    accept_to_delivered: Latency,
    /// From due to the receiver.
    due_to_delivered: Latency,
    /// CPU per event of each service, in microseconds, in the order of [`Kind::ALL`].
    cpu_us: Vec<f64>,
}

struct Stage {
    bed: Bed,
    receiver: Receiver,
    services: Vec<Service>,
    input_schema_id: u32,
    next: u64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let mut stage = Stage::set_up().await?;
    let scale = if options.quick { 20 } else { 1 };
    let mut runs = Vec::new();
    // The first events pay for connections, caches and compilers; they are nobody's figures.
    stage.go(Way::Batches, 20_000 / scale).await?;
    for round in 0..if options.quick { 1 } else { 3 } {
        for way in [Way::Singles, Way::Batches, Way::Direct, Way::Paced] {
            let events = match way {
                Way::Singles => 60_000,
                Way::Batches | Way::Direct => 200_000,
                Way::Paced => 30_000,
            };
            let run = stage.go(way, events / scale).await?;
            eprintln!(
                "  round {}: {}: accepted {:.0}/s, delivered {:.0}/s, p99 {:.1} ms",
                round + 1,
                run.way,
                run.accepted_per_second,
                run.delivered_per_second,
                run.accept_to_delivered.p99_ms
            );
            runs.push(run);
        }
    }
    for service in &mut stage.services {
        service.stop().await?;
    }
    stage.bed.stop().await;
    Ok(report(options, &runs))
}

impl Stage {
    async fn set_up() -> anyhow::Result<Self> {
        let bed = Bed::start("end-to-end").await?;
        let receiver = Receiver::start(1).await?;
        let family = Family::new(20, DESTINATIONS);
        bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
        let input_schema_id = bed.event_input_id().await?;
        let mut services = Vec::new();
        for kind in Kind::ALL {
            services.push(Service::start(&bed, kind, kind.name(), &[]).await?);
        }
        Ok(Stage {
            bed,
            receiver,
            services,
            input_schema_id,
            next: 0,
        })
    }

    fn http(&self, way: Way, events: u64) -> http::Load {
        http::Load {
            ingest: self.services[0].listen,
            api_key: self.bed.api_key.clone(),
            connections: if matches!(way, Way::Batches) { 8 } else { 64 },
            first: self.next,
            events,
            batch: if matches!(way, Way::Batches) { 100 } else { 1 },
            per_second: matches!(way, Way::Paced).then_some(1_000.0),
            payload_len: sample::PAYLOAD_LEN,
            customers: DESTINATIONS,
            keys: None,
            patience: Duration::from_secs(30),
        }
    }

    async fn go(&mut self, way: Way, events: u64) -> anyhow::Result<Run> {
        self.receiver.clear().await?;
        let before = self.receiver.stats().await?.delivered;
        let cpu: Vec<u64> = self.services.iter().map(Service::cpu_us).collect();
        let started_us = pushrail_clock::now_us();
        let sent = match way {
            Way::Direct => {
                let load = direct::Load {
                    bootstrap: self.bed.bootstrap(),
                    schema_id: self.input_schema_id,
                    first: self.next,
                    events,
                    per_second: None,
                };
                let publish = move || direct::events(load, DESTINATIONS, sample::PAYLOAD_LEN);
                generator::on_own_thread(publish).await?;
                http::Sent::default()
            }
            _ => {
                let load = self.http(way, events);
                let sent = generator::on_own_thread(move || http::run(load)).await?;
                let reason = || sent.last_error.clone().unwrap_or_default();
                anyhow::ensure!(
                    sent.given_up == 0,
                    "{way:?}: {} requests failed: {}",
                    sent.given_up,
                    reason()
                );
                sent
            }
        };
        self.next += events;
        let what = format!("{way:?}");
        let patience = Duration::from_secs(30);
        let all = wait::delivered(&self.receiver, before, events, patience, &what).await;
        all.with_context(|| {
            self.services
                .iter()
                .map(Service::last_words)
                .collect::<Vec<_>>()
                .join("\n")
        })?;
        let arrivals = self.receiver.arrivals().await?;
        let spent = self
            .services
            .iter()
            .zip(cpu)
            .map(|(s, before)| s.cpu_us().saturating_sub(before));
        let cpu_us = spent.map(|us| us as f64 / events as f64).collect();
        Ok(measured(way, events, started_us, &sent, &arrivals, cpu_us))
    }
}

fn measured(
    way: Way,
    events: u64,
    started_us: i64,
    sent: &http::Sent,
    arrivals: &[Arrival],
    cpu_us: Vec<f64>,
) -> Run {
    let last_us = arrivals
        .iter()
        .map(|arrival| arrival.at_us)
        .max()
        .unwrap_or(started_us + 1);
    let since = |from: fn(&Arrival) -> i64| Latency::of(arrivals.iter().map(|a| a.at_us - from(a)));
    Run {
        way: format!("{way:?}"),
        events,
        accepted_per_second: if sent.wall.is_zero() {
            0.0
        } else {
            events as f64 / sent.wall.as_secs_f64()
        },
        delivered_per_second: events as f64 / ((last_us - started_us).max(1) as f64 / 1e6),
        accepting: Latency::of(sent.latencies_us.iter().map(|us| i64::from(*us))),
        accept_to_delivered: since(|arrival| arrival.accepted_us),
        due_to_delivered: since(|arrival| arrival.sent_us),
        cpu_us,
    }
}

fn report(options: Options, runs: &[Run]) -> Report {
    let mut report = Report::new(
        "end-to-end",
        "End to end: HTTP in, webhook out",
        options.quick,
    );
    report.method = format!(
        "{DESTINATIONS} customers with one destination each; payloads of {} bytes. Kafka, registry, the four services, \
         generator and receiver share the machine. Flat out first (single posts over 64 connections, batches of 100 over 8, \
         direct publishing), then single posts at 1,000 a second, open loop. Medians over the rounds.",
        sample::PAYLOAD_LEN
    );
    let of = |way: &str, figure: fn(&Run) -> f64| {
        median(runs.iter().filter(|r| r.way == way).map(figure))
    };
    let batches = of("Batches", |run| {
        run.accepted_per_second.min(run.delivered_per_second)
    });
    report.at_least(
        "batches of 100, accepted and delivered",
        batches,
        10_000.0,
        "/s",
    );
    let p99 = of("Paced", |run| run.accept_to_delivered.p99_ms);
    report.at_most(
        "p99 from accept to delivered at 1,000 events/s",
        p99,
        25.0,
        " ms",
    );
    let accepting = of("Paced", |run| run.accepting.p99_ms);
    report.at_most("p99 of the 202 at 1,000 events/s", accepting, 100.0, " ms");
    let rows = ["Singles", "Batches", "Direct", "Paced"].map(|way| {
        let number = |figure| format!("{:.0}", of(way, figure));
        let ms = |figure| format!("{:.1}", of(way, figure));
        let accepted = if way == "Direct" {
            "–".to_owned()
        } else {
            number(|run| run.accepted_per_second)
        };
        let mut row = vec![
            way.to_owned(),
            accepted,
            number(|run| run.delivered_per_second),
        ];
        row.extend([
            ms(|run| run.accept_to_delivered.p50_ms),
            ms(|run| run.accept_to_delivered.p99_ms),
        ]);
        row.extend([
            ms(|run| run.due_to_delivered.p50_ms),
            ms(|run| run.due_to_delivered.p99_ms),
        ]);
        row.extend([
            ms(|r| r.cpu_us[0]),
            ms(|r| r.cpu_us[1]),
            ms(|r| r.cpu_us[2]),
            ms(|r| r.cpu_us[3]),
        ]);
        row
    });
    let head = [
        "",
        "accepted/s",
        "delivered/s",
        "accept→delivered p50, ms",
        "p99",
        "due→delivered p50, ms",
        "p99",
        "ingest, µs",
        "router, µs",
        "sink, µs",
        "retry, µs",
    ];
    report.table(
        "Rates, latencies, and CPU of each service per event",
        &head,
        rows.to_vec(),
    );
    report.note("Flat out, latency is the time in the queue that the generator built up; only the paced row says something.");
    report.data = serde_json::json!({ "runs": runs });
    report
}
