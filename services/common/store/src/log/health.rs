//! How each destination is, as `pushrail log` has found it.

use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::Micros;
use crate::{Error, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Health {
    pub destination_id: Uuid,
    pub tenant_id: String,
    pub customer_id: Uuid,
    /// `healthy`, `degraded`, `failing` or `suspended`.
    pub health: String,
    pub since: Micros,
    /// Why, in a sentence; empty when it is healthy.
    pub reason: String,
    pub consecutive_failures: i32,
    pub last_success_at: Option<Micros>,
    pub last_failure_at: Option<Micros>,
    /// The adapter's failure code.
    pub last_failure_code: Option<String>,
    pub last_failure: Option<String>,
}

macro_rules! columns {
    () => {
        "destination_id, tenant_id, customer_id, health, since, reason, consecutive_failures, last_success_at,
         last_failure_at, last_failure_code, last_failure"
    };
}

/// Of those of the destinations that have been tried.
pub async fn of(tx: &mut Tx, destinations: &[Uuid]) -> Result<Vec<Health>, Error> {
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM destination_health WHERE destination_id = ANY($1)"
    ))
    .bind(destinations)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Destinations that are not healthy and of which nothing has been written since `before`, oldest first.
pub async fn quiet(tx: &mut Tx, before: Micros, limit: u32) -> Result<Vec<Health>, Error> {
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM destination_health WHERE health = 'degraded' AND updated_at < $1
         ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED"
    ))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Writes how destinations are now.
pub async fn put(tx: &mut Tx, rows: &[&Health]) -> Result<(), Error> {
    for rows in rows.chunks(1_000) {
        let mut query = QueryBuilder::new(
            "INSERT INTO destination_health (destination_id, tenant_id, customer_id, health, since, reason,
                 consecutive_failures, last_success_at, last_failure_at, last_failure_code, last_failure) ",
        );
        query.push_values(rows, |mut row, health| {
            row.push_bind(health.destination_id)
                .push_bind(&health.tenant_id)
                .push_bind(health.customer_id)
                .push_bind(&health.health)
                .push_bind(health.since)
                .push_bind(&health.reason)
                .push_bind(health.consecutive_failures)
                .push_bind(health.last_success_at)
                .push_bind(health.last_failure_at)
                .push_bind(&health.last_failure_code)
                .push_bind(&health.last_failure);
        });
        query.push(
            " ON CONFLICT (destination_id) DO UPDATE SET health = excluded.health, since = excluded.since,
                 reason = excluded.reason, consecutive_failures = excluded.consecutive_failures,
                 last_success_at = excluded.last_success_at, last_failure_at = excluded.last_failure_at,
                 last_failure_code = excluded.last_failure_code, last_failure = excluded.last_failure,
                 updated_at = now()",
        );
        query.build().execute(tx.connection()).await?;
    }
    Ok(())
}

/// How many destinations of a tenant, or of one customer of it, are how.
pub async fn counts(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Option<Uuid>,
) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query_as(
        "SELECT health, count(*) FROM destination_health JOIN destinations USING (destination_id)
         WHERE destination_health.tenant_id = $1 AND ($2::uuid IS NULL OR destination_health.customer_id = $2)
         GROUP BY health",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// What a transition is told with.
#[derive(Clone, Debug, FromRow)]
pub struct Subject {
    pub destination_id: Uuid,
    pub customer_external_id: String,
    pub name: String,
    pub kind: String,
}

/// Names and customers of destinations whose tenant follows its own operations: has a customer of that name. The
/// destinations of that customer are left out, so that what is told of a transition never tells of itself.
pub async fn subjects(
    tx: &mut Tx,
    destinations: &[Uuid],
    operations_external_id: &str,
) -> Result<Vec<Subject>, Error> {
    let rows = sqlx::query_as(
        "SELECT d.destination_id, c.external_id AS customer_external_id, d.document->>'name' AS name, d.kind
         FROM destinations d JOIN customers c USING (tenant_id, customer_id)
         WHERE d.destination_id = ANY($1) AND c.external_id <> $2
             AND EXISTS (SELECT FROM customers o WHERE o.tenant_id = d.tenant_id AND o.external_id = $2)",
    )
    .bind(destinations)
    .bind(operations_external_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}
