//! Portal sessions of one customer.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{Error, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Session {
    pub session_id: Uuid,
    pub tenant_id: String,
    pub customer_id: Uuid,
    pub created_at: String,
    pub expires_at: String,
    /// Unix seconds, for the token.
    pub expires_at_s: i64,
}

pub async fn insert(
    tx: &mut Tx,
    session_id: Uuid,
    tenant_id: &str,
    customer_id: Uuid,
    ttl_seconds: i32,
) -> Result<Session, Error> {
    let row = sqlx::query_as(
        "INSERT INTO sessions (session_id, tenant_id, customer_id, expires_at)
         VALUES ($1, $2, $3, date_trunc('second', now()) + make_interval(secs => $4))
         RETURNING session_id, tenant_id, customer_id, rfc3339(created_at) AS created_at,
             rfc3339(expires_at) AS expires_at, extract(epoch FROM expires_at)::bigint AS expires_at_s",
    )
    .bind(session_id)
    .bind(tenant_id)
    .bind(customer_id)
    .bind(ttl_seconds)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

/// The session with this id, while it lasts. For [`crate::Scope::Session`].
pub async fn presented(tx: &mut Tx, session_id: Uuid) -> Result<Option<Session>, Error> {
    let row = sqlx::query_as(
        "SELECT session_id, tenant_id, customer_id, rfc3339(created_at) AS created_at,
             rfc3339(expires_at) AS expires_at, extract(epoch FROM expires_at)::bigint AS expires_at_s
         FROM sessions WHERE session_id = $1 AND revoked_at IS NULL AND expires_at > now()",
    )
    .bind(session_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Ends a session at once; `None` when there is none that lasts.
pub async fn revoke(tx: &mut Tx, session_id: Uuid) -> Result<Option<Session>, Error> {
    let row = sqlx::query_as(
        "UPDATE sessions SET revoked_at = now()
         WHERE session_id = $1 AND revoked_at IS NULL AND expires_at > now()
         RETURNING session_id, tenant_id, customer_id, rfc3339(created_at) AS created_at,
             rfc3339(expires_at) AS expires_at, extract(epoch FROM expires_at)::bigint AS expires_at_s",
    )
    .bind(session_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Ends all sessions of a customer; says how many there were.
pub async fn revoke_all(tx: &mut Tx, tenant_id: &str, customer_id: Uuid) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE sessions SET revoked_at = now()
         WHERE tenant_id = $1 AND customer_id = $2 AND revoked_at IS NULL AND expires_at > now()",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

/// Forgets sessions that ended a day ago or longer.
pub async fn forget_ended(tx: &mut Tx) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM sessions WHERE expires_at < now() - interval '1 day'")
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}
