//! Database: PostgreSQL is killed again and again while events flow and clients change destinations. Deliveries go on,
//! clients are told to try again, and afterwards nothing is half-written.

mod clients;
mod truth;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hashbrown::HashSet;
use pushrail_schemas::identity;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::clients::{Client, Seen};
use self::truth::{Truth, Verdict};
use super::{Options, wait};
use crate::generator::{self, http};
use crate::plane::Plane;
use crate::receiver::{Arrival, Receiver};
use crate::report::Report;
use crate::sample::{self, TENANT};
use crate::services::{Kind, Service};
use crate::stats::Latency;

/// The start, in which connections are opened, is not measured.
const WARM_UP_US: i64 = 3_000_000;
/// How long an old signing secret signs: short, so that the service's own changes meet the kills too.
const OVERLAP_S: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Size {
    destinations: u32,
    per_second: f64,
    clients: u32,
    kills: u32,
    /// From the start to the first kill, from one to the next, and from the last to the end.
    gap: Duration,
    /// How long the database is away, the longest time; the others are shorter.
    away: Duration,
}

impl Size {
    fn new(options: Options) -> Self {
        match options.quick {
            true => Size {
                destinations: 10,
                per_second: 100.0,
                clients: 4,
                kills: 2,
                gap: Duration::from_secs(8),
                away: Duration::from_secs(3),
            },
            false => Size {
                destinations: 40,
                per_second: 300.0,
                clients: 12,
                kills: 5,
                gap: Duration::from_secs(20),
                away: Duration::from_secs(6),
            },
        }
    }

    fn events(self) -> u64 {
        let away = self.away * self.kills;
        ((self.gap * (self.kills + 1) + away).as_secs_f64() * self.per_second) as u64
    }
}

/// One kill, in Unix microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Outage {
    killed_us: i64,
    /// When it took connections again.
    back_us: i64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = Size::new(options);
    let mut plane = Plane::start("database", &[]).await?;
    let receiver = Receiver::start(1).await?;
    let services = plane.services(&[]).await?;
    let ingest = services.iter().find(|service| service.kind == Kind::Ingest);
    let ingest = ingest.context("an ingest")?.listen;
    configure(&plane, &receiver, size).await?;
    let load = http::Load {
        ingest,
        api_key: plane.bed.api_key.clone(),
        connections: 32,
        first: 0,
        events: size.events(),
        batch: 1,
        per_second: Some(size.per_second),
        payload_len: sample::PAYLOAD_LEN,
        customers: size.destinations,
        keys: Some(format!("database-{}", options.seed)),
        patience: Duration::from_secs(60),
    };
    let started_us = pushrail_clock::now_us();
    let generate = load.clone();
    let sending = tokio::spawn(generator::on_own_thread(move || http::run(generate)));
    let stop = Arc::new(AtomicBool::new(false));
    let through = crate::api::Api::new(ingest, plane.bed.api_key.clone())?;
    let clients: Vec<_> = (0..size.clients)
        .map(|number| Client {
            number,
            // Some ask the control plane itself, some by the way that vendors take.
            api: if number % 4 < 2 {
                plane.tenant.clone()
            } else {
                through.clone()
            },
            seed: options.seed,
            stop: Arc::clone(&stop),
        })
        .map(|client| tokio::spawn(client.run()))
        .collect();
    let outages = outages(&mut plane, size).await?;
    tokio::time::sleep(size.gap).await;
    stop.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    for client in clients {
        seen.absorb(client.await?);
    }
    let sent = sending.await??;
    let left = wait::settled(&plane.bed.bootstrap(), Duration::from_secs(120)).await?;
    rotations_ended(&plane).await?;
    let emptied = plane.told().await?;
    let whole = plane.tenant.get("/v1/audit-trail/verify").await?.good()?;
    let arrivals = receiver.arrivals().await?;
    let mut database = plane.database().await?;
    let truth = Truth::read(&mut database, &plane.bed.bootstrap()).await?;
    drop(database);
    let verdict = truth.judge(&seen.changes, &plane.bed.ring)?;
    let ended = ended(services).await;
    plane.stop().await?;
    ended?;

    let delivered: HashSet<u128> = arrivals
        .iter()
        .filter(|arrival| arrival.delivered())
        .map(|arrival| arrival.event_id)
        .collect();
    let accepted = sent.accepted.iter().filter_map(|n| load.key(*n));
    let lost = accepted
        .map(|key| identity::event_id(TENANT, sample::EVENT_TYPE, &key).as_u128())
        .filter(|id| !delivered.contains(id))
        .count();
    let mut report = report(options, size);
    report.check(
        "events accepted and not delivered",
        format!("{lost} of {}", sent.accepted.len()),
        "0",
        lost == 0 && left.total() == 0,
    );
    report.check(
        "events that were not accepted",
        sent.given_up.to_string(),
        "0",
        sent.given_up == 0,
    );
    deliveries(&mut report, options, &arrivals, &outages, started_us);
    answers(&mut report, &seen);
    consistency(&mut report, &verdict, &whole, emptied);
    report.data = json!({"outages": outages, "seen": seen, "verdict": verdict});
    Ok(report)
}

/// Destinations that events go to, one a customer.
async fn configure(plane: &Plane, receiver: &Receiver, size: Size) -> anyhow::Result<()> {
    let overlap = json!({"rotationOverlapSeconds": OVERLAP_S});
    plane.tenant.patch("/v1/tenant", &overlap).await?.good()?;
    for n in 0..size.destinations {
        let path = format!("/v1/customers/{}/destinations", sample::customer(n));
        let body = json!({"kind": "webhook", "config": {"url": receiver.url(n)}, "eventTypes": [sample::EVENT_TYPE]});
        plane.tenant.post(&path, &body).await?.good()?;
    }
    Ok(())
}

/// Kills PostgreSQL and starts it again, as often as the size says.
async fn outages(plane: &mut Plane, size: Size) -> anyhow::Result<Vec<Outage>> {
    let mut outages = Vec::new();
    for n in 1..=size.kills {
        tokio::time::sleep(size.gap).await;
        eprintln!("  SIGKILL {n} of {}: PostgreSQL", size.kills);
        let killed_us = pushrail_clock::now_us();
        plane.postgres.kill().await;
        // From back at once to away for so long that every pool has noticed.
        tokio::time::sleep(size.away * (n - 1) / (size.kills - 1).max(1)).await;
        plane.postgres.restart().await?;
        outages.push(Outage {
            killed_us,
            back_us: pushrail_clock::now_us(),
        });
    }
    Ok(outages)
}

/// Waits until no old secret signs any more: the service changes nothing by itself afterwards.
async fn rotations_ended(plane: &Plane) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut database = plane.database().await?;
    loop {
        let (rotating,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM destinations WHERE rotation_ends_at IS NOT NULL")
                .fetch_one(&mut database)
                .await?;
        if rotating == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < until,
            "{rotating} rotations have not ended:\n{}",
            plane.control.last_words()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn ended(services: Vec<Service>) -> anyhow::Result<()> {
    for mut service in services {
        service.stop().await?;
    }
    Ok(())
}

fn report(options: Options, size: Size) -> Report {
    let mut report = Report::new(
        "database",
        "PostgreSQL killed while the API is in use and events flow",
        options.quick,
    );
    report.method = format!(
        "{:.0} events a second over HTTP to {} destinations; {} API clients, half of them through ingest, create, rename, \
         rotate and delete destinations without a pause, some repeating a creation under its idempotency key until it is \
         answered. PostgreSQL is killed with SIGKILL {} times, and started again after 0 to {} s. Old signing secrets \
         sign for {OVERLAP_S} s, so that the service itself changes destinations too. Afterwards the database, its audit \
         trail and the topics `config` and `audit.changes` are read and compared with each other and with the answers.",
        size.per_second,
        size.destinations,
        size.clients,
        size.kills,
        size.away.as_secs()
    );
    report
}

fn deliveries(
    report: &mut Report,
    options: Options,
    arrivals: &[Arrival],
    outages: &[Outage],
    started_us: i64,
) {
    let first_us = outages.first().map_or(i64::MAX, |outage| outage.killed_us);
    let last_us = outages.last().map_or(i64::MIN, |outage| outage.back_us);
    let warm_us = started_us + WARM_UP_US;
    let is_away = |at: i64| {
        outages
            .iter()
            .any(|o| (o.killed_us..o.back_us).contains(&at))
    };
    let parts: [(&str, &dyn Fn(i64) -> bool); 3] = [
        ("before the first kill", &|at| {
            at >= warm_us && at < first_us
        }),
        ("while PostgreSQL was away", &is_away),
        ("after the last kill", &|at| at >= last_us),
    ];
    let mut sorted: Vec<&Arrival> = arrivals.iter().collect();
    sorted.sort_unstable_by_key(|arrival| arrival.at_us);
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for (what, within) in parts {
        let mine = sorted.iter().filter(|arrival| within(arrival.sent_us));
        let latency = Latency::of(mine.map(|arrival| arrival.at_us - arrival.sent_us));
        let pairs = sorted.windows(2).filter(|pair| within(pair[0].at_us));
        let gaps = pairs.map(|pair| pair[1].at_us - pair[0].at_us);
        let gap_ms = gaps.max().unwrap_or(0) as f64 / 1e3;
        rows.push(vec![
            what.to_owned(),
            latency.count.to_string(),
            format!("{:.1}", latency.p50_ms),
            format!("{:.1}", latency.p99_ms),
            format!("{:.1}", latency.max_ms),
            format!("{gap_ms:.1}"),
        ]);
        figures.push((latency, gap_ms));
    }
    let (before, away) = (figures[0], figures[1]);
    // A quick run has a few hundred deliveries in each part, on whatever machine.
    let slack_ms = if options.quick { 1_000.0 } else { 25.0 };
    report.at_most(
        "p99 of deliveries while PostgreSQL was away",
        away.0.p99_ms,
        (before.0.p99_ms * 1.5 + slack_ms).round(),
        " ms",
    );
    report.at_most(
        "longest gap between deliveries while it was away",
        away.1,
        (before.1 * 1.5 + slack_ms * 4.0).round(),
        " ms",
    );
    let head = ["", "deliveries", "p50, ms", "p99", "max", "longest gap, ms"];
    report.table("Deliveries, from due to arrival", &head, rows);
    let rows = outages.iter().enumerate().map(|(n, outage)| {
        let away_ms = (outage.back_us - outage.killed_us) as f64 / 1e3;
        vec![(n + 1).to_string(), format!("{away_ms:.0}")]
    });
    let head = ["kill", "away until it took connections again, ms"];
    report.table("Kills", &head, rows.collect());
}

fn answers(report: &mut Report, seen: &Seen) {
    let others = seen.others();
    let examples = seen.other_examples.iter().take(5).cloned();
    report.check(
        "API answers that are neither 2xx nor 503",
        format!("{others} {}", examples.collect::<Vec<_>>().join("; ")),
        "0",
        others == 0,
    );
    report.check(
        "503s without Retry-After",
        seen.without_retry_after.to_string(),
        "0",
        seen.without_retry_after == 0,
    );
    let rows = seen.answers.iter();
    let rows = rows.map(|(status, count)| vec![status.clone(), count.to_string()]);
    report.table("API answers", &["status", "answers"], rows.collect());
    let latency = Latency::of(seen.latencies_us.iter().copied());
    report.note(format!(
        "Changes answered 2xx: p50 {:.1} ms, p99 {:.1} ms; the slowest answer of all took {:.0} ms.",
        latency.p50_ms, latency.p99_ms, seen.slowest_ms
    ));
}

fn consistency(report: &mut Report, verdict: &Verdict, whole: &Value, emptied: Duration) {
    let parts = [
        (
            "changes answered 2xx that are missing in state, trail or topic",
            &verdict.missing,
        ),
        (
            "destinations whose state, trail and topic contradict each other",
            &verdict.half,
        ),
        (
            "changes done twice, or never although repeated until answered",
            &verdict.repeated,
        ),
    ];
    for (what, mistakes) in parts {
        let measured = format!("{} {}", mistakes.count, mistakes.examples.join("; "));
        report.check(what, measured, "0", mistakes.count == 0);
    }
    let is_whole = whole["whole"] == true;
    report.check(
        "the audit trail verifies",
        format!("{is_whole}, {} rows", whole["rows"]),
        "true",
        is_whole,
    );
    report.check(
        "the outbox empties",
        format!(
            "yes, {:.0} ms after the last change",
            emptied.as_secs_f64() * 1e3
        ),
        "yes",
        true,
    );
    report.note(format!(
        "{} destinations and {} rows of the trail were compared. Of {} changes that were answered 503 or not at all, {} had \
         been done as a whole, the others not at all.",
        verdict.destinations, verdict.trail_rows, verdict.unknown, verdict.unknown_done
    ));
}
