//! Getting records onto `events`, and telling each request when all of its own are durable.
//!
//! A request's records are one [`Publish::publish`]: a slot counts what is outstanding and answers once, so that a batch
//! of a thousand events costs one wake-up and not a thousand futures. What was queued keeps its share of the budget until
//! Kafka has answered or the record has expired, even when the client has gone: a queue must not grow because callers
//! gave up waiting for it.

mod kafka;

use tokio::sync::oneshot;

use crate::budget::Reservation;
use crate::event::Batch;

pub use kafka::KafkaPublisher;

/// Records that one request may have: a slot numbers them with 16 bits.
pub const RECORDS_MAX: usize = u16::MAX as usize;

/// Places in the batch of the records that were not acknowledged, in ascending order; empty when all are durable.
pub type Unconfirmed = Vec<u16>;

/// Takes records for `events`.
pub trait Publish: Send + Sync + 'static {
    /// Whether Kafka has stopped answering: a request that is not queued then is told so at once.
    fn is_stalled(&self) -> bool;

    /// Queues all records of `batch`, at most [`RECORDS_MAX`]. The answer comes when the fate of each is known; a closed
    /// channel means that the fate of all is unknown. `reservation` is given back then too.
    fn publish(&self, batch: Batch, reservation: Reservation) -> oneshot::Receiver<Unconfirmed>;
}
