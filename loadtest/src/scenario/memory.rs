//! Memory of the sink: with a backlog of a million deliveries, with one that receivers hold up by hanging, and with
//! 100,000 configured destinations of which 1,000 are active.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_topology::topics;
use tokio::time::Instant;

use super::{Options, wait};
use crate::bed::Bed;
use crate::destinations::Family;
use crate::kafka::{self, Prefill};
use crate::machine::{self, Memory};
use crate::receiver::{Behaviour, Plan, Receiver, Rule};
use crate::report::Report;
use crate::sample;
use crate::services::{Kind, Service};

/// What a sink may hold with any backlog: what it has prefetched and queued, and its program.
const BACKLOG_MIB_MAX: f64 = 256.0;
/// The same with the configuration of 100,000 destinations, some 2 KiB each at most.
const DESTINATIONS_MIB_MAX: f64 = 384.0;

/// Memory of a sink at one moment.
#[derive(Clone, Debug, serde::Serialize)]
struct Row {
    what: String,
    rss_mib: f64,
    peak_mib: f64,
}

impl Row {
    fn new(what: impl Into<String>, memory: Memory) -> Self {
        let mib = |kib: u64| kib as f64 / 1024.0;
        Row {
            what: what.into(),
            rss_mib: mib(memory.rss_kib),
            peak_mib: mib(memory.peak_kib),
        }
    }
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let scale = if options.quick { 50 } else { 1 };
    let mut rows = Vec::new();
    backlog(100_000 / scale, &mut rows).await?;
    backlog(1_000_000 / scale, &mut rows).await?;
    let hold = Duration::from_secs(if options.quick { 3 } else { 20 });
    held_up(200_000 / scale, hold, &mut rows).await?;
    many(100_000 / scale as u32, 1_000 / scale as u32, &mut rows).await?;
    let mut report = Report::new("memory", "Memory of the sink", options.quick);
    report.method = format!(
        "Resident memory (VmRSS) and its peak (VmHWM) of one sink process. Backlogs of {} and of {} deliveries of {} byte \
         events to 1,000 destinations, drained; a backlog of {} to receivers that all hang at first; and {} configured \
         destinations of which {} get deliveries.",
        100_000 / scale,
        1_000_000 / scale,
        sample::VALUE_LEN,
        200_000 / scale,
        100_000 / scale,
        1_000 / scale
    );
    let peak = |prefix: &str| {
        let of = rows.iter().filter(|row| row.what.starts_with(prefix));
        of.map(|row| row.peak_mib).fold(0.0, f64::max)
    };
    report.at_most(
        "peak with the backlog",
        peak("backlog"),
        BACKLOG_MIB_MAX,
        " MiB",
    );
    report.at_most(
        "peak with many destinations",
        peak("destinations"),
        DESTINATIONS_MIB_MAX,
        " MiB",
    );
    let lines = rows.iter().map(|row| {
        vec![
            row.what.clone(),
            format!("{:.0}", row.rss_mib),
            format!("{:.0}", row.peak_mib),
        ]
    });
    report.table(
        "Memory",
        &["", "RSS, MiB", "peak so far, MiB"],
        lines.collect(),
    );
    report.data = serde_json::json!({ "rows": rows });
    Ok(report)
}

async fn prefill(bed: &Bed, family: &Family, active: u32, count: u64) -> anyhow::Result<()> {
    let (bootstrap, schema_id) = (bed.bootstrap(), bed.ids.event);
    let ids = family.ids[..active as usize].to_vec();
    tokio::task::spawn_blocking(move || {
        kafka::prefill(&Prefill {
            bootstrap: &bootstrap,
            topic: &topics::deliver("webhook"),
            schema_id,
            destinations: &ids,
            first: 0,
            count,
            value_len: sample::VALUE_LEN,
        })
    })
    .await?
}

/// A backlog, drained straight away.
async fn backlog(count: u64, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bed = Bed::start("memory").await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(30, 1_000);
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    prefill(&bed, &family, family.len(), count).await?;
    let mut sink = Service::start(&bed, Kind::Sink, "sink", &[]).await?;
    rows.push(Row::new(
        format!("backlog of {count}: ready"),
        machine::memory(sink.pid()),
    ));
    let started = Instant::now();
    let patience = Duration::from_secs(20);
    wait::delivered(&receiver, 0, count, patience, "backlog")
        .await
        .with_context(|| sink.last_words())?;
    let drained = format!(
        "backlog of {count}: drained in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    rows.push(Row::new(drained, machine::memory(sink.pid())));
    sink.stop().await?;
    bed.stop().await;
    Ok(())
}

/// A backlog to receivers that all hang at first.
async fn held_up(count: u64, hold: Duration, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bed = Bed::start("memory").await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(32, 1_000);
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    prefill(&bed, &family, family.len(), count).await?;
    let rule = Rule::always(0, family.len(), Behaviour::Hang).between(0, hold.as_millis() as u64);
    receiver.set_plan(&Plan { rules: vec![rule] }).await?;
    let mut retry = Service::start(&bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::start(&bed, Kind::Sink, "sink", &[]).await?;
    tokio::time::sleep(hold).await;
    let hung = format!(
        "held up, {count}: after {} s in which every receiver hung",
        hold.as_secs()
    );
    rows.push(Row::new(hung, machine::memory(sink.pid())));
    let patience = Duration::from_secs(60);
    // What was put off comes back through the tiers, so all of it is delivered in the end.
    wait::delivered(&receiver, 0, count, patience, "held up")
        .await
        .with_context(|| sink.last_words())?;
    rows.push(Row::new(
        format!("held up, {count}: all delivered"),
        machine::memory(sink.pid()),
    ));
    sink.stop().await?;
    retry.stop().await?;
    bed.stop().await;
    Ok(())
}

/// Many destinations, few of them active.
async fn many(configured: u32, active: u32, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bed = Bed::start("memory").await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(31, configured);
    eprintln!("  configuring {configured} destinations");
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    let mut sink = Service::start(&bed, Kind::Sink, "sink", &[]).await?;
    rows.push(Row::new(
        format!("destinations: {configured} configured, none active"),
        machine::memory(sink.pid()),
    ));
    let count = u64::from(active) * 100;
    prefill(&bed, &family, active, count).await?;
    let patience = Duration::from_secs(60);
    wait::delivered(&receiver, 0, count, patience, "active")
        .await
        .with_context(|| sink.last_words())?;
    let what = format!("destinations: {active} active, {count} deliveries");
    rows.push(Row::new(what, machine::memory(sink.pid())));
    sink.stop().await?;
    bed.stop().await;
    Ok(())
}
