//! What the log knows of deliveries that may be replayed. It may know nothing: it is behind, or has forgotten.

use uuid::Uuid;

use super::Of;
use crate::{Error, Tx};

/// The event of a delivery, and when it was accepted (RFC 3339).
pub async fn of_delivery(
    tx: &mut Tx,
    of: Of<'_>,
    delivery_id: Uuid,
) -> Result<Option<(Uuid, String)>, Error> {
    let row = sqlx::query_as(
        "SELECT event_id, rfc3339(received_at) FROM attempts
         WHERE delivery_id = $4 AND tenant_id = $1 AND customer_id = $2 AND destination_id = $3 LIMIT 1",
    )
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(delivery_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// How deliveries stand: the outcome of the newest of each, of those that the log knows. Their events were accepted within
/// `received_us` (Unix microseconds, both inclusive), which spares looking through other days.
pub async fn outcomes(
    tx: &mut Tx,
    of: Of<'_>,
    delivery_ids: &[Uuid],
    received_us: (i64, i64),
) -> Result<Vec<(Uuid, String)>, Error> {
    let rows = sqlx::query_as(
        "SELECT delivery_id, outcome FROM attempts
         WHERE delivery_id = ANY ($4) AND latest AND tenant_id = $1 AND customer_id = $2 AND destination_id = $3
             AND received_at >= timestamptz 'epoch' + $5 * interval '1 microsecond'
             AND received_at <= timestamptz 'epoch' + $6 * interval '1 microsecond'",
    )
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(delivery_ids)
    .bind(received_us.0)
    .bind(received_us.1)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}
