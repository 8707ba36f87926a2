//! How fast the index is written: alone, and beside a sink that delivers as fast as it can; and what that costs the sink.

use std::time::Duration;

use pushrail_topology::topics;
use tokio::time::Instant;

use super::{caught_up, counted, sizes};
use crate::destinations::Family;
use crate::kafka::{self, Prefill};
use crate::plane::Plane;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, drain};
use crate::services::Kind;

const DESTINATIONS: u32 = 100;
const SALT: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(30);
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(600);

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let count: u64 = if options.quick { 20_000 } else { 400_000 };
    let plane = Plane::start("log-indexing", &[]).await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(SALT, DESTINATIONS);
    let bed = &plane.bed;
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
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
    // Whoever comes first pays for connections and compilers.
    drained(&plane, &receiver, count).await?;
    let alone = drained(&plane, &receiver, count).await?;

    let url = plane.postgres.url();
    let arguments = ["--database", &url, "--workers", "2"];
    let started = Instant::now();
    let mut log = plane.service(Kind::Log, &arguments).await?;
    caught_up(&plane, &log, CATCHES_UP_WITHIN).await?;
    let index_alone = (2 * count) as f64 / started.elapsed().as_secs_f64();
    let cpu_us = log.cpu_us() as f64 / (2 * count) as f64;

    let mut database = plane.database().await?;
    let before = counted(&mut database).await?.0;
    let started = Instant::now();
    let beside = drained(&plane, &receiver, count).await?;
    let indexed = counted(&mut database).await?.0 - before;
    let index_beside = indexed as f64 / started.elapsed().as_secs_f64();
    let behind = caught_up(&plane, &log, CATCHES_UP_WITHIN).await?;

    let (rows, different) = counted(&mut database).await?;
    let (heap, indexes) = sizes(&mut database).await?;
    log.stop().await?;
    plane.stop().await?;

    let mut report = Report::new("log-indexing", "Writing the delivery log", options.quick);
    report.method = format!(
        "A sink drains {count} deliveries of {} byte events to {DESTINATIONS} destinations three times: twice without the \
         log, the first to warm up, and once beside it. In between the log reads the audit records of both. Everything, \
         PostgreSQL included, is on one machine.",
        sample::VALUE_LEN
    );
    let expected = 3 * count as i64;
    report.check(
        "attempts in the index",
        format!("{rows}, {different} different"),
        format!("{expected}: nothing missing, nothing double"),
        rows == expected && different == expected,
    );
    let per = |bytes: i64| format!("{:.0}", bytes as f64 / rows.max(1) as f64);
    let head = ["", "figure"];
    let lines = [
        ("sink without the log, deliveries/s", format!("{alone:.0}")),
        ("sink beside the log, deliveries/s", format!("{beside:.0}")),
        (
            "beside, against without",
            format!("{:.2} ×", beside / alone.max(1.0)),
        ),
        ("index alone, attempts/s", format!("{index_alone:.0}")),
        (
            "index beside the sink, attempts/s",
            format!("{index_beside:.0}"),
        ),
        (
            "caught up after the sink was done, s",
            format!("{:.1}", behind.as_secs_f64()),
        ),
        (
            "CPU of pushrail log per attempt, µs",
            format!("{cpu_us:.1}"),
        ),
        ("bytes on disk per attempt: rows", per(heap)),
        ("bytes on disk per attempt: indexes", per(indexes)),
    ];
    let lines = lines.map(|(what, figure)| vec![what.to_owned(), figure]);
    report.table("Rates and sizes", &head, lines.to_vec());
    report.data = serde_json::json!({
        "alone": alone, "beside": beside, "index_alone": index_alone, "index_beside": index_beside,
        "behind_s": behind.as_secs_f64(), "cpu_us": cpu_us, "heap": heap, "indexes": indexes, "rows": rows,
    });
    Ok(report)
}

/// The sink drains the whole backlog; deliveries a second.
async fn drained(plane: &Plane, receiver: &Receiver, count: u64) -> anyhow::Result<f64> {
    receiver.clear().await?;
    drain::all(&plane.bed, receiver, count, PATIENCE).await?;
    Ok(drain::rate(&receiver.arrivals().await?))
}
