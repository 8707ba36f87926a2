//! Answers to requests that carried an `Idempotency-Key`, so that a repeat gets the same one.

use crate::{Error, Tx};

/// How long a key is remembered.
pub const WINDOW: &str = "24 hours";

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nobody used it; it is now taken, by this transaction.
    Fresh,
    /// It was used for another request.
    Other,
    /// It was used for this request, whose answer was this; sealed.
    Answered {
        status: u16,
        key_ring_id: String,
        answer: String,
    },
}

#[derive(sqlx::FromRow)]
struct Row {
    request_sha256: String,
    status: Option<i16>,
    key_ring_id: Option<String>,
    answer: Option<String>,
}

/// Takes a key for a request. Where another transaction holds it, waits until that has ended.
pub async fn take(
    tx: &mut Tx,
    owner: &str,
    key: &str,
    request_sha256: &str,
) -> Result<Known, Error> {
    sqlx::query(
        "DELETE FROM idempotency WHERE owner = $1 AND key = $2 AND (created_at < now() - $3::interval
             -- Its request was interrupted after it had done something outside the database.
             OR (status IS NULL AND created_at < now() - interval '1 minute'))",
    )
    .bind(owner)
    .bind(key)
    .bind(WINDOW)
    .execute(tx.connection())
    .await?;
    let made = sqlx::query(
        "INSERT INTO idempotency (owner, key, request_sha256) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(owner)
    .bind(key)
    .bind(request_sha256)
    .execute(tx.connection())
    .await?;
    if made.rows_affected() > 0 {
        return Ok(Known::Fresh);
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT request_sha256, status, key_ring_id, answer FROM idempotency WHERE owner = $1 AND key = $2",
    )
    .bind(owner)
    .bind(key)
    .fetch_optional(tx.connection())
    .await?;
    match row {
        Some(row) if row.request_sha256 != request_sha256 => Ok(Known::Other),
        Some(Row {
            status: Some(status),
            key_ring_id: Some(key_ring_id),
            answer: Some(answer),
            ..
        }) => Ok(Known::Answered {
            status: u16::try_from(status).unwrap_or_default(),
            key_ring_id,
            answer,
        }),
        _ => Err(Error::Serialization),
    }
}

/// Keeps the answer beside the key, in the transaction that took it.
pub async fn answer(
    tx: &mut Tx,
    owner: &str,
    key: &str,
    status: u16,
    key_ring_id: &str,
    answer: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE idempotency SET status = $3, key_ring_id = $4, answer = $5 WHERE owner = $1 AND key = $2",
    )
    .bind(owner)
    .bind(key)
    .bind(i16::try_from(status).unwrap_or_default())
    .bind(key_ring_id)
    .bind(answer)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets a key whose request failed after it had committed, so that it may be tried again at once.
pub async fn forget(tx: &mut Tx, owner: &str, key: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM idempotency WHERE owner = $1 AND key = $2 AND status IS NULL")
        .bind(owner)
        .bind(key)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Forgets keys whose window has passed.
pub async fn forget_old(tx: &mut Tx) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM idempotency WHERE created_at < now() - $1::interval")
        .bind(WINDOW)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}
