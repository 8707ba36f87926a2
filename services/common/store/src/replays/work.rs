//! Jobs as the one who works on them sees them: claimed for a time, saved again and again, given back.
//!
//! A lease is the right to save. Whoever lost it, because it stood still for longer than the lease, is told so by the next
//! save, which then changes nothing. Leases are counted on the database's clock alone.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::{Replay, Row, State, row};
use crate::{Error, Tx};

/// How far a job is. Nothing in it is ever taken back.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub position: String,
    pub scanned: i64,
    pub sent: i64,
    pub skipped: BTreeMap<String, i64>,
    pub progress: f64,
    pub eta_seconds: Option<i64>,
}

/// What a claim may be for.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub worker: Uuid,
    pub lease: Duration,
    pub rate_max: i32,
}

/// Takes over the oldest job that nobody works on, of a destination of which nobody replays anything: a job that was paused
/// or cancelled is somebody's until they have noticed, and what they copied meanwhile is saved.
pub async fn claim(tx: &mut Tx, claim: Claim) -> Result<Option<Replay>, Error> {
    // One at a time: two that look together would both find a destination free.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('pushrail_replays_claim'))")
        .execute(tx.connection())
        .await?;
    let row: Option<Row> = sqlx::query_as(concat!(
        "UPDATE replays SET leased_by = $1, leased_until = now() + make_interval(secs => $2),
             rate_per_second = least(rate_per_second, $3)
         WHERE replay_id = (
             SELECT replay_id FROM replays AS r
             WHERE state IN ('estimating', 'running') AND (leased_until IS NULL OR leased_until < now())
                 AND NOT EXISTS (SELECT FROM replays AS other
                     WHERE other.destination_id = r.destination_id AND other.leased_until >= now()
                         AND (other.leased_by IS NOT NULL OR other.state IN ('estimating', 'running')))
             ORDER BY coalesce(started_at, created_at), replay_id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING ",
        row!()
    ))
    .bind(claim.worker)
    .bind(claim.lease.as_secs_f64())
    .bind(claim.rate_max)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// Saves how far a job is and renews its lease; says what state it is in, `None` when the lease is lost.
pub async fn save(
    tx: &mut Tx,
    worker: Uuid,
    replay_id: Uuid,
    lease: Duration,
    progress: &Progress,
) -> Result<Option<State>, Error> {
    let state: Option<(String,)> = sqlx::query_as(
        "UPDATE replays SET position = $3::json, scanned = $4, sent = $5, skipped = $6::json, progress = $7,
             eta_seconds = CASE WHEN state = 'running' THEN $8 END, error = NULL, updated_at = now(),
             leased_until = now() + make_interval(secs => $9)
         WHERE replay_id = $2 AND leased_by = $1 AND leased_until IS NOT NULL RETURNING state",
    )
    .bind(worker)
    .bind(replay_id)
    .bind(&progress.position)
    .bind(progress.scanned)
    .bind(progress.sent)
    .bind(serde_json::to_string(&progress.skipped)?)
    .bind(progress.progress)
    .bind(progress.eta_seconds)
    .bind(lease.as_secs_f64())
    .fetch_optional(tx.connection())
    .await?;
    state.map(|(state,)| State::parse(&state)).transpose()
}

/// Renews the lease of a job on which nothing has been done that is worth saving.
pub async fn renew(
    tx: &mut Tx,
    worker: Uuid,
    replay_id: Uuid,
    lease: Duration,
) -> Result<Option<State>, Error> {
    let state: Option<(String,)> = sqlx::query_as(
        "UPDATE replays SET leased_until = now() + make_interval(secs => $3)
         WHERE replay_id = $2 AND leased_by = $1 AND leased_until IS NOT NULL RETURNING state",
    )
    .bind(worker)
    .bind(replay_id)
    .bind(lease.as_secs_f64())
    .fetch_optional(tx.connection())
    .await?;
    state.map(|(state,)| State::parse(&state)).transpose()
}

/// Writes down how much a job is, and lets it run where that was asked for.
pub async fn estimated(
    tx: &mut Tx,
    worker: Uuid,
    replay_id: Uuid,
    estimate: i64,
    exact: bool,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE replays SET estimate = $3, estimate_exact = $4, updated_at = now(), leased_by = NULL,
             leased_until = NULL, error = NULL,
             state = CASE WHEN start_at_once THEN 'running' ELSE 'estimated' END,
             started_at = CASE WHEN start_at_once THEN now() END
         WHERE replay_id = $2 AND leased_by = $1 AND state = 'estimating'",
    )
    .bind(worker)
    .bind(replay_id)
    .bind(estimate)
    .bind(exact)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// How work on a job ends.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// Everything is done. A job that was cancelled meanwhile stays cancelled.
    Finished,
    Failed(&'a str),
    /// It waits until somebody resumes it.
    Paused(&'a str),
    /// Somebody else goes on.
    GivenBack,
    /// Something is wrong that may pass: somebody tries again after a while.
    Waits(&'a str),
}

/// Seconds for which nobody claims a job that could not go on.
const TRY_AGAIN_S: f64 = 5.0;

/// Gives a job back; whether it was still this worker's.
pub async fn end(tx: &mut Tx, worker: Uuid, replay_id: Uuid, end: End<'_>) -> Result<bool, Error> {
    let (state, error) = match end {
        End::Finished => (Some("finished"), None),
        End::Failed(error) => (Some("failed"), Some(error)),
        End::Paused(error) => (Some("paused"), Some(error)),
        End::GivenBack => (None, None),
        End::Waits(error) => (None, Some(error)),
    };
    let rest_s = matches!(end, End::Waits(_)).then_some(TRY_AGAIN_S);
    let done = sqlx::query(
        "UPDATE replays SET leased_by = NULL, leased_until = now() + make_interval(secs => $5), updated_at = now(),
             eta_seconds = NULL, state = CASE WHEN state IN ('estimating', 'running', 'paused') THEN coalesce($3, state) ELSE state END,
             error = coalesce($4, CASE WHEN $3 = 'finished' THEN NULL ELSE error END),
             progress = CASE WHEN $3 = 'finished' AND state <> 'cancelled' THEN 1 ELSE progress END,
             finished_at = CASE WHEN $3 IN ('finished', 'failed') THEN coalesce(finished_at, now()) ELSE finished_at END
         WHERE replay_id = $2 AND leased_by = $1",
    )
    .bind(worker)
    .bind(replay_id)
    .bind(state)
    .bind(error)
    .bind(rest_s)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Fails the jobs whose destination is gone; says how many.
pub async fn fail_orphans(tx: &mut Tx) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE replays SET state = 'failed', error = 'the destination was removed', finished_at = now(),
             updated_at = now(), eta_seconds = NULL
         WHERE state NOT IN ('cancelled', 'finished', 'failed') AND (leased_until IS NULL OR leased_until < now())
             AND NOT EXISTS (SELECT FROM destinations AS d WHERE d.destination_id = replays.destination_id)",
    )
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

/// Forgets jobs that have been over for so many days; says how many.
pub async fn forget_old(tx: &mut Tx, days: i32) -> Result<u64, Error> {
    let done =
        sqlx::query("DELETE FROM replays WHERE finished_at < now() - make_interval(days => $1)")
            .bind(days)
            .execute(tx.connection())
            .await?;
    Ok(done.rows_affected())
}

/// How many jobs are not over, by state.
pub async fn open(tx: &mut Tx) -> Result<Vec<(State, i64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT state, count(*) FROM replays WHERE state NOT IN ('cancelled', 'finished', 'failed') GROUP BY state",
    )
    .fetch_all(tx.connection())
    .await?;
    let rows = rows.into_iter();
    rows.map(|(state, count)| Ok((State::parse(&state)?, count)))
        .collect()
}

/// Attempts in a row that a destination has failed, as the log knows it.
pub async fn consecutive_failures(tx: &mut Tx, destination_id: Uuid) -> Result<i32, Error> {
    let row: Option<(i32,)> = sqlx::query_as(
        "SELECT consecutive_failures FROM destination_health WHERE destination_id = $1",
    )
    .bind(destination_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map_or(0, |row| row.0))
}
