//! Waiting for the pipeline, with progress lines and a limit.

use std::time::Duration;

use anyhow::bail;
use pushrail_topology::{TIERS, topics};
use tokio::time::Instant;

use crate::kafka;
use crate::oracle::groups::{self, RETRY, ROUTER};
use crate::progress::Progress;
use crate::receiver::Receiver;

/// Records that each stage has not settled.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Lag {
    pub(super) router: u64,
    pub(super) sink: u64,
    pub(super) retry: u64,
}

impl Lag {
    pub(super) fn total(&self) -> u64 {
        self.router + self.sink + self.retry
    }
}

/// The lag of all groups, the sink's of one kind.
pub(super) async fn lag(bootstrap: &str, kind: &'static str) -> anyhow::Result<Lag> {
    let bootstrap = bootstrap.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut lag = Lag {
            router: kafka::lag(&bootstrap, ROUTER, topics::EVENTS)?,
            sink: kafka::lag(&bootstrap, &groups::sink(kind), &topics::deliver(kind))?,
            retry: 0,
        };
        for tier in &TIERS {
            lag.retry += kafka::lag(&bootstrap, RETRY, tier.topic)?;
        }
        Ok(lag)
    })
    .await?
}

/// Waits until nothing is under way to webhooks, or until `limit`. Returns what is left.
pub(super) async fn settled(bootstrap: &str, limit: Duration) -> anyhow::Result<Lag> {
    settled_of(bootstrap, "webhook", limit).await
}

/// The same for another kind of destination.
pub(super) async fn settled_of(
    bootstrap: &str,
    kind: &'static str,
    limit: Duration,
) -> anyhow::Result<Lag> {
    let until = Instant::now() + limit;
    let mut calm = 0;
    loop {
        // Just after a restart of Kafka an answer may be missing; that is no reason to give up.
        let now = lag(bootstrap, kind).await;
        match now {
            Ok(now) if now.total() == 0 && calm >= 2 => return Ok(now),
            Ok(now) if Instant::now() > until => return Ok(now),
            Err(error) if Instant::now() > until => return Err(error),
            Ok(now) => {
                calm = if now.total() == 0 { calm + 1 } else { 0 };
                if now.total() > 0 {
                    eprintln!(
                        "  settling: router {}, sink {}, retry {} to go",
                        now.router, now.sink, now.retry
                    );
                }
            }
            Err(error) => eprintln!("  settling: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// Waits until the sink of a kind has committed everything on its topic.
pub(super) async fn sink_settled(
    bootstrap: &str,
    kind: &'static str,
    limit: Duration,
) -> anyhow::Result<()> {
    let until = Instant::now() + limit;
    loop {
        let (owned, topic) = (bootstrap.to_owned(), topics::deliver(kind));
        let left =
            tokio::task::spawn_blocking(move || kafka::lag(&owned, &groups::sink(kind), &topic))
                .await??;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the sink has not settled {left} deliveries within {limit:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until `receiver` has answered `count` requests with 2xx beyond `before`. Stalls for `patience` are an error.
pub(super) async fn delivered(
    receiver: &Receiver,
    before: u64,
    count: u64,
    patience: Duration,
    what: &str,
) -> anyhow::Result<()> {
    let mut progress = Progress::new(what, count);
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let now = receiver.stats().await?.delivered - before;
        progress.note(now);
        if now >= count {
            return Ok(());
        }
        if now > last {
            (last, moved) = (now, Instant::now());
        }
        if moved.elapsed() > patience {
            bail!("{what}: stuck at {now} of {count} for {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
