//! Destinations: the document that router and sinks get, and what the control plane knows beside it.

use pushrail_schemas::config::Destination as Document;
use sqlx::FromRow;
use uuid::Uuid;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug)]
pub struct Destination {
    pub document: Document,
    /// Why it is disabled, where it is.
    pub state_reason: Option<String>,
    pub revision: i64,
    /// When secrets that are being replaced stop signing.
    pub rotation_ends_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

#[derive(FromRow)]
struct Row {
    document: String,
    state_reason: Option<String>,
    revision: i64,
    rotation_ends_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl Row {
    fn read(self) -> Result<Destination, Error> {
        Ok(Destination {
            document: serde_json::from_str(&self.document)?,
            state_reason: self.state_reason,
            revision: self.revision,
            rotation_ends_at: self.rotation_ends_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

pub async fn insert(tx: &mut Tx, document: &Document) -> Result<Destination, Error> {
    let row: Row = sqlx::query_as(
        "INSERT INTO destinations (destination_id, tenant_id, customer_id, kind, document)
         VALUES ($1, $2, $3, $4, $5::json)
         RETURNING document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at",
    )
    .bind(document.destination_id)
    .bind(&*document.tenant_id)
    .bind(document.customer_id)
    .bind(&*document.kind)
    .bind(serde_json::to_string(document)?)
    .fetch_one(tx.connection())
    .await?;
    row.read()
}

/// One destination of one customer.
pub async fn get(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
    destination_id: Uuid,
) -> Result<Option<Destination>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM destinations WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .bind(destination_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// As [`get`], and nobody else changes it until this transaction ends.
pub async fn lock(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
    destination_id: Uuid,
) -> Result<Option<Destination>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM destinations WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3 FOR UPDATE",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .bind(destination_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// What is written beside the document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside<'a> {
    pub state_reason: Option<&'a str>,
    /// Seconds from now until the secrets that are being replaced stop signing; `None` when none are.
    pub rotation_ends_in: Option<i32>,
    /// Leaves the end of a rotation as it is.
    pub keep_rotation: bool,
}

/// Replaces a destination that is locked.
pub async fn update(
    tx: &mut Tx,
    document: &Document,
    aside: Aside<'_>,
) -> Result<Option<Destination>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "UPDATE destinations SET document = $2::json, state_reason = $3,
             rotation_ends_at = CASE WHEN $5 THEN rotation_ends_at ELSE now() + make_interval(secs => $4) END,
             revision = revision + 1, updated_at = now()
         WHERE destination_id = $1
         RETURNING document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at",
    )
    .bind(document.destination_id)
    .bind(serde_json::to_string(document)?)
    .bind(aside.state_reason)
    .bind(aside.rotation_ends_in)
    .bind(aside.keep_rotation)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

pub async fn delete(tx: &mut Tx, destination_id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM destinations WHERE destination_id = $1")
        .bind(destination_id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() > 0)
}

/// A customer's destinations, oldest first.
pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<Destination>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM destinations
         WHERE tenant_id = $1 AND customer_id = $2
             AND ($3::timestamptz IS NULL OR (destinations.created_at, destination_id) > ($3::timestamptz, $4::uuid))
         ORDER BY destinations.created_at, destination_id LIMIT $5",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    let rows = rows.into_iter().map(Row::read).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |row: &Destination| Cursor {
        at: row.created_at.clone(),
        id: row.document.destination_id.to_string(),
    }))
}

/// A customer's destinations that have its payload mode, locked.
pub async fn lock_inheriting(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
) -> Result<Vec<Destination>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT document::text AS document, state_reason, revision, rfc3339(rotation_ends_at) AS rotation_ends_at,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM destinations
         WHERE tenant_id = $1 AND customer_id = $2 AND document ->> 'payloadModeInherited' = 'true'
         ORDER BY destination_id FOR UPDATE",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Ids of all destinations of a tenant, or of one customer of it.
pub async fn ids(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Option<Uuid>,
) -> Result<Vec<Uuid>, Error> {
    let rows: Vec<(Uuid,)> = sqlx::query_as(
        "SELECT destination_id FROM destinations
         WHERE tenant_id = $1 AND ($2::uuid IS NULL OR customer_id = $2)",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Up to `limit` documents whose id is above `after`, in the order of their ids; for the chores of the service.
pub async fn documents(
    tx: &mut Tx,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Document>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT document::text FROM destinations WHERE $1::uuid IS NULL OR destination_id > $1
         ORDER BY destination_id LIMIT $2 FOR SHARE",
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    let read = |row: (String,)| serde_json::from_str(&row.0).map_err(Error::from);
    rows.into_iter().map(read).collect()
}

/// Destinations whose old secrets should sign no longer.
pub async fn rotations_due(tx: &mut Tx, limit: u32) -> Result<Vec<Document>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT document::text FROM destinations WHERE rotation_ends_at <= now()
         ORDER BY rotation_ends_at LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    let read = |row: (String,)| serde_json::from_str(&row.0).map_err(Error::from);
    rows.into_iter().map(read).collect()
}
