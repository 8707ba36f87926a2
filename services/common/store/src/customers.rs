//! A vendor's customers.

use pushrail_schemas::config::{Encryption, PayloadMode};
use pushrail_schemas::identity;
use sqlx::FromRow;
use uuid::Uuid;

use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Customer {
    pub tenant_id: String,
    pub customer_id: Uuid,
    pub external_id: String,
    pub name: String,
    /// For destinations that have none of their own.
    #[sqlx(json(nullable))]
    pub payload_mode: Option<PayloadMode>,
    /// `None` takes its tenant's.
    #[sqlx(try_from = "Option<String>")]
    pub encryption: Own,
    pub revision: i64,
    pub created_at: String,
    pub updated_at: String,
}

/// What a customer says of its own, where it says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own(pub Option<Encryption>);

impl TryFrom<Option<String>> for Own {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        Ok(Own(text.map(Encryption::try_from).transpose()?))
    }
}

/// Makes the customer where it is not there; says whether it did.
pub async fn ensure(
    tx: &mut Tx,
    tenant_id: &str,
    external_id: &str,
    name: &str,
) -> Result<(Customer, bool), Error> {
    let made = sqlx::query(
        "INSERT INTO customers (tenant_id, customer_id, external_id, name) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, customer_id) DO NOTHING",
    )
    .bind(tenant_id)
    .bind(identity::customer_id(tenant_id, external_id))
    .bind(external_id)
    .bind(name)
    .execute(tx.connection())
    .await?
    .rows_affected();
    match get(tx, tenant_id, external_id).await? {
        Some(customer) => Ok((customer, made > 0)),
        // It was removed between the two statements.
        None => Err(Error::Serialization),
    }
}

pub async fn get(
    tx: &mut Tx,
    tenant_id: &str,
    external_id: &str,
) -> Result<Option<Customer>, Error> {
    by_id(tx, tenant_id, identity::customer_id(tenant_id, external_id)).await
}

pub async fn by_id(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
) -> Result<Option<Customer>, Error> {
    let row = sqlx::query_as(
        "SELECT tenant_id, customer_id, external_id, name, payload_mode, encryption, revision,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM customers WHERE tenant_id = $1 AND customer_id = $2",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// The mode of a customer's destinations that have none of their own, which nobody else changes until this transaction
/// ends: what is made of it now holds.
pub async fn hold_payload_mode(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
) -> Result<Option<PayloadMode>, Error> {
    let row: Option<(Option<sqlx::types::Json<PayloadMode>>,)> = sqlx::query_as(
        "SELECT payload_mode FROM customers WHERE tenant_id = $1 AND customer_id = $2 FOR SHARE",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.and_then(|row| row.0).map(|json| json.0))
}

/// Writes what can be changed of a customer, if it still has this revision; any when `None`.
pub async fn update(
    tx: &mut Tx,
    tenant_id: &str,
    customer_id: Uuid,
    name: &str,
    payload_mode: Option<&PayloadMode>,
    encryption: Option<Encryption>,
    revision: Option<i64>,
) -> Result<Option<Customer>, Error> {
    let row = sqlx::query_as(
        "UPDATE customers SET name = $3, payload_mode = $5::json, encryption = $6, revision = revision + 1, updated_at = now()
         WHERE tenant_id = $1 AND customer_id = $2 AND ($4::bigint IS NULL OR revision = $4)
         RETURNING tenant_id, customer_id, external_id, name, payload_mode, encryption, revision,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .bind(name)
    .bind(revision)
    .bind(payload_mode.map(sqlx::types::Json))
    .bind(encryption.map(Encryption::as_str))
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// What vendors call these customers.
pub async fn external_ids(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>, Error> {
    let rows = sqlx::query_as(
        "SELECT customer_id, external_id FROM customers WHERE customer_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Removes a customer with its destinations and sessions.
pub async fn delete(tx: &mut Tx, tenant_id: &str, customer_id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM customers WHERE tenant_id = $1 AND customer_id = $2")
        .bind(tenant_id)
        .bind(customer_id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<Customer>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<Customer> = sqlx::query_as(
        "SELECT tenant_id, customer_id, external_id, name, payload_mode, encryption, revision,
             rfc3339(created_at) AS created_at, rfc3339(updated_at) AS updated_at
         FROM customers
         WHERE tenant_id = $1
             AND ($2::timestamptz IS NULL OR (customers.created_at, customer_id) > ($2::timestamptz, $3::uuid))
         ORDER BY customers.created_at, customer_id LIMIT $4",
    )
    .bind(tenant_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    Ok(Page::of(rows, limit, |row| Cursor {
        at: row.created_at.clone(),
        id: row.customer_id.to_string(),
    }))
}
