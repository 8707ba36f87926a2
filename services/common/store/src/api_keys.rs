//! Tenants' API keys: their digests.

use sqlx::FromRow;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ApiKey {
    pub key_id: String,
    pub tenant_id: String,
    pub name: String,
    pub created_at: String,
    pub last_used_at: Option<String>,
    pub revoked_at: Option<String>,
}

pub async fn insert(
    tx: &mut Tx,
    key: &pushrail_schemas::config::ApiKey,
    name: &str,
) -> Result<ApiKey, Error> {
    let row = sqlx::query_as(
        "INSERT INTO api_keys (key_id, tenant_id, name, sha256) VALUES ($1, $2, $3, $4)
         RETURNING key_id, tenant_id, name, rfc3339(created_at) AS created_at,
             rfc3339(last_used_at) AS last_used_at, rfc3339(revoked_at) AS revoked_at",
    )
    .bind(&*key.key_id)
    .bind(&*key.tenant_id)
    .bind(name)
    .bind(&*key.sha256)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

/// The key with this digest, unless it is revoked. For [`crate::Scope::Key`].
pub async fn presented(tx: &mut Tx, sha256: &str) -> Result<Option<ApiKey>, Error> {
    let row = sqlx::query_as(
        "SELECT key_id, tenant_id, name, rfc3339(created_at) AS created_at,
             rfc3339(last_used_at) AS last_used_at, rfc3339(revoked_at) AS revoked_at
         FROM api_keys WHERE sha256 = $1 AND revoked_at IS NULL",
    )
    .bind(sha256)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

pub async fn get(tx: &mut Tx, key_id: &str) -> Result<Option<ApiKey>, Error> {
    let row = sqlx::query_as(
        "SELECT key_id, tenant_id, name, rfc3339(created_at) AS created_at,
             rfc3339(last_used_at) AS last_used_at, rfc3339(revoked_at) AS revoked_at
         FROM api_keys WHERE key_id = $1",
    )
    .bind(key_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Revokes a key for good; `None` when there is none, or it was revoked before.
pub async fn revoke(tx: &mut Tx, key_id: &str) -> Result<Option<ApiKey>, Error> {
    let row = sqlx::query_as(
        "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL
         RETURNING key_id, tenant_id, name, rfc3339(created_at) AS created_at,
             rfc3339(last_used_at) AS last_used_at, rfc3339(revoked_at) AS revoked_at",
    )
    .bind(key_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Notes when keys were used last; a key that was used later keeps the later time.
pub async fn used(tx: &mut Tx, key_ids: &[String], at: &[String]) -> Result<(), Error> {
    sqlx::query(
        "UPDATE api_keys SET last_used_at = greatest(last_used_at, used.at)
         FROM unnest($1::text[], $2::text[]::timestamptz[]) AS used (key_id, at)
         WHERE api_keys.key_id = used.key_id",
    )
    .bind(key_ids)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keys of one tenant, revoked ones included.
pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<ApiKey>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<ApiKey> = sqlx::query_as(
        "SELECT key_id, tenant_id, name, rfc3339(created_at) AS created_at,
             rfc3339(last_used_at) AS last_used_at, rfc3339(revoked_at) AS revoked_at
         FROM api_keys
         WHERE tenant_id = $1
             AND ($2::timestamptz IS NULL OR (api_keys.created_at, key_id) > ($2::timestamptz, $3))
         ORDER BY api_keys.created_at, key_id LIMIT $4",
    )
    .bind(tenant_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    Ok(Page::of(rows, limit, |row| Cursor {
        at: row.created_at.clone(),
        id: row.key_id.clone(),
    }))
}

/// Digest and owner of every key that counts, for the `config` topic.
pub async fn live(tx: &mut Tx) -> Result<Vec<pushrail_schemas::config::ApiKey>, Error> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT key_id, tenant_id, sha256 FROM api_keys WHERE revoked_at IS NULL")
            .fetch_all(tx.connection())
            .await?;
    let key =
        |(key_id, tenant_id, sha256): (String, String, String)| pushrail_schemas::config::ApiKey {
            key_id: key_id.into(),
            tenant_id: tenant_id.into(),
            sha256: sha256.into(),
        };
    Ok(rows.into_iter().map(key).collect())
}

/// Ids of a tenant's keys that count.
pub async fn live_ids(tx: &mut Tx, tenant_id: &str) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT key_id FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL")
            .bind(tenant_id)
            .fetch_all(tx.connection())
            .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
