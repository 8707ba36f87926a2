//! What the keys of payloads are computed from: a row is a tree of one epoch, sealed.
//!
//! A tree that something was erased from is written over. PostgreSQL keeps the old version of the row until it is vacuumed,
//! and its write-ahead log and backups for as long as the operator keeps those.

use pushrail_schemas::config::{PayloadKey, Sealed};
use uuid::Uuid;

use crate::{Error, Tx};

type Row = (String, i32, i16, String, String);

fn read((tenant_id, epoch, shard, key_id, ciphertext): Row) -> PayloadKey {
    PayloadKey {
        tenant_id: tenant_id.into(),
        epoch: u32::try_from(epoch).unwrap_or_default(),
        shard: u8::try_from(shard).unwrap_or_default(),
        sealed: Sealed {
            key_id: key_id.into(),
            ciphertext: ciphertext.into(),
        },
    }
}

/// All of a tenant, which nobody else changes until this transaction ends.
pub async fn lock(tx: &mut Tx, tenant_id: &str) -> Result<Vec<PayloadKey>, Error> {
    // One at a time: who makes the first epoch has no row to lock.
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended('pushrail_payload_keys/' || $1, 0))",
    )
    .bind(tenant_id)
    .execute(tx.connection())
    .await?;
    of(tx, tenant_id).await
}

pub async fn of(tx: &mut Tx, tenant_id: &str) -> Result<Vec<PayloadKey>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant_id, epoch, shard, key_ring_id, ciphertext FROM payload_keys WHERE tenant_id = $1
         ORDER BY epoch, shard",
    )
    .bind(tenant_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(read).collect())
}

/// What a tenant's subjects are hashed with.
pub async fn of_subjects(tx: &mut Tx, tenant_id: &str) -> Result<Option<PayloadKey>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT tenant_id, epoch, shard, key_ring_id, ciphertext FROM payload_keys WHERE tenant_id = $1 AND epoch = $2",
    )
    .bind(tenant_id)
    .bind(PayloadKey::SUBJECTS as i32)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(read))
}

/// All there are, in the order of tenants.
pub async fn all(tx: &mut Tx) -> Result<Vec<PayloadKey>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant_id, epoch, shard, key_ring_id, ciphertext FROM payload_keys ORDER BY tenant_id, epoch, shard",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(read).collect())
}

/// Writes one, over what was there.
pub async fn put(tx: &mut Tx, key: &PayloadKey) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO payload_keys (tenant_id, epoch, shard, key_ring_id, ciphertext) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant_id, epoch, shard) DO UPDATE SET key_ring_id = $4, ciphertext = $5",
    )
    .bind(&*key.tenant_id)
    .bind(i32::try_from(key.epoch).unwrap_or(i32::MAX))
    .bind(i16::from(key.shard))
    .bind(&*key.sealed.key_id)
    .bind(&*key.sealed.ciphertext)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Tenants that have no key of subjects.
pub async fn without_subjects(tx: &mut Tx, limit: u32) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT tenant_id FROM tenants WHERE NOT EXISTS
             (SELECT FROM payload_keys k WHERE k.tenant_id = tenants.tenant_id AND k.epoch = 0)
         ORDER BY tenant_id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Tenants whose newest epoch is that many days old.
pub async fn overdue(tx: &mut Tx, days: u32) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT tenant_id FROM payload_keys WHERE epoch > 0 GROUP BY tenant_id
         HAVING max(created_at) < now() - make_interval(days => $1)",
    )
    .bind(i32::try_from(days).unwrap_or(i32::MAX))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Removes epochs that ended that many days ago, and says which they were: tenant, epoch and shard.
pub async fn remove_ended(tx: &mut Tx, days: u32) -> Result<Vec<(String, u32, u8)>, Error> {
    let rows: Vec<(String, i32, i16)> = sqlx::query_as(
        "DELETE FROM payload_keys AS old WHERE epoch > 0 AND EXISTS
             (SELECT FROM payload_keys AS next WHERE next.tenant_id = old.tenant_id AND next.epoch > old.epoch
                 AND next.created_at < now() - make_interval(days => $1))
         RETURNING tenant_id, epoch, shard",
    )
    .bind(i32::try_from(days).unwrap_or(i32::MAX))
    .fetch_all(tx.connection())
    .await?;
    let read = |(tenant, epoch, shard): (String, i32, i16)| {
        let epoch = u32::try_from(epoch).unwrap_or_default();
        (tenant, epoch, u8::try_from(shard).unwrap_or_default())
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Whether the events of a customer are to be sealed.
pub async fn wanted(tx: &mut Tx, tenant_id: &str, customer_id: Uuid) -> Result<bool, Error> {
    let row: Option<(bool,)> = sqlx::query_as(
        "SELECT coalesce(customers.encryption, tenants.encryption) = 'on' FROM tenants
         LEFT JOIN customers ON customers.tenant_id = tenants.tenant_id AND customers.customer_id = $2
         WHERE tenants.tenant_id = $1",
    )
    .bind(tenant_id)
    .bind(customer_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.is_some_and(|row| row.0))
}

/// Customers that say otherwise than their tenant whether payloads are sealed.
pub async fn customers(tx: &mut Tx) -> Result<Vec<(String, Uuid, String)>, Error> {
    let rows = sqlx::query_as(
        "SELECT tenant_id, customer_id, encryption FROM customers WHERE encryption IS NOT NULL",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}
