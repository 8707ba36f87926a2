//! Users of Kafka that a vendor was given. Their passwords are Kafka's alone.

use sqlx::FromRow;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct KafkaCredential {
    pub user_name: String,
    pub tenant_id: String,
    pub name: String,
    pub write_direct: bool,
    pub read_audit: bool,
    /// `pending`, `active` or `revoked`.
    pub state: String,
    pub created_at: String,
    pub rotated_at: Option<String>,
    pub revoked_at: Option<String>,
}

/// Before Kafka is asked, so that a user that Kafka has is never one that nobody knows.
pub async fn insert(
    tx: &mut Tx,
    tenant_id: &str,
    user_name: &str,
    name: &str,
    write_direct: bool,
    read_audit: bool,
) -> Result<KafkaCredential, Error> {
    let row = sqlx::query_as(
        "INSERT INTO kafka_credentials (user_name, tenant_id, name, write_direct, read_audit)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING user_name, tenant_id, name, write_direct, read_audit, state, rfc3339(created_at) AS created_at,
             rfc3339(rotated_at) AS rotated_at, rfc3339(revoked_at) AS revoked_at",
    )
    .bind(user_name)
    .bind(tenant_id)
    .bind(name)
    .bind(write_direct)
    .bind(read_audit)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

pub async fn get(tx: &mut Tx, user_name: &str) -> Result<Option<KafkaCredential>, Error> {
    let row = sqlx::query_as(
        "SELECT user_name, tenant_id, name, write_direct, read_audit, state, rfc3339(created_at) AS created_at,
             rfc3339(rotated_at) AS rotated_at, rfc3339(revoked_at) AS revoked_at
         FROM kafka_credentials WHERE user_name = $1",
    )
    .bind(user_name)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Says what has become of it: `active`, `rotated` (and active) or `revoked`.
pub async fn mark(
    tx: &mut Tx,
    user_name: &str,
    what: &str,
) -> Result<Option<KafkaCredential>, Error> {
    let row = sqlx::query_as(
        "UPDATE kafka_credentials SET state = CASE WHEN $2 = 'revoked' THEN 'revoked' ELSE 'active' END,
             rotated_at = CASE WHEN $2 = 'rotated' THEN now() ELSE rotated_at END,
             revoked_at = CASE WHEN $2 = 'revoked' THEN now() ELSE revoked_at END
         WHERE user_name = $1 AND state <> 'revoked'
         RETURNING user_name, tenant_id, name, write_direct, read_audit, state, rfc3339(created_at) AS created_at,
             rfc3339(rotated_at) AS rotated_at, rfc3339(revoked_at) AS revoked_at",
    )
    .bind(user_name)
    .bind(what)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<KafkaCredential>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<KafkaCredential> = sqlx::query_as(
        "SELECT user_name, tenant_id, name, write_direct, read_audit, state, rfc3339(created_at) AS created_at,
             rfc3339(rotated_at) AS rotated_at, rfc3339(revoked_at) AS revoked_at
         FROM kafka_credentials
         WHERE tenant_id = $1
             AND ($2::timestamptz IS NULL OR (kafka_credentials.created_at, user_name) > ($2::timestamptz, $3))
         ORDER BY kafka_credentials.created_at, user_name LIMIT $4",
    )
    .bind(tenant_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    Ok(Page::of(rows, limit, |row| Cursor {
        at: row.created_at.clone(),
        id: row.user_name.clone(),
    }))
}

/// Users that were to be made, and were not finished for longer than anybody takes for it.
pub async fn unfinished(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT user_name FROM kafka_credentials
         WHERE state = 'pending' AND created_at < now() - interval '1 minute'",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Users of a tenant that count.
pub async fn live(tx: &mut Tx, tenant_id: &str) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT user_name FROM kafka_credentials WHERE tenant_id = $1 AND state <> 'revoked'",
    )
    .bind(tenant_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
