//! Attempts and deliveries, newest first.
//!
//! Lists are in the order in which events were accepted: that never changes, however often a delivery is tried, so that a
//! page follows the one before it. A delivery is shown as its newest attempt stands.

use pushrail_schemas::attempt::Outcome;
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Micros;
use crate::{Error, Tx};

/// Longest time that a search may take; then whoever asked is told to ask for less.
const WITHIN_MS: u32 = 5_000;
/// Deliveries of one state are counted up to here.
pub const COUNTED_MAX: i64 = 10_000;

/// Which attempts are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub tenant_id: String,
    pub customer_id: Option<Uuid>,
    pub destination_id: Option<Uuid>,
    pub event_id: Option<Uuid>,
    pub delivery_id: Option<Uuid>,
    /// A name, or the start of one with `.*` behind it.
    pub event_type: Option<String>,
    pub outcome: Option<Outcome>,
    pub class: Option<String>,
    pub code: Option<String>,
    pub status_code: Option<i16>,
    pub latency_us_min: Option<i32>,
    pub latency_us_max: Option<i32>,
    /// The event was accepted in this window.
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    /// Is in the error, in whatever case.
    pub text: Option<String>,
    pub origin: Option<String>,
    pub replay_id: Option<Uuid>,
    /// The newest attempt of each delivery alone.
    pub latest: bool,
}

/// Where a page begins: after this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub received_at: Micros,
    pub started_at: Micros,
    pub attempt_id: Uuid,
}

/// An attempt, without what only its own page shows.
#[derive(Clone, Debug, FromRow)]
pub struct Attempt {
    pub received_at: Micros,
    pub started_at: Micros,
    pub next_attempt_at: Option<Micros>,
    pub customer_id: Uuid,
    pub event_id: Uuid,
    pub delivery_id: Uuid,
    pub destination_id: Option<Uuid>,
    pub attempt_id: Uuid,
    pub replay_id: Option<Uuid>,
    pub latency_us: i32,
    pub attempt: i16,
    pub status_code: Option<i16>,
    pub latest: bool,
    pub tenant_id: String,
    pub event_type: String,
    pub kind: Option<String>,
    pub outcome: String,
    pub class: String,
    pub code: Option<String>,
    pub origin: String,
    pub error: Option<String>,
    /// What it said was erased.
    pub erased: bool,
}

/// The rest of it.
#[derive(Clone, Debug, FromRow)]
pub struct Detail {
    #[sqlx(flatten)]
    pub attempt: Attempt,
    pub payload_len: Option<i32>,
    pub payload_cut: bool,
    pub payload_form: String,
    pub traceparent: Option<String>,
    pub response_headers: Option<String>,
    pub response_excerpt: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub subject_id: Option<Uuid>,
    pub sealing: Option<Vec<u8>>,
}

macro_rules! columns {
    () => {
        "received_at, started_at, next_attempt_at, customer_id, event_id, delivery_id, destination_id, attempt_id,
         replay_id, latency_us, attempt, status_code, latest, tenant_id, event_type, kind, outcome, class, code, origin,
         error, payload_form = 'erased' AS erased"
    };
}

impl Wanted {
    fn conditions(&self, query: &mut QueryBuilder<Postgres>) {
        query
            .push(" WHERE tenant_id = ")
            .push_bind(self.tenant_id.clone());
        let ids = [
            (" AND customer_id = ", self.customer_id),
            (" AND destination_id = ", self.destination_id),
            (" AND event_id = ", self.event_id),
            (" AND delivery_id = ", self.delivery_id),
            (" AND replay_id = ", self.replay_id),
        ];
        for (condition, id) in ids {
            if let Some(id) = id {
                query.push(condition).push_bind(id);
            }
        }
        if let Some(outcome) = self.outcome {
            // In the text of the statement, so that the planner sees which index serves it; it is one of a closed set.
            query.push(format_args!(" AND outcome = '{}'", outcome.as_str()));
        }
        match &self.event_type {
            Some(pattern) if pattern.ends_with(".*") => {
                let start = &pattern[..pattern.len() - 1];
                query
                    .push(" AND starts_with(event_type, ")
                    .push_bind(start.to_owned())
                    .push(")");
            }
            Some(name) => {
                query.push(" AND event_type = ").push_bind(name.clone());
            }
            None => {}
        }
        let texts = [
            (" AND class = ", &self.class),
            (" AND code = ", &self.code),
            (" AND origin = ", &self.origin),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                query.push(condition).push_bind(text.clone());
            }
        }
        if let Some(code) = self.status_code {
            query.push(" AND status_code = ").push_bind(code);
        }
        if let Some(least) = self.latency_us_min {
            query.push(" AND latency_us >= ").push_bind(least);
        }
        if let Some(most) = self.latency_us_max {
            query.push(" AND latency_us <= ").push_bind(most);
        }
        if let Some(since) = self.since {
            query.push(" AND received_at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            query.push(" AND received_at < ").push_bind(until);
        }
        if let Some(text) = &self.text {
            // Only what failed has an error, and there are indexes of what failed.
            query
                .push(" AND outcome <> 'delivered' AND strpos(lower(error), lower(")
                .push_bind(text.clone())
                .push(")) > 0");
        }
        if self.latest {
            query.push(" AND latest");
        }
    }

    fn page(&self, query: &mut QueryBuilder<Postgres>, after: Option<After>, limit: u32) {
        self.conditions(query);
        if let Some(after) = after {
            // The first condition is what an index and the choice of partitions can use.
            query
                .push(" AND received_at <= ")
                .push_bind(after.received_at)
                .push(" AND (received_at, started_at, attempt_id) < (")
                .push_bind(after.received_at)
                .push(", ")
                .push_bind(after.started_at)
                .push(", ")
                .push_bind(after.attempt_id)
                .push(")");
        }
        query
            .push(" ORDER BY received_at DESC, started_at DESC, attempt_id DESC LIMIT ")
            .push_bind(i64::from(limit));
    }
}

/// Bounds what a search may cost, for the rest of the transaction: its time, and that it walks an index in order and stops
/// when a page is full, where reading everything and sorting may look cheaper.
async fn bounded(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true),
             set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
             set_config('enable_bitmapscan', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)",
    )
    .bind(WITHIN_MS.to_string())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Attempts, newest events first.
pub async fn list(
    tx: &mut Tx,
    wanted: &Wanted,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Attempt>, Error> {
    bounded(tx).await?;
    let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM attempts"));
    wanted.page(&mut query, after, limit);
    let query = query.build_query_as().persistent(false);
    Ok(query.fetch_all(tx.connection()).await?)
}

/// Attempts with all that is known of them, for exports: oldest events first, after `after`.
pub async fn details(
    tx: &mut Tx,
    wanted: &Wanted,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Detail>, Error> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        columns!(),
        ", payload_len, payload_cut, payload_form, traceparent, response_headers, response_excerpt, payload, subject_id, sealing FROM attempts"
    ));
    wanted.conditions(&mut query);
    if let Some(after) = after {
        query
            .push(" AND received_at >= ")
            .push_bind(after.received_at)
            .push(" AND (received_at, started_at, attempt_id) > (")
            .push_bind(after.received_at)
            .push(", ")
            .push_bind(after.started_at)
            .push(", ")
            .push_bind(after.attempt_id)
            .push(")");
    }
    query
        .push(" ORDER BY received_at, started_at, attempt_id LIMIT ")
        .push_bind(i64::from(limit));
    let query = query.build_query_as().persistent(false);
    Ok(query.fetch_all(tx.connection()).await?)
}

/// Everything about one delivery, or about an event that no destination was concerned with, oldest first.
pub async fn timeline(
    tx: &mut Tx,
    tenant_id: &str,
    delivery_id: Uuid,
) -> Result<Vec<Detail>, Error> {
    bounded(tx).await?;
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", payload_len, payload_cut, payload_form, traceparent, response_headers, response_excerpt, payload, subject_id, sealing FROM attempts
         WHERE delivery_id = $1 AND tenant_id = $2 ORDER BY started_at, attempt, attempt_id LIMIT 1000"
    ))
    .bind(delivery_id)
    .bind(tenant_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// How many there are of each outcome, each counted up to [`COUNTED_MAX`].
pub async fn counts(tx: &mut Tx, wanted: &Wanted) -> Result<Vec<(Outcome, i64)>, Error> {
    bounded(tx).await?;
    let mut counts = Vec::new();
    for outcome in Outcome::ALL {
        if wanted.outcome.is_some_and(|only| only != outcome) {
            continue;
        }
        let wanted = Wanted {
            outcome: Some(outcome),
            ..wanted.clone()
        };
        let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM attempts");
        wanted.conditions(&mut query);
        query
            .push(" LIMIT ")
            .push_bind(COUNTED_MAX)
            .push(") AS counted");
        let (count,): (i64,) = query
            .build_query_as()
            .persistent(false)
            .fetch_one(tx.connection())
            .await?;
        counts.push((outcome, count));
    }
    Ok(counts)
}

/// What the planner does for a search; for whoever measures.
pub async fn explain(tx: &mut Tx, wanted: &Wanted, limit: u32) -> Result<Vec<String>, Error> {
    bounded(tx).await?;
    let mut query = QueryBuilder::new(concat!(
        "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) SELECT ",
        columns!(),
        " FROM attempts"
    ));
    wanted.page(&mut query, None, limit);
    let rows: Vec<(String,)> = query
        .build_query_as()
        .persistent(false)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
