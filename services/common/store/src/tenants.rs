//! Vendors.

use pushrail_schemas::config::{self, Encryption, EventValidation};
use sqlx::FromRow;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Tenant {
    pub tenant_id: String,
    pub name: String,
    pub allowed_origins: Vec<String>,
    pub rotation_overlap_seconds: i32,
    #[sqlx(try_from = "String")]
    pub event_validation: EventValidation,
    #[sqlx(try_from = "String")]
    pub encryption: Encryption,
    /// Days for which the delivery log keeps what is this tenant's; the operator's when it is not given.
    pub log_retention_days: Option<i32>,
    pub revision: i64,
    pub created_at: String,
    pub updated_at: String,
}

/// What can be changed of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub name: String,
    pub allowed_origins: Vec<String>,
    pub rotation_overlap_seconds: i32,
    pub event_validation: EventValidation,
    pub encryption: Encryption,
    pub log_retention_days: Option<i32>,
}

impl Settings {
    /// What a tenant has that says nothing but its name: an old signing secret signs for a day beside a new one.
    pub fn named(name: impl Into<String>) -> Self {
        Settings {
            name: name.into(),
            allowed_origins: Vec::new(),
            rotation_overlap_seconds: 86_400,
            event_validation: EventValidation::Off,
            encryption: Encryption::Off,
            log_retention_days: None,
        }
    }
}

/// Every statement gives a tenant by the same columns.
macro_rules! columns {
    () => {
        "tenant_id, name, allowed_origins, rotation_overlap_seconds, event_validation, encryption, log_retention_days,
         revision, rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at"
    };
}

pub async fn insert(tx: &mut Tx, tenant_id: &str, settings: &Settings) -> Result<Tenant, Error> {
    let row = sqlx::query_as(concat!("INSERT INTO tenants (tenant_id, name, allowed_origins, rotation_overlap_seconds, event_validation,
             encryption, log_retention_days)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING ", columns!()))
    .bind(tenant_id)
    .bind(&settings.name)
    .bind(&settings.allowed_origins)
    .bind(settings.rotation_overlap_seconds)
    .bind(settings.event_validation.as_str())
    .bind(settings.encryption.as_str())
    .bind(settings.log_retention_days)
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

pub async fn get(tx: &mut Tx, tenant_id: &str) -> Result<Option<Tenant>, Error> {
    let row = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        "
         FROM tenants WHERE tenant_id = $1"
    ))
    .bind(tenant_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// As [`get`], and nobody else changes it until this transaction ends.
pub async fn lock(tx: &mut Tx, tenant_id: &str) -> Result<Option<Tenant>, Error> {
    let row = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        "
         FROM tenants WHERE tenant_id = $1 FOR UPDATE"
    ))
    .bind(tenant_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

pub async fn update(
    tx: &mut Tx,
    tenant_id: &str,
    settings: &Settings,
) -> Result<Option<Tenant>, Error> {
    let row = sqlx::query_as(concat!("UPDATE tenants SET name = $2, allowed_origins = $3, rotation_overlap_seconds = $4,
             event_validation = $5, encryption = $6, log_retention_days = $7, revision = revision + 1, updated_at = now()
         WHERE tenant_id = $1
         RETURNING ", columns!()))
    .bind(tenant_id)
    .bind(&settings.name)
    .bind(&settings.allowed_origins)
    .bind(settings.rotation_overlap_seconds)
    .bind(settings.event_validation.as_str())
    .bind(settings.encryption.as_str())
    .bind(settings.log_retention_days)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Removes a tenant with everything that belongs to it, but for its audit trail.
pub async fn delete(tx: &mut Tx, tenant_id: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM tenants WHERE tenant_id = $1")
        .bind(tenant_id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn list(tx: &mut Tx, after: Option<&Cursor>, limit: u32) -> Result<Page<Tenant>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<Tenant> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        "
         FROM tenants
         WHERE $1::timestamptz IS NULL OR (tenants.created_at, tenant_id) > ($1::timestamptz, $2)
         ORDER BY tenants.created_at, tenant_id LIMIT $3"
    ))
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    Ok(Page::of(rows, limit, |row| Cursor {
        at: row.created_at.clone(),
        id: row.tenant_id.clone(),
    }))
}

/// Whether a tenant, or any, has named this origin.
pub async fn names_origin(
    tx: &mut Tx,
    tenant_id: Option<&str>,
    origin: &str,
) -> Result<bool, Error> {
    let (named,): (bool,) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM tenants
             WHERE $2 = ANY (allowed_origins) AND ($1::text IS NULL OR tenant_id = $1))",
    )
    .bind(tenant_id)
    .bind(origin)
    .fetch_one(tx.connection())
    .await?;
    Ok(named)
}

/// What router, sinks and ingest are told of a tenant; `None` when there is none.
pub async fn document(tx: &mut Tx, tenant_id: &str) -> Result<Option<config::Tenant>, Error> {
    let row: Option<(String, String, String, bool)> = sqlx::query_as(
        "SELECT name, event_validation, encryption, EXISTS (SELECT FROM kafka_credentials AS k
             WHERE k.tenant_id = tenants.tenant_id AND k.read_audit AND k.state <> 'revoked')
         FROM tenants WHERE tenant_id = $1",
    )
    .bind(tenant_id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((name, event_validation, encryption, audit_feed)) = row else {
        return Ok(None);
    };
    Ok(Some(config::Tenant {
        tenant_id: tenant_id.into(),
        name: name.into(),
        audit_feed,
        event_validation: event_validation.try_into().map_err(Error::garbled)?,
        encryption: encryption.try_into().map_err(Error::garbled)?,
    }))
}
