//! The index is stopped under load, by SIGKILL, for ten minutes: deliveries do not notice, and then it has everything once.

use std::time::Duration;

use super::{caught_up, counted};
use crate::destinations::Family;
use crate::generator::{self, http};
use crate::plane::Plane;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::sample;
use crate::scenario::Options;
use crate::services::Kind;
use crate::stats::Latency;

const DESTINATIONS: u32 = 100;
const PER_SECOND: f64 = 500.0;
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(300);

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    // Beside the index, without it, and again beside it.
    let seconds: [u64; 3] = match options.quick {
        true => [10, 15, 10],
        false => [60, 600, 60],
    };
    let plane = Plane::start("log-outage", &[]).await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(61, DESTINATIONS);
    let bed = &plane.bed;
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    let services = plane.services(&[]).await?;
    let url = plane.postgres.url();
    let mut log = plane.service(Kind::Log, &["--database", &url]).await?;
    let (mut first, mut delivered, mut latencies) = (0, 0, Vec::new());
    let mut caught_up_s = 0.0;
    for (phase, seconds) in seconds.into_iter().enumerate() {
        match phase {
            1 => log.kill().await?,
            2 => {
                log.start_again()?;
                log.ready().await?;
                caught_up_s = caught_up(&plane, &log, CATCHES_UP_WITHIN)
                    .await?
                    .as_secs_f64();
            }
            _ => {}
        }
        receiver.clear().await?;
        let events = (PER_SECOND * seconds as f64) as u64;
        let load = http::Load {
            ingest: services[0].listen,
            api_key: plane.bed.api_key.clone(),
            connections: 16,
            first,
            events,
            batch: 1,
            per_second: Some(PER_SECOND),
            payload_len: sample::PAYLOAD_LEN,
            customers: DESTINATIONS,
            keys: None,
            patience: Duration::from_secs(30),
        };
        let before = receiver.stats().await?.delivered;
        let sent = generator::on_own_thread(move || http::run(load)).await?;
        anyhow::ensure!(sent.given_up == 0, "{:?}", sent.last_error);
        first += events;
        let patience = Duration::from_secs(30);
        super::super::wait::delivered(&receiver, before, events, patience, "events").await?;
        let arrivals = receiver.arrivals().await?;
        delivered += arrivals.len() as i64;
        let latency = Latency::of(arrivals.iter().map(|a| a.at_us - a.accepted_us));
        eprintln!(
            "  phase {phase}: p50 {:.1} ms, p99 {:.1} ms",
            latency.p50_ms, latency.p99_ms
        );
        latencies.push(latency);
    }
    caught_up(&plane, &log, CATCHES_UP_WITHIN).await?;
    let mut database = plane.database().await?;
    let (rows, different) = counted(&mut database).await?;
    let (sent,): (i64,) = sqlx::query_as(
        "SELECT count(DISTINCT delivery_id) FROM attempts WHERE outcome = 'delivered'",
    )
    .fetch_one(&mut database)
    .await?;
    drop(services);
    log.stop().await?;
    plane.stop().await?;

    let mut report = Report::new("log-outage", "The delivery log is away", options.quick);
    report.method = format!(
        "{PER_SECOND} events a second over HTTP to {DESTINATIONS} destinations for {}, {} and {} seconds: beside the log, after it was \
         killed with SIGKILL, and after it was started again and had caught up.",
        seconds[0], seconds[1], seconds[2]
    );
    report.check(
        "deliveries in the index",
        format!("{sent} of {delivered}; {rows} attempts, {different} different"),
        "all, each attempt once",
        sent == first as i64 && rows == different && rows >= delivered,
    );
    report.at_most(
        "p99 from accepted to delivered without the log, against beside it",
        latencies[1].p99_ms / latencies[0].p99_ms.max(0.001),
        1.2,
        " ×",
    );
    let head = ["", "p50, ms", "p99, ms"];
    let names = ["beside the log", "while it was away", "beside it again"];
    let lines = names.iter().zip(&latencies).map(|(name, latency)| {
        vec![
            (*name).to_owned(),
            format!("{:.1}", latency.p50_ms),
            format!("{:.1}", latency.p99_ms),
        ]
    });
    report.table("From accepted to delivered", &head, lines.collect());
    report.notes.push(format!(
        "It had caught up {caught_up_s:.1} s after it was ready again."
    ));
    report.data =
        serde_json::json!({ "latencies": latencies, "rows": rows, "delivered": delivered });
    Ok(report)
}
