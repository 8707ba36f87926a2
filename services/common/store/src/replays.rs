//! Replays: jobs that put deliveries of one destination on their way again.
//!
//! The control plane makes them and changes their state; `pushrail replay` claims them ([`work`]) and saves how far it is.
//! What a job reads is [`letters`], or the topic `events` beside what [`attempts`] knows of it.

pub mod attempts;
pub mod letters;
pub mod work;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

/// Which deliveries. What is not given narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selection {
    /// RFC 3339. Of dead letters: when they died; of events: when they were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Patterns, as a destination has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivery_ids: Vec<Uuid>,
    /// Of dead letters alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Of dead letters alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    /// Of events alone: how the delivery stands in the log, `missing` where the log knows of none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// What a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Waits to be told how much it is.
    Estimating,
    /// Waits to be started.
    Estimated,
    Running,
    Paused,
    Cancelled,
    Finished,
    Failed,
}

impl State {
    pub const ALL: [State; 7] = [
        State::Estimating,
        State::Estimated,
        State::Running,
        State::Paused,
        State::Cancelled,
        State::Finished,
        State::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Estimating => "estimating",
            State::Estimated => "estimated",
            State::Running => "running",
            State::Paused => "paused",
            State::Cancelled => "cancelled",
            State::Finished => "finished",
            State::Failed => "failed",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, State::Cancelled | State::Finished | State::Failed)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| garbled("a replay's state"))
    }
}

/// Where a job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    DeadLetters,
    Events,
}

impl Reads {
    fn as_str(self) -> &'static str {
        match self {
            Reads::DeadLetters => "dead_letters",
            Reads::Events => "events",
        }
    }
}

/// A job to be made.
#[derive(Clone, Debug)]
pub struct New<'a> {
    pub replay_id: Uuid,
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
    pub source: &'a str,
    pub reads: Reads,
    pub selection: &'a Selection,
    pub state: State,
    pub start_at_once: bool,
    pub rate_per_second: i32,
    /// An exact one; `None` where it has to be found out.
    pub estimate: Option<i64>,
    pub actor_kind: &'a str,
    pub actor_id: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub replay_id: Uuid,
    pub tenant_id: String,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
    pub source: String,
    pub reads: Reads,
    pub selection: Selection,
    pub state: State,
    pub start_at_once: bool,
    pub rate_per_second: i32,
    pub estimate: Option<i64>,
    pub estimate_exact: bool,
    pub scanned: i64,
    pub sent: i64,
    pub skipped: BTreeMap<String, i64>,
    /// JSON, as the one who saved it writes it.
    pub position: Option<String>,
    pub progress: f64,
    pub eta_seconds: Option<i64>,
    pub error: Option<String>,
    pub actor_kind: String,
    pub created_at: String,
    pub started_at: Option<String>,
    pub updated_at: String,
    pub finished_at: Option<String>,
}

#[derive(FromRow)]
struct Row {
    replay_id: Uuid,
    tenant_id: String,
    customer_id: Uuid,
    destination_id: Uuid,
    source: String,
    reads: String,
    selection: String,
    state: String,
    start_at_once: bool,
    rate_per_second: i32,
    estimate: Option<i64>,
    estimate_exact: bool,
    scanned: i64,
    sent: i64,
    skipped: String,
    position: Option<String>,
    progress: f64,
    eta_seconds: Option<i64>,
    error: Option<String>,
    actor_kind: String,
    created_at: String,
    started_at: Option<String>,
    updated_at: String,
    finished_at: Option<String>,
}

/// The columns of a [`Row`]. A macro, so that each statement is one literal.
macro_rules! row {
    () => {
        "replays.replay_id, replays.tenant_id, replays.customer_id, replays.destination_id, source, reads,
         selection::text AS selection, state, start_at_once, rate_per_second, estimate, estimate_exact, scanned, sent,
         skipped::text AS skipped, position::text AS position, progress, eta_seconds, error, actor_kind,
         rfc3339(replays.created_at) AS created_at, rfc3339(started_at) AS started_at,
         rfc3339(replays.updated_at) AS updated_at, rfc3339(finished_at) AS finished_at"
    };
}
use row;

impl Row {
    fn read(self) -> Result<Replay, Error> {
        Ok(Replay {
            replay_id: self.replay_id,
            tenant_id: self.tenant_id,
            customer_id: self.customer_id,
            destination_id: self.destination_id,
            source: self.source,
            reads: match self.reads.as_str() {
                "dead_letters" => Reads::DeadLetters,
                _ => Reads::Events,
            },
            selection: serde_json::from_str(&self.selection)?,
            state: State::parse(&self.state)?,
            start_at_once: self.start_at_once,
            rate_per_second: self.rate_per_second,
            estimate: self.estimate,
            estimate_exact: self.estimate_exact,
            scanned: self.scanned,
            sent: self.sent,
            skipped: serde_json::from_str(&self.skipped)?,
            position: self.position,
            progress: self.progress,
            eta_seconds: self.eta_seconds,
            error: self.error,
            actor_kind: self.actor_kind,
            created_at: self.created_at,
            started_at: self.started_at,
            updated_at: self.updated_at,
            finished_at: self.finished_at,
        })
    }
}

fn garbled(what: &str) -> Error {
    Error::Garbled(serde::de::Error::custom(what))
}

pub async fn insert(tx: &mut Tx, new: &New<'_>) -> Result<Replay, Error> {
    let row: Row = sqlx::query_as(concat!(
        "INSERT INTO replays (replay_id, tenant_id, customer_id, destination_id, source, reads, selection, state,
             start_at_once, rate_per_second, estimate, estimate_exact, actor_kind, actor_id, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8, $9, $10, $11, $11 IS NOT NULL, $12, $13,
             CASE WHEN $8 = 'running' THEN now() END)
         RETURNING ",
        row!()
    ))
    .bind(new.replay_id)
    .bind(new.tenant_id)
    .bind(new.customer_id)
    .bind(new.destination_id)
    .bind(new.source)
    .bind(new.reads.as_str())
    .bind(serde_json::to_string(new.selection)?)
    .bind(new.state.as_str())
    .bind(new.start_at_once)
    .bind(new.rate_per_second)
    .bind(new.estimate)
    .bind(new.actor_kind)
    .bind(new.actor_id)
    .fetch_one(tx.connection())
    .await?;
    row.read()
}

/// Whose jobs: those of one destination of one customer.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
}

pub async fn get(tx: &mut Tx, of: Of<'_>, replay_id: Uuid) -> Result<Option<Replay>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM replays WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3 AND replay_id = $4"
    ))
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(replay_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// As [`get`], and nobody else changes it until this transaction ends.
pub async fn lock(tx: &mut Tx, of: Of<'_>, replay_id: Uuid) -> Result<Option<Replay>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM replays WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3 AND replay_id = $4
         FOR UPDATE"
    ))
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(replay_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// Jobs of a destination, oldest first.
pub async fn list(
    tx: &mut Tx,
    of: Of<'_>,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<Replay>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM replays WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3
             AND ($4::timestamptz IS NULL OR (replays.created_at, replay_id) > ($4::timestamptz, $5::uuid))
         ORDER BY replays.created_at, replay_id LIMIT $6"
    ))
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    let rows = rows.into_iter().map(Row::read).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |row: &Replay| Cursor {
        at: row.created_at.clone(),
        id: row.replay_id.to_string(),
    }))
}

/// How many of a destination's jobs are not over.
pub async fn unfinished(tx: &mut Tx, of: Of<'_>) -> Result<i64, Error> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM replays WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3
             AND state NOT IN ('cancelled', 'finished', 'failed')",
    )
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

/// Changes the state of a job that is locked. A reason to wait is one for the state before.
pub async fn set_state(tx: &mut Tx, replay_id: Uuid, state: State) -> Result<Replay, Error> {
    let row: Row = sqlx::query_as(concat!(
        "UPDATE replays SET state = $2, error = NULL, updated_at = now(),
             started_at = CASE WHEN $2 = 'running' THEN coalesce(started_at, now()) ELSE started_at END,
             finished_at = CASE WHEN $2 IN ('cancelled', 'finished', 'failed') THEN now() END,
             eta_seconds = CASE WHEN $2 = 'running' THEN eta_seconds END
         WHERE replay_id = $1 RETURNING ",
        row!()
    ))
    .bind(replay_id)
    .bind(state.as_str())
    .fetch_one(tx.connection())
    .await?;
    row.read()
}

/// Lets a job that is locked and still being estimated run as soon as it is.
pub async fn start_at_once(tx: &mut Tx, replay_id: Uuid) -> Result<Replay, Error> {
    let row: Row = sqlx::query_as(concat!(
        "UPDATE replays SET start_at_once = true, updated_at = now() WHERE replay_id = $1 RETURNING ",
        row!()
    ))
    .bind(replay_id)
    .fetch_one(tx.connection())
    .await?;
    row.read()
}
