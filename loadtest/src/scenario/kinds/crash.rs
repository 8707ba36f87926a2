//! What is there twice after the sink was killed in the middle of batches: counted by the stock client of each system, and
//! counted again as the system's own idempotency, or the reader that the guide describes, leaves it.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{PATIENCE, Stage, each_place};
use crate::bed::Bed;
use crate::place::{Found, Place};
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, wait};
use crate::services::{Kind, Service, total_of};

const DESTINATIONS: u32 = 4;
/// How long a sink may take to join its group and begin.
const AT_WORK_WITHIN: Duration = Duration::from_secs(15);
/// When a sink is killed, after it has a batch under way, in milliseconds.
const KILLED_AFTER_MS: std::ops::Range<u64> = 0..400;

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    server: &'static str,
    events: u64,
    /// SIGKILLs of a sink that had deliveries left.
    kills: u64,
    /// Of those: that came when a batch was under way, by the sink's own last word.
    met_batches: u64,
    rows: usize,
    distinct: usize,
    missing: usize,
    /// Rows of no event of this run.
    foreign: usize,
    /// Rows that were offered, where the server counts them.
    offered: Option<u64>,
    most_often: usize,
}

pub(in crate::scenario) async fn run(options: Options) -> anyhow::Result<Report> {
    let (scale, kills) = if options.quick { (10, 3) } else { (1, 20) };
    let rows: Vec<Row> = each_place!(killed(scale, kills, options.seed));
    let mut report = Report::new(
        "kind-crash",
        "Sinks of each kind killed in the middle of batches",
        options.quick,
    );
    report.method = format!(
        "Deliveries to {DESTINATIONS} destinations of a kind, in batches of up to 500. The sink is killed (SIGKILL) up to {kills} \
         times, each {} to {} ms after it had its first batch under way, started again, and left to finish. Then the stock \
         client of the system reads everything that is there.",
        KILLED_AFTER_MS.start, KILLED_AFTER_MS.end
    );
    for row in &rows {
        let bar = "none missing, none foreign, killed with batches under way";
        let measured = format!(
            "{} missing, {} foreign, {} kills of which {} with batches under way",
            row.missing, row.foreign, row.kills, row.met_batches
        );
        let holds = row.missing == 0 && row.foreign == 0 && row.met_batches > 0;
        report.check(row.name, measured, bar, holds);
    }
    for row in rows.iter().filter(|row| is_idempotent(row.name)) {
        report.check(
            format!("{}: rows beyond one an event", row.name),
            (row.rows - row.distinct).to_string(),
            "0",
            row.rows == row.distinct,
        );
    }
    let lines = rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            row.server.to_owned(),
            row.events.to_string(),
            row.kills.to_string(),
            row.met_batches.to_string(),
            row.offered
                .map_or("not counted".to_owned(), |n| n.to_string()),
            row.rows.to_string(),
            (row.rows - row.distinct).to_string(),
            format!(
                "{:.1}",
                (row.rows - row.distinct) as f64 / row.kills.max(1) as f64
            ),
            row.most_often.to_string(),
            row.distinct.to_string(),
        ]
    });
    report.table(
        "Rows, as the stock client counts them",
        &[
            "kind",
            "server",
            "events",
            "kills",
            "with batches under way",
            "rows offered",
            "rows there",
            "there twice",
            "a kill",
            "most often",
            "distinct event ids",
        ],
        lines.collect(),
    );
    report.note(
        "A standard queue, a bucket and a Kafka topic keep what they are given: a reader counts each event id once, as the guides say. \
         A FIFO queue drops a repeat by its deduplication id within five minutes, a table by its primary key.",
    );
    report.data = serde_json::json!({ "kinds": rows });
    Ok(report)
}

/// Whether the system itself removes repeats.
fn is_idempotent(name: &str) -> bool {
    use crate::place::{Fifo, Postgres};
    [Fifo::NAME, Postgres::NAME].contains(&name)
}

/// How many events keep a sink at work between its kills: an emulator in Python takes fewer than a database.
fn events(kind: &str) -> u64 {
    match kind {
        "sqs" | "bigquery" => 20_000,
        "s3" => 100_000,
        _ => 400_000,
    }
}

/// Waits until the sink has a batch under way, or for as long as it may take to have none.
async fn at_work(sink: &Service) -> anyhow::Result<()> {
    let until = Instant::now() + AT_WORK_WITHIN;
    while Instant::now() < until && under_way(sink).await? == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Calls that the sink has under way: it says so ten times a second.
async fn under_way(sink: &Service) -> anyhow::Result<u64> {
    let page = sink.metrics().await?;
    Ok(total_of(&page, "pushrail_sink_in_flight_attempts"))
}

async fn killed<P: Place>(scale: u64, kills: u64, seed: u64) -> anyhow::Result<Row> {
    let events = events(P::KIND) / scale;
    eprintln!("{}", P::NAME);
    let bed = Bed::for_kinds("kind-crash", &[P::KIND]).await?;
    let place = P::start(bed.folder(), DESTINATIONS).await?;
    place.count_offered().await?;
    let stage = Stage::new(&bed, &place, DESTINATIONS)?;
    stage.prefill(DESTINATIONS as usize, events).await?;
    let mut retry = Service::start(&bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::sink(&bed, P::KIND).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut met, mut met_batches) = (0, 0);
    for _ in 0..kills {
        at_work(&sink).await?;
        let after = Duration::from_millis(random.random_range(KILLED_AFTER_MS));
        tokio::time::sleep(after).await;
        let batches = under_way(&sink).await?;
        sink.kill().await?;
        if wait::lag(&bed.bootstrap(), P::KIND).await?.sink == 0 {
            break;
        }
        met += 1;
        met_batches += u64::from(batches > 0);
        sink.start_again()?;
        sink.ready().await?;
    }
    sink.revive()?;
    let left = wait::settled_of(&bed.bootstrap(), P::KIND, PATIENCE).await?;
    anyhow::ensure!(
        left.total() == 0,
        "{}: {left:?} is left:\n{}",
        P::NAME,
        sink.last_words()
    );
    sink.stop().await?;
    retry.stop().await?;
    let found = place.found().await?;
    bed.stop().await;
    Ok(judge::<P>(
        events,
        (met, met_batches),
        &found,
        (0..events).map(sample::event_id),
    ))
}

fn judge<P: Place>(
    events: u64,
    (kills, met_batches): (u64, u64),
    found: &Found,
    expected: impl Iterator<Item = Uuid>,
) -> Row {
    let mut times: HashMap<Uuid, usize> = HashMap::new();
    for id in &found.ids {
        *times.entry(*id).or_default() += 1;
    }
    let expected: HashSet<Uuid> = expected.collect();
    Row {
        kind: P::KIND,
        name: P::NAME,
        server: P::SERVER,
        events,
        kills,
        met_batches,
        rows: found.ids.len(),
        distinct: times.len(),
        missing: expected
            .iter()
            .filter(|id| !times.contains_key(*id))
            .count(),
        foreign: times.keys().filter(|id| !expected.contains(*id)).count(),
        offered: found.offered,
        most_often: times.values().copied().max().unwrap_or(0),
    }
}
