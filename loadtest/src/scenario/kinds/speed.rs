//! A sink of each kind against the stock client of its system, doing the same work in the same run.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{BATCH, PATIENCE, Stage, each_place};
use crate::bed::Bed;
use crate::machine;
use crate::place::{Place, Posted, Stock};
use crate::report::Report;
use crate::scenario::{Options, wait};
use crate::services::Service;

const DESTINATIONS: u32 = 10;
/// Calls that the stock client has under way for a destination: the better of these counts.
const STOCK_CALLS: [u32; 2] = [1, 2];

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    server: &'static str,
    events: u64,
    /// Events a second.
    stock: f64,
    stock_calls: u32,
    sink: f64,
    sink_cpu_us: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.sink / self.stock
    }
}

pub(in crate::scenario) async fn run(options: Options) -> anyhow::Result<Report> {
    let scale = if options.quick { 20 } else { 1 };
    let rows: Vec<Row> = each_place!(measure(scale));
    let mut report = Report::new(
        "kind-speed",
        "Sinks of each kind against stock clients",
        options.quick,
    );
    report.method = format!(
        "{DESTINATIONS} destinations of a kind. The stock client sends ready events in batches of 500, with {STOCK_CALLS:?} \
         calls under way a destination (the better counts); then the sink of that kind drains as many events from Kafka, \
         in batches of up to 500, with its audit and its offsets. The sink's time begins when the process is started and \
         ends when its last offset is committed."
    );
    for row in &rows {
        report.at_least(row.name, row.ratio(), 0.5, " of the stock client");
    }
    let lines = rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            row.server.to_owned(),
            row.events.to_string(),
            format!("{:.0} ({} calls)", row.stock, row.stock_calls),
            format!("{:.0}", row.sink),
            format!("{:.2}", row.ratio()),
            format!("{:.0}", row.sink_cpu_us),
        ]
    });
    report.table(
        "Events a second",
        &[
            "kind",
            "server",
            "events",
            "stock client",
            "sink",
            "ratio",
            "CPU an event in the sink, µs",
        ],
        lines.collect(),
    );
    report.data = serde_json::json!({ "kinds": rows });
    Ok(report)
}

/// How many events take long enough to be timed: an emulator in Python takes fewer than a database.
fn events(kind: &str) -> u64 {
    match kind {
        "sqs" | "bigquery" => 20_000,
        "s3" => 200_000,
        _ => 300_000,
    }
}

async fn measure<P: Place>(scale: u64) -> anyhow::Result<Row> {
    let count = events(P::KIND) / scale;
    let bed = Bed::for_kinds("kind-speed", &[P::KIND]).await?;
    let (mut stock, mut stock_calls) = (0.0, 0);
    for calls in STOCK_CALLS {
        eprintln!("{}: the stock client, {calls} calls a destination", P::NAME);
        // A place of its own each: nobody is slowed down by what another left.
        let place = P::start(bed.folder(), DESTINATIONS).await?;
        let rate = by_stock_client(&place, calls, count).await?;
        if rate > stock {
            (stock, stock_calls) = (rate, calls);
        }
    }
    let place = P::start(bed.folder(), DESTINATIONS).await?;
    let stage = Stage::new(&bed, &place, DESTINATIONS)?;
    stage.prefill(DESTINATIONS as usize, count).await?;
    eprintln!("{}: the sink", P::NAME);
    let started = Instant::now();
    let mut service = Service::sink(&bed, P::KIND).await?;
    wait::sink_settled(&bed.bootstrap(), P::KIND, PATIENCE).await?;
    let took = started.elapsed();
    let cpu_us = machine::cpu_us(service.pid());
    service.stop().await?;
    let found = place.found().await?;
    anyhow::ensure!(
        found.ids.len() as u64 >= count,
        "{}: {} of {count} arrived:\n{}",
        P::NAME,
        found.ids.len(),
        service.last_words()
    );
    bed.stop().await;
    Ok(Row {
        kind: P::KIND,
        name: P::NAME,
        server: P::SERVER,
        events: count,
        stock,
        stock_calls,
        sink: rate(count, took),
        sink_cpu_us: cpu_us as f64 / count as f64,
    })
}

/// Events a second, over all destinations at once.
async fn by_stock_client<P: Place>(place: &P, calls: u32, count: u64) -> anyhow::Result<f64> {
    let batch = u64::from(BATCH.records.unwrap_or(500));
    let senders = DESTINATIONS * calls;
    let each = count / u64::from(senders);
    let mut ready = Vec::new();
    for sender in 0..senders {
        let number = sender / calls;
        let first = u64::from(sender) * each;
        let events = (first..first + each).map(|sequence| Posted::new(sequence, number));
        ready.push((place.stock(number).await?, events.collect::<Vec<_>>()));
    }
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (mut stock, events) in ready {
        running.spawn(async move {
            for part in events.chunks(batch as usize) {
                stock.send(part).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(rate(each * u64::from(senders), started.elapsed()))
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
