//! Bad input: what is malformed is told what is wrong, by everything that takes input, and changes nothing.
//!
//! Requests and records go to a running ingest, configurations to the command line, settings to each service. What each
//! says is put into a table as it came; the topics say whether anything has changed.

mod configurations;
mod records;
mod requests;

use anyhow::Context as _;
use pushrail_topology::topics;
use serde::Serialize;

use self::configurations::Asked;
use super::Options;
use crate::bed::Bed;
use crate::kafka;
use crate::report::Report;
use crate::services::{Kind, Service};

/// Malformed inputs that the table must have, at least.
const ROWS_MIN: usize = 30;
const TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// One malformed input and what it met.
#[derive(Clone, Debug, Serialize)]
struct Row {
    what: String,
    /// Status, reason or exit code.
    outcome: String,
    /// What is said about it.
    error: String,
    /// Whether outcome and error are what they should be.
    is_clear: bool,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let bed = Bed::start("bad-input").await?;
    let mut ingest = Service::start(&bed, Kind::Ingest, "ingest", &[]).await?;
    let asked = Asked::start(&bed).await?;
    told(&bed).await?;
    let before = Counts::take(&bed)?;
    let (requests, accepted) = requests::run(&bed, &ingest).await?;
    let events = Counts::take(&bed)?.events - before.events;
    let records = records::run(&bed).await?;
    let configurations = configurations::run(&bed, &asked).await?;
    let after = Counts::take(&bed)?;
    ingest.stop().await?;
    asked.stop().await?;
    bed.stop().await;

    let mut report = Report::new("bad-input", "Bad input", options.quick);
    report.method = "Each malformed input by itself: requests over HTTP and records on the tenant's direct topic to a running \
         ingest, configurations and settings to the command line. Afterwards the topics are counted."
        .to_owned();
    let parts = [
        ("Requests", requests),
        ("Records published directly", records),
        ("Configurations and settings", configurations),
    ];
    let all: usize = parts.iter().map(|(_, rows)| rows.len()).sum();
    report.at_least("malformed inputs", all as f64, ROWS_MIN as f64, "");
    for (title, rows) in &parts {
        let unclear: Vec<&str> = rows
            .iter()
            .filter(|row| !row.is_clear)
            .map(|row| &*row.what)
            .collect();
        report.check(
            format!("{title}: without a clear error"),
            format!("{} {}", unclear.len(), unclear.join(", ")),
            "0",
            unclear.is_empty(),
        );
        let lines = rows.iter().map(|row| {
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
            vec![cell(&row.what), cell(&row.outcome), cell(&row.error)]
        });
        report.table(*title, &["input", "outcome", "error"], lines.collect());
    }
    let expected = format!("{accepted}, the well-formed neighbours in batches");
    report.check(
        "events written by the requests",
        events.to_string(),
        expected,
        events == accepted,
    );
    let changed = after.events - before.events - events;
    report.check(
        "events written by the records",
        changed.to_string(),
        "0",
        changed == 0,
    );
    let changed = after.config - before.config;
    report.check(
        "configuration written",
        changed.to_string(),
        "0",
        changed == 0,
    );
    report.data =
        serde_json::json!({ "rows": parts.iter().map(|(t, r)| (t, r)).collect::<Vec<_>>() });
    Ok(report)
}

/// Waits until Kafka was told of the tenant and the key that the control plane has made, beside those of the bed.
async fn told(bed: &Bed) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + TOLD_WITHIN;
    while Counts::take(bed)?.config < 4 {
        anyhow::ensure!(tokio::time::Instant::now() < until, "Kafka was not told");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Records on the topics that must not change.
struct Counts {
    events: u64,
    config: u64,
}

impl Counts {
    fn take(bed: &Bed) -> anyhow::Result<Self> {
        let count = |topic: &str| -> anyhow::Result<u64> {
            let marks = kafka::watermarks(&bed.bootstrap(), topic)
                .with_context(|| format!("cannot count {topic}"))?;
            Ok(marks.iter().map(|(_, _, high)| *high as u64).sum())
        };
        Ok(Counts {
            events: count(topics::EVENTS)?,
            config: count(topics::CONFIG)?,
        })
    }
}
