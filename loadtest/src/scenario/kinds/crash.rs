//! What is there twice after the sink was killed in the middle of batches: counted by the stock client of each system, and
//! counted again as the system's own idempotency, or the reader that the guide describes, leaves it.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use uuid::Uuid;

use super::{PATIENCE, Stage, each_place};
use crate::bed::Bed;
use crate::place::{Found, Place};
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, wait};
use crate::services::{Kind, Service};

const DESTINATIONS: u32 = 4;
/// When a sink is killed, after it was ready, in milliseconds.
const KILLED_AFTER_MS: std::ops::Range<u64> = 100..900;

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    server: &'static str,
    events: u64,
    /// SIGKILLs that met work under way.
    kills: u64,
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
    let (events, kills) = if options.quick {
        (4_000, 3)
    } else {
        (40_000, 20)
    };
    let rows: Vec<Row> = each_place!(killed(events, kills, options.seed));
    let mut report = Report::new(
        "kind-crash",
        "Sinks of each kind killed in the middle of batches",
        options.quick,
    );
    report.method = format!(
        "{events} deliveries to {DESTINATIONS} destinations of a kind, in batches of up to 500. The sink is killed (SIGKILL) up \
         to {kills} times, each {} to {} ms after it was ready, started again, and left to finish. Then the stock client \
         of the system reads everything that is there.",
        KILLED_AFTER_MS.start, KILLED_AFTER_MS.end
    );
    for row in &rows {
        let bar = "none missing, none foreign, killed at work";
        let measured = format!(
            "{} missing, {} foreign, {} kills",
            row.missing, row.foreign, row.kills
        );
        let holds = row.missing == 0 && row.foreign == 0 && row.kills > 0;
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

async fn killed<P: Place>(events: u64, kills: u64, seed: u64) -> anyhow::Result<Row> {
    eprintln!("{}", P::NAME);
    let bed = Bed::for_kinds("kind-crash", &[P::KIND]).await?;
    let place = P::start(bed.folder(), DESTINATIONS).await?;
    place.count_offered().await?;
    let stage = Stage::new(&bed, &place, DESTINATIONS)?;
    stage.prefill(DESTINATIONS as usize, events).await?;
    let mut retry = Service::start(&bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::sink(&bed, P::KIND).await?;
    let (mut random, mut met) = (StdRng::seed_from_u64(seed), 0);
    for _ in 0..kills {
        let after = Duration::from_millis(random.random_range(KILLED_AFTER_MS));
        tokio::time::sleep(after).await;
        sink.kill().await?;
        if wait::lag(&bed.bootstrap(), P::KIND).await?.sink == 0 {
            break;
        }
        met += 1;
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
        met,
        &found,
        (0..events).map(sample::event_id),
    ))
}

fn judge<P: Place>(
    events: u64,
    kills: u64,
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
