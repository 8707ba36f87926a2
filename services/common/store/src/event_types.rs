//! A tenant's catalogue of event types.

use pushrail_schemas::config;
use serde_json::value::RawValue;
use sqlx::FromRow;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct EventType {
    pub tenant_id: String,
    pub name: String,
    pub description: String,
    pub group_name: String,
    /// JSON Schema of the payload, as JSON text.
    pub schema: Option<String>,
    /// An example payload, as JSON text.
    pub example: Option<String>,
    pub deprecated: bool,
    pub revision: i64,
    pub created_at: String,
    pub updated_at: String,
}

/// What can be said of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    pub description: &'a str,
    pub group_name: &'a str,
    pub schema: Option<&'a str>,
    pub example: Option<&'a str>,
    pub deprecated: bool,
}

pub async fn insert(
    tx: &mut Tx,
    tenant_id: &str,
    name: &str,
    said: &Said<'_>,
) -> Result<EventType, Error> {
    let row = sqlx::query_as(
        "INSERT INTO event_types (tenant_id, name, description, group_name, schema, example, deprecated)
         VALUES ($1, $2, $3, $4, $5::json, $6::json, $7)
         RETURNING tenant_id, name, description, group_name, schema::text AS schema, example::text AS example, deprecated,
             revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at",
    )
    .bind(tenant_id)
    .bind(name)
    .bind(said.description)
    .bind(said.group_name)
    .bind(said.schema)
    .bind(said.example)
    .bind(said.deprecated)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

pub async fn get(tx: &mut Tx, tenant_id: &str, name: &str) -> Result<Option<EventType>, Error> {
    let row = sqlx::query_as(
        "SELECT tenant_id, name, description, group_name, schema::text AS schema, example::text AS example, deprecated,
             revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM event_types WHERE tenant_id = $1 AND name = $2",
    )
    .bind(tenant_id)
    .bind(name)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Replaces what is said of a type, if it still has this revision; any when `None`.
pub async fn update(
    tx: &mut Tx,
    tenant_id: &str,
    name: &str,
    said: &Said<'_>,
    revision: Option<i64>,
) -> Result<Option<EventType>, Error> {
    let row = sqlx::query_as(
        "UPDATE event_types SET description = $3, group_name = $4, schema = $5::json, example = $6::json,
             deprecated = $7, revision = revision + 1, updated_at = now()
         WHERE tenant_id = $1 AND name = $2 AND ($8::bigint IS NULL OR revision = $8)
         RETURNING tenant_id, name, description, group_name, schema::text AS schema, example::text AS example, deprecated,
             revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at",
    )
    .bind(tenant_id)
    .bind(name)
    .bind(said.description)
    .bind(said.group_name)
    .bind(said.schema)
    .bind(said.example)
    .bind(said.deprecated)
    .bind(revision)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

pub async fn delete(tx: &mut Tx, tenant_id: &str, name: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM event_types WHERE tenant_id = $1 AND name = $2")
        .bind(tenant_id)
        .bind(name)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Types of a tenant by name.
pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<EventType>, Error> {
    let (_, id) = bounds(after);
    let rows: Vec<EventType> = sqlx::query_as(
        "SELECT tenant_id, name, description, group_name, schema::text AS schema, example::text AS example, deprecated,
             revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM event_types WHERE tenant_id = $1 AND ($2::text IS NULL OR name > $2)
         ORDER BY name LIMIT $3",
    )
    .bind(tenant_id)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    Ok(Page::of(rows, limit, |row| Cursor {
        at: row.created_at.clone(),
        id: row.name.clone(),
    }))
}

/// How many types a tenant has, and the bytes of their schemas together.
pub async fn extent(tx: &mut Tx, tenant_id: &str) -> Result<(i64, i64), Error> {
    let row = sqlx::query_as(
        "SELECT count(*), coalesce(sum(octet_length(schema::text)), 0)::bigint
         FROM event_types WHERE tenant_id = $1",
    )
    .bind(tenant_id)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

/// The names of a tenant's types.
pub async fn names(tx: &mut Tx, tenant_id: &str) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM event_types WHERE tenant_id = $1 ORDER BY name")
            .bind(tenant_id)
            .fetch_all(tx.connection())
            .await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// The next types of all tenants, by tenant and name.
pub async fn all(
    tx: &mut Tx,
    after: Option<&(String, String)>,
    limit: u32,
) -> Result<Vec<EventType>, Error> {
    let rows = sqlx::query_as(
        "SELECT tenant_id, name, description, group_name, schema::text AS schema, example::text AS example, deprecated,
             revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM event_types WHERE $1::text IS NULL OR (tenant_id, name) > ($1, $2)
         ORDER BY tenant_id, name LIMIT $3",
    )
    .bind(after.map(|(tenant_id, _)| tenant_id))
    .bind(after.map(|(_, name)| name))
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

impl EventType {
    /// What ingest is told of it.
    pub fn document(&self) -> Result<config::EventType, Error> {
        let schema = self.schema.clone().map(RawValue::from_string).transpose()?;
        Ok(config::EventType {
            tenant_id: self.tenant_id.as_str().into(),
            name: self.name.as_str().into(),
            schema,
        })
    }
}
