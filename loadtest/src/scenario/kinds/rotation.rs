//! Credentials replaced and taken away while deliveries flow, through the API: what replaces one loses nothing, and what
//! takes one away stops its destination and nobody else's.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::headers::{self, Delivery};
use pushrail_topology::topics;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{Load, PATIENCE};
use crate::api::{Api, text};
use crate::generator::Pace;
use crate::kafka;
use crate::place::{Found, Guarded, GuardedKafka, GuardedPostgres, GuardedS3};
use crate::plane::Plane;
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, wait};
use crate::services::{Kind, Service};

/// Destinations, by what happens to their credential: one is replaced, one is taken away, and the third is left alone.
const REPLACED: u32 = 0;
const REVOKED: u32 = 1;
const DESTINATIONS: u32 = 3;
/// When, in shares of the run: the first is replaced twice.
const REPLACED_AT: [f64; 2] = [0.15, 0.4];
const REVOKED_AT: f64 = 0.65;
/// How long the old credential is left beside the new one.
const OVERLAP: Duration = Duration::from_secs(3);
/// Events for the destination whose credential was taken away, after its owner entered another.
const AFTERWARDS: u64 = 200;

#[derive(Debug, Default, Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    server: &'static str,
    events: u64,
    /// Attempts of the replaced and of the untouched destination that failed, by code.
    failed: Vec<String>,
    /// Events of the three that arrived nowhere: neither there nor among the dead letters.
    missing: usize,
    /// Events that arrived more than once.
    twice: usize,
    /// Dead letters of the destination whose credential was taken away, by reason.
    dead: Vec<String>,
    /// Dead letters of the other two.
    dead_of_others: u64,
    /// From the moment at which the credential was taken away to the first attempt that was told so, in milliseconds.
    told_after_ms: Option<f64>,
    /// Of the events sent after a new credential was entered.
    mended: u64,
}

pub(in crate::scenario) async fn run(options: Options) -> anyhow::Result<Report> {
    let (events, per_second) = if options.quick {
        (3_000, 300.0)
    } else {
        (30_000, 600.0)
    };
    let rows = [
        replaced::<GuardedS3>(events, per_second).await?,
        replaced::<GuardedPostgres>(events, per_second).await?,
        replaced::<GuardedKafka>(events, per_second).await?,
    ];
    let mut report = Report::new(
        "kind-rotation",
        "Credentials replaced and taken away while deliveries flow",
        options.quick,
    );
    report.method = format!(
        "{events} deliveries at {per_second:.0} a second to three destinations of a kind, each with a credential of its own that \
         its server checks. The first one's is replaced twice through the API (made at the server, entered, and {OVERLAP:?} \
         later the old one is taken away, where a server has two at a time). The second one's is taken away; at the end its \
         owner enters another, and {AFTERWARDS} more are sent to it. The third is left alone. Failures are counted in the \
         audit, arrivals by the stock client."
    );
    for row in &rows {
        let quiet = row.failed.is_empty() && row.dead_of_others == 0;
        report.check(
            format!(
                "{}: attempts of the replaced and the untouched one that failed",
                row.name
            ),
            format!("{} {}", row.failed.len(), row.failed.join(", ")),
            "0",
            quiet,
        );
        report.check(
            format!("{}: events that are nowhere", row.name),
            row.missing.to_string(),
            "0",
            row.missing == 0,
        );
        let told = row.told_after_ms.is_some();
        report.check(
            format!(
                "{}: the revoked one is suspended, and goes on with a new credential",
                row.name
            ),
            format!("{}; {} of {AFTERWARDS}", row.dead.join(", "), row.mended),
            "suspended, all",
            told && row.mended == AFTERWARDS,
        );
    }
    let lines = rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            row.server.to_owned(),
            row.events.to_string(),
            row.failed.len().to_string(),
            row.twice.to_string(),
            row.dead.join(", "),
            row.told_after_ms
                .map_or("never".to_owned(), |ms| format!("{ms:.0}")),
            row.mended.to_string(),
        ]
    });
    report.table(
        "What became of the deliveries",
        &[
            "kind",
            "server",
            "events",
            "failed attempts of those that kept one",
            "arrived twice",
            "dead letters of the revoked one",
            "told after, ms",
            "arrived after it was mended",
        ],
        lines.collect(),
    );
    report.data = json!({ "kinds": rows });
    Ok(report)
}

async fn replaced<G: Guarded>(events: u64, per_second: f64) -> anyhow::Result<Row> {
    eprintln!("{}", G::NAME);
    let plane = Plane::for_kinds("kind-rotation", &[G::KIND], &[]).await?;
    let mut server = G::start(plane.bed.folder(), DESTINATIONS).await?;
    let mut destinations = Vec::new();
    for number in 0..DESTINATIONS {
        destinations.push(create(&plane.tenant, &server, number).await?);
    }
    plane.told().await?;
    let mut retry = Service::start(&plane.bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::sink(&plane.bed, G::KIND).await?;
    let ids: Vec<Uuid> = destinations.iter().map(|(id, _)| *id).collect();
    let load = Load {
        bootstrap: plane.bed.bootstrap(),
        schema_id: plane.bed.ids.event,
        topic: topics::deliver(G::KIND),
        ids: ids.clone(),
    };
    let pace = Pace::start(Some(per_second));
    let sending = tokio::spawn(load.clone().send(events, pace));
    let path = |number: u32| destinations[number as usize].1.as_str();
    for share in REPLACED_AT {
        pace.due((events as f64 * share) as u64).await;
        let body = server.renew(REPLACED).await?;
        plane.tenant.patch(path(REPLACED), &body).await?.good()?;
        tokio::time::sleep(OVERLAP).await;
        server.retire(REPLACED).await?;
    }
    pace.due((events as f64 * REVOKED_AT) as u64).await;
    server.revoke(REVOKED).await?;
    let revoked_us = pushrail_clock::now_us();
    sending.await??;
    let left = wait::settled_of(&plane.bed.bootstrap(), G::KIND, PATIENCE).await?;
    anyhow::ensure!(
        left.total() == 0,
        "{left:?} is left:\n{}",
        sink.last_words()
    );
    let body = server.renew(REVOKED).await?;
    plane.tenant.patch(path(REVOKED), &body).await?.good()?;
    plane.told().await?;
    load.to_one(REVOKED, events, AFTERWARDS).await?;
    let left = wait::settled_of(&plane.bed.bootstrap(), G::KIND, PATIENCE).await?;
    anyhow::ensure!(
        left.total() == 0,
        "{left:?} is left:\n{}",
        sink.last_words()
    );
    sink.stop().await?;
    retry.stop().await?;
    let found = server.found().await?;
    let row = judge::<G>(&load, events, &found, revoked_us)?;
    plane.stop().await?;
    Ok(row)
}

/// Creates a destination through the API; returns its id and its path.
async fn create(api: &Api, server: &impl Guarded, number: u32) -> anyhow::Result<(Uuid, String)> {
    let (config, secrets) = server.destination(number);
    let path = format!("/v1/customers/{}/destinations", sample::customer(number));
    let body = json!({
        "kind": kind_of(server), "name": format!("{number}"), "config": config, "secrets": secrets,
        "batch": {"records": 100, "ageMs": 200},
    });
    let made = api.post(&path, &body).await?.good()?;
    let id = text(&made, "destinationId")?;
    Ok((id.parse()?, format!("{path}/{id}")))
}

fn kind_of<G: Guarded>(_: &G) -> &'static str {
    G::KIND
}

fn judge<G: Guarded>(
    load: &Load,
    events: u64,
    found: &Found,
    revoked_us: i64,
) -> anyhow::Result<Row> {
    let mut row = Row {
        kind: G::KIND,
        name: G::NAME,
        server: G::SERVER,
        events,
        ..Row::default()
    };
    let mut times: HashMap<Uuid, usize> = HashMap::new();
    found
        .ids
        .iter()
        .for_each(|id| *times.entry(*id).or_default() += 1);
    row.twice = times.values().filter(|times| **times > 1).count();
    let (mut dead, mut reasons) = (HashSet::new(), HashMap::<String, u64>::new());
    let numbers: HashMap<Uuid, u32> = load.ids.iter().zip(0..).map(|(id, n)| (*id, n)).collect();
    kafka::read_all(&load.bootstrap, &topics::dlq(G::KIND), |message| {
        let Some((event, destination, reason)) = dead_letter(message) else {
            return;
        };
        dead.insert(event);
        match numbers.get(&destination) {
            Some(&REVOKED) => *reasons.entry(reason).or_default() += 1,
            _ => row.dead_of_others += 1,
        }
    })?;
    row.dead = reasons
        .iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    let mut first_told = None::<i64>;
    kafka::read_all(&load.bootstrap, topics::AUDIT_ATTEMPTS, |message| {
        let Some(Ok(attempt)) = message.payload().map(Attempt::parse) else {
            return;
        };
        let number = attempt.destination_id.and_then(|id| numbers.get(&id));
        match (attempt.outcome, number) {
            (Outcome::Suspended, Some(&REVOKED)) => {
                let told = attempt.started_at_us + attempt.latency_us;
                first_told = Some(first_told.map_or(told, |first| first.min(told)));
            }
            (Outcome::Delivered | Outcome::Queued, _) | (_, Some(&REVOKED) | None) => {}
            (_, Some(_)) => row.failed.push(attempt.code.unwrap_or_default().to_owned()),
        }
    })?;
    row.told_after_ms = first_told.map(|told| (told - revoked_us) as f64 / 1e3);
    let all = (0..events).map(sample::event_id);
    row.missing = all
        .filter(|id| !times.contains_key(id) && !dead.contains(id))
        .count();
    let mended = (events..events + AFTERWARDS).map(sample::event_id);
    row.mended = mended.filter(|id| times.contains_key(id)).count() as u64;
    Ok(row)
}

/// Event, destination and reason of a dead letter.
fn dead_letter(message: &BorrowedMessage<'_>) -> Option<(Uuid, Uuid, String)> {
    let all = message.headers()?;
    let pairs = || {
        all.iter()
            .filter_map(|header| Some((header.key, header.value?)))
    };
    let delivery = Delivery::parse(pairs()).ok()?;
    let (_, reason) = pairs().find(|(name, _)| *name == headers::FAILURE_REASON)?;
    let reason = String::from_utf8_lossy(reason).into_owned();
    Some((delivery.event_id, delivery.destination_id, reason))
}
