//! What has been decided and is to be told to Kafka.
//!
//! A row is written in the transaction that decides, so that nothing is decided and not told, or told and not decided. Rows
//! of one key are written by transactions that hold the lock of the row the key stands for, so the order of their ids is
//! the order of the decisions. The publisher removes a row when Kafka has acknowledged its record: a crash between the two
//! repeats the newest record of a key, which changes nothing.

use sqlx::FromRow;

use crate::{Error, Store, Tx};

/// PostgreSQL tells whoever listens here that there may be something to publish.
pub const CHANNEL: &str = "pushrail_outbox";
/// Of the advisory lock that the one publisher holds.
const PUBLISHER: i64 = 0x5075_7368_7261_696c;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Letter {
    pub id: i64,
    pub topic: String,
    pub key: String,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// A JSON object of texts.
    headers: Option<String>,
}

impl Letter {
    pub fn headers(&self) -> Result<Vec<(String, String)>, Error> {
        let headers: Option<std::collections::BTreeMap<String, String>> = self
            .headers
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?;
        Ok(headers.unwrap_or_default().into_iter().collect())
    }
}

/// Puts a letter into the outbox, and returns its id.
pub async fn put(tx: &mut Tx, topic: &str, key: &str, value: Option<&[u8]>) -> Result<i64, Error> {
    let (id,): (i64,) = sqlx::query_as("SELECT put_letter($1, $2, $3)")
        .bind(topic)
        .bind(key)
        .bind(value)
        .fetch_one(tx.connection())
        .await?;
    // Delivered when the transaction commits, once however often it is said.
    sqlx::query("SELECT pg_notify($1, '')")
        .bind(CHANNEL)
        .execute(tx.connection())
        .await?;
    Ok(id)
}

/// As [`put`], with headers; for the service's own transactions alone.
pub async fn put_with_headers(
    tx: &mut Tx,
    topic: &str,
    key: &str,
    value: &[u8],
    headers: &[(&str, &str)],
) -> Result<(), Error> {
    let headers: std::collections::BTreeMap<_, _> = headers.iter().copied().collect();
    sqlx::query("INSERT INTO outbox (topic, key, value, headers) VALUES ($1, $2, $3, $4::json)")
        .bind(topic)
        .bind(key)
        .bind(value)
        .bind(serde_json::to_string(&headers)?)
        .execute(tx.connection())
        .await?;
    sqlx::query("SELECT pg_notify($1, '')")
        .bind(CHANNEL)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Whether Kafka has acknowledged all of these letters.
pub async fn are_gone(tx: &mut Tx, ids: &[i64]) -> Result<bool, Error> {
    let (waiting,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT FROM outbox WHERE id = ANY($1))")
            .bind(ids)
            .fetch_one(tx.connection())
            .await?;
    Ok(!waiting)
}

/// The oldest letters.
pub async fn oldest(tx: &mut Tx, limit: u32) -> Result<Vec<Letter>, Error> {
    let rows = sqlx::query_as(
        "SELECT id, topic, key, value, headers::text AS headers FROM outbox ORDER BY id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Removes letters that Kafka has acknowledged.
pub async fn remove(tx: &mut Tx, ids: &[i64]) -> Result<(), Error> {
    sqlx::query("DELETE FROM outbox WHERE id = ANY($1)")
        .bind(ids)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Letters that wait, and the age of the oldest in seconds.
pub async fn waiting(tx: &mut Tx) -> Result<(i64, f64), Error> {
    let row = sqlx::query_as(
        "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox",
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(row)
}

/// The right to publish: one instance has it, for as long as its connection lives.
pub struct Publisher {
    listener: sqlx::postgres::PgListener,
}

impl Store {
    /// Becomes the publisher; `None` while another instance is.
    pub async fn publisher(&self) -> Result<Option<Publisher>, Error> {
        let mut listener = sqlx::postgres::PgListener::connect_with(&self.pool).await?;
        // A lost connection has lost the lock: it must come back as an error, not be mended behind our back.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        let (locked,): (bool,) = sqlx::query_as("SELECT pg_try_advisory_lock($1)")
            .bind(PUBLISHER)
            .fetch_one(&mut listener)
            .await?;
        Ok(locked.then_some(Publisher { listener }))
    }
}

impl Publisher {
    /// Waits until there may be something new. An error means that the right to publish is lost.
    pub async fn wait(&mut self) -> Result<(), Error> {
        match self.listener.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(Error::Unavailable(sqlx::Error::PoolClosed)),
        }
    }
}
