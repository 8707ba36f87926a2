//! The delivery log: how fast it is written, what it costs those who deliver, that it loses nothing when it is stopped, how
//! fast it answers when there is much in it, and what a replay from it costs those who are live.

pub(super) mod indexing;
pub(super) mod outage;
pub(super) mod replay;
pub(super) mod search;

use anyhow::Context as _;
use sqlx::PgConnection;
use tokio::time::{Duration, Instant};

use crate::plane::Plane;
use crate::services::Service;

/// Attempts in the index, and how many different ones.
async fn counted(database: &mut PgConnection) -> anyhow::Result<(i64, i64)> {
    let row = sqlx::query_as("SELECT count(*), count(DISTINCT attempt_id) FROM attempts")
        .fetch_one(database)
        .await?;
    Ok(row)
}

/// Waits until the index has read everything; returns how long it took.
async fn caught_up(plane: &Plane, log: &Service, within: Duration) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let bootstrap = plane.bed.bootstrap();
    let mut database = plane.database().await?;
    loop {
        let owned = bootstrap.clone();
        let ends = tokio::task::spawn_blocking(move || {
            crate::kafka::watermarks(&owned, pushrail_topology::topics::AUDIT_ATTEMPTS)
        })
        .await??;
        let end: i64 = ends.iter().map(|(_, _, high)| high).sum();
        let (read,): (Option<i64>,) = sqlx::query_as(
            "SELECT sum(next_offset)::bigint FROM log_offsets WHERE topic = 'audit.attempts'",
        )
        .fetch_one(&mut database)
        .await?;
        if read.unwrap_or(0) >= end {
            return Ok(started.elapsed());
        }
        anyhow::ensure!(
            started.elapsed() < within,
            "the index has read {read:?} of {end} after {within:?}:\n{}",
            log.last_words()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes of the index on disk: rows, and what finds them.
async fn sizes(database: &mut PgConnection) -> anyhow::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT sum(pg_table_size(inhrelid))::bigint, sum(pg_indexes_size(inhrelid))::bigint
         FROM pg_inherits WHERE inhparent = 'attempts'::regclass",
    )
    .fetch_one(database)
    .await
    .context("the sizes of the index")
}
