//! A sink that works off everything on its topic.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_topology::topics;

use super::wait;
use crate::bed::Bed;
use crate::kafka;
use crate::oracle::groups;
use crate::receiver::{Arrival, Receiver};
use crate::services::{Kind, Service};

/// What it took.
pub(super) struct Drained {
    /// Of the sink, start and configuration included.
    pub(super) cpu_us: u64,
    /// Deliveries that it put off.
    pub(super) deferred: u64,
}

/// Runs a sink over the whole backlog of `count`, with the retry mover beside it. Stalls for `patience` are an error.
pub(super) async fn all(
    bed: &Bed,
    receiver: &Receiver,
    count: u64,
    patience: Duration,
) -> anyhow::Result<Drained> {
    let bootstrap = bed.bootstrap();
    tokio::task::spawn_blocking(move || {
        kafka::rewind(
            &bootstrap,
            &groups::sink("webhook"),
            &topics::deliver("webhook"),
        )
    })
    .await??;
    let before = receiver.stats().await?.delivered;
    let mut retry = Service::start(bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::start(bed, Kind::Sink, "sink", &[]).await?;
    wait::delivered(receiver, before, count, patience, "sink")
        .await
        .with_context(|| sink.last_words())?;
    wait::sink_settled(&bed.bootstrap(), "webhook", patience).await?;
    let drained = Drained {
        cpu_us: sink.cpu_us(),
        deferred: sink.total("pushrail_sink_deferrals_total").await?,
    };
    sink.stop().await?;
    retry.stop().await?;
    Ok(drained)
}

/// Requests a second, from the first to the last.
pub(super) fn rate(arrivals: &[Arrival]) -> f64 {
    let at = |pick: fn(i64, i64) -> i64| arrivals.iter().map(|a| a.at_us).reduce(pick).unwrap_or(0);
    let took_us = (at(i64::max) - at(i64::min)).max(1);
    arrivals.len() as f64 / (took_us as f64 / 1e6)
}
