//! Where other kinds of destinations deliver to: the real server or the best emulator of each, with a stock client that
//! says what is there, and that does the same work as a measure of ours.

mod aws;
mod bigquery;
mod guarded;
mod kafka;
mod postgres;
mod s3;
mod sqs;
mod trouble;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use futures::Future;
use serde_json::Value;
use uuid::Uuid;

pub use bigquery::BigQuery;
pub use guarded::{Guarded, GuardedKafka, GuardedPostgres, GuardedS3};
pub use kafka::Kafka;
pub use postgres::Postgres;
pub use s3::S3;
pub use sqs::{Fifo, Sqs};
pub use trouble::Trouble;

use crate::sample;

/// A kind of destination and what is behind it.
pub trait Place: Sized + Send + Sync + 'static {
    const KIND: &'static str;
    /// What reports call it.
    const NAME: &'static str;
    /// What it runs against, and who looks at it.
    const SERVER: &'static str;

    /// Starts the server, with something behind each of the first `destinations`.
    fn start(folder: &Path, destinations: u32)
    -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Configuration and secrets of a destination. Beyond those that were started there may be nothing behind it.
    fn destination(&self, number: u32) -> (Value, Value);

    /// Changes a configuration so that it leads to another server than this.
    fn lead_astray(config: &mut Value, to: SocketAddr);

    /// Begins to count what is offered, where that can be done: see [`Found::offered`]. It costs, so nobody is timed with it.
    fn count_offered(&self) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// What the stock client finds in all of them.
    fn found(&self) -> impl Future<Output = anyhow::Result<Found>> + Send;

    /// The stock client, ready to send to one of them.
    fn stock(&self, number: u32) -> impl Future<Output = anyhow::Result<Self::Stock>> + Send;

    type Stock: Stock;
}

/// A stock client of one destination.
pub trait Stock: Send + 'static {
    /// Sends a batch as its makers recommend it: that is what ours is measured by.
    fn send(&mut self, batch: &[Posted]) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a destination holds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The event of every row, message or line: as often as it is there.
    pub ids: Vec<Uuid>,
    /// Rows that were offered to it, where it can tell: those it knew already and those of a transaction that was cut off
    /// are among them.
    pub offered: Option<u64>,
}

impl Found {
    /// From lines with an id each.
    fn lines(text: &[u8]) -> anyhow::Result<Self> {
        let lines = std::str::from_utf8(text)?.lines();
        let ids = lines.map(|line| line.parse().with_context(|| format!("no event id: {line}")));
        Ok(Found {
            ids: ids.collect::<anyhow::Result<_>>()?,
            offered: None,
        })
    }
}

/// An event as destinations get it, for the stock client.
#[derive(Clone, Debug)]
pub struct Posted {
    pub id: Uuid,
    pub customer: String,
    pub payload: String,
    /// The canonical event as JSON.
    pub json: String,
}

impl Posted {
    /// Event number `sequence` of destination `number`: as large as those that are delivered.
    pub fn new(sequence: u64, number: u32) -> Self {
        let (id, customer) = (sample::event_id(sequence), sample::customer(number));
        let now_us = pushrail_clock::now_us();
        let payload = sample::payload(sequence, now_us, sample::PAYLOAD_LEN);
        let time = jiff::Timestamp::from_microsecond(now_us).unwrap_or_default();
        let event_type = sample::EVENT_TYPE;
        let json = format!(
            r#"{{"eventId":"{id}","eventType":"{event_type}","occurredAt":"{time}","receivedAt":"{time}","customerExternalId":"{customer}","payload":{payload},"metadata":{{}}}}"#
        );
        Posted {
            id,
            customer,
            payload,
            json,
        }
    }
}
