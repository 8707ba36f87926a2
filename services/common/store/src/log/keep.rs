//! Partitions, and what is too old.

use super::Micros;
use crate::{Error, Tx};

/// Of the advisory lock of whoever removes what is old.
const KEEPER: i64 = 0x5075_7368_6c6f_6700;

/// Makes the partitions of these days (since the Unix epoch) where they are not there.
pub async fn ensure_days(tx: &mut Tx, days: &[i64]) -> Result<(), Error> {
    sqlx::query(
        "SELECT log_ensure_day(date '1970-01-01' + day::integer) FROM unnest($1::bigint[]) AS day",
    )
    .bind(days)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The right to remove, until the transaction ends; `false` when somebody else is at it.
pub async fn lock(tx: &mut Tx) -> Result<bool, Error> {
    let (locked,) = sqlx::query_as("SELECT pg_try_advisory_xact_lock($1)")
        .bind(KEEPER)
        .fetch_one(tx.connection())
        .await?;
    Ok(locked)
}

/// Drops the days before the one that `before` is in, and says how many.
pub async fn drop_days(tx: &mut Tx, before: Micros) -> Result<i32, Error> {
    let (dropped,) = sqlx::query_as("SELECT log_drop_days_before(date '1970-01-01' + $1::integer)")
        .bind(i32::try_from(before.day()).unwrap_or_default())
        .fetch_one(tx.connection())
        .await?;
    Ok(dropped)
}

/// Removes what tenants want to have kept for less long than the operator keeps it.
pub async fn remove_by_policy(tx: &mut Tx, now: Micros) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM attempts USING tenants
         WHERE tenants.log_retention_days IS NOT NULL AND attempts.tenant_id = tenants.tenant_id
             AND attempts.received_at < $1 - make_interval(days => tenants.log_retention_days)",
    )
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

/// Removes dead letters that Kafka no longer has.
pub async fn remove_dead_letters(tx: &mut Tx, before: Micros) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM dead_letters WHERE dead_at < $1")
        .bind(before)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

/// Keeps the figures of minutes before `before` by the hour alone, and drops hours before `hours_before`.
pub async fn roll_up(tx: &mut Tx, before: Micros, hours_before: Micros) -> Result<u64, Error> {
    let done = sqlx::query(
        "WITH old AS (
             DELETE FROM destination_minutes WHERE at < date_trunc('hour', $1, 'UTC') RETURNING *
         ),
         summed AS (
             SELECT destination_id, date_trunc('hour', at, 'UTC') AS hour, min(tenant_id) AS tenant_id,
                 (array_agg(customer_id))[1] AS customer_id, sum(delivered)::integer AS delivered,
                 sum(retrying)::integer AS retrying, sum(dead)::integer AS dead, sum(suspended)::integer AS suspended,
                 sum(skipped)::integer AS skipped
             FROM old GROUP BY destination_id, hour
         ),
         buckets AS (
             SELECT destination_id, hour, array_agg(n ORDER BY bucket) AS latency
             FROM (
                 SELECT destination_id, date_trunc('hour', at, 'UTC') AS hour, bucket, sum(n)::integer AS n
                 FROM old, unnest(latency) WITH ORDINALITY AS counted (n, bucket)
                 GROUP BY destination_id, hour, bucket
             ) AS counted GROUP BY destination_id, hour
         )
         INSERT INTO destination_hours AS h
             (destination_id, at, tenant_id, customer_id, delivered, retrying, dead, suspended, skipped, latency)
         SELECT destination_id, hour, tenant_id, customer_id, delivered, retrying, dead, suspended, skipped, latency
         FROM summed JOIN buckets USING (destination_id, hour)
         ON CONFLICT (destination_id, at) DO UPDATE SET
             delivered = h.delivered + excluded.delivered, retrying = h.retrying + excluded.retrying,
             dead = h.dead + excluded.dead, suspended = h.suspended + excluded.suspended,
             skipped = h.skipped + excluded.skipped, latency = log_added(h.latency, excluded.latency)",
    )
    .bind(before)
    .execute(tx.connection())
    .await?;
    sqlx::query("DELETE FROM destination_hours WHERE at < $1")
        .bind(hours_before)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}
