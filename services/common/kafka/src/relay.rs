//! The loop of every service that only moves records: read one, write the copies it calls for, and settle it when all of
//! them are acknowledged.
//!
//! The router, the retry mover and direct publishing are [`Handler`]s on it. What the loop owns: assignment, back-pressure,
//! holding a partition back, the ledger, commits, and handing over without repeating. A handler is synchronous and never
//! waits; what it can't do now it holds, and the same record is offered again.

mod group;
mod held;
mod outbox;
mod partition;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, Headers as _, OwnedHeaders};
use tokio::time::Instant;

pub use outbox::Outbox;
pub use run::run;

use crate::TopicPartition;

/// What a service does with each record.
pub trait Handler {
    /// A partition is ours. Its records come once [`Handler::ready`] says so.
    fn assigned(&mut self, _partition: &TopicPartition, _next_offset: Option<i64>) {}

    /// Whether records of the partition may come. Asked again and again until it is so.
    fn ready(&mut self, _partition: &TopicPartition) -> bool {
        true
    }

    /// Handles a record: writes its copies to `out`, or holds it. What was written before [`Flow::Hold`] is returned is
    /// dropped. A record comes again when Kafka refused one of its copies ([`Incoming::refused`]); until none is refused,
    /// its partition goes no further, so a handler that knows another place for such a record should use it.
    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow;

    /// A partition is no longer ours; everything that was read of it is settled or forgotten.
    fn revoked(&mut self, _partition: &TopicPartition) {}

    /// Called some ten times a second, for what happens without a record.
    fn tick(&mut self) {}
}

/// What a handler made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Settled once its copies, none or more, are acknowledged.
    Done,
    /// Offer it again at this time; until then the partition stands still.
    Hold(Instant),
}

/// A record as it was read.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Unix milliseconds, as the producer or the broker set it.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// What Kafka said to the copies of this record when it was handled last, if it would not take them.
    pub refused: Option<Refusal>,
    native_headers: Option<&'a BorrowedHeaders>,
}

/// Kafka would not take a copy of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the last copy that was refused.
    pub code: RDKafkaErrorCode,
    /// How often the record was refused for good ([`Refusal::is_final`]).
    pub times: u32,
}

impl Refusal {
    /// Whether the same copy will be refused again, until somebody changes the topic. Kafka judges whole batches, and one
    /// that is too large may have been so for its neighbours; after a refusal records go one by one, so the second verdict
    /// is mostly the record's own, and the third nearly always.
    pub fn is_final(&self) -> bool {
        is_final(self.code)
    }

    /// Whether the topic is not there, or not yet.
    pub fn is_topic_unknown(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    }
}

fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

impl<'a> Incoming<'a> {
    /// Headers in their order. One whose value is null has an empty value here.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.native_headers
            .into_iter()
            .flat_map(|h| h.iter())
            .map(|h| (h.key, h.value.unwrap_or_default()))
    }

    /// All headers as they are, for a copy.
    pub fn copy_headers(&self) -> OwnedHeaders {
        self.native_headers
            .map_or_else(OwnedHeaders::new, BorrowedHeaders::detach)
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }
}

/// How a relay works.
#[derive(Clone, Debug)]
pub struct Settings {
    pub group: String,
    pub client_id: String,
    /// Topics to read; a name that starts with `^` is a pattern.
    pub topics: Vec<String>,
    pub commit_interval: Duration,
    /// How long a copy may wait for others of its batch; `None` is as short as a producer's usual. The operator's
    /// `linger.ms` wins.
    pub linger: Option<Duration>,
    /// Longest commit metadata, in bytes; no more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    /// Copies that may await their acknowledgement before reading stops.
    pub outstanding_max: usize,
    /// Bytes of records that a worker may keep in memory because they must wait a short time. What waits longer is read
    /// again when it is due, but for 512 KiB of each partition.
    pub held_bytes_max: usize,
    /// How long a revoked partition, or a shutdown, may wait for acknowledgements.
    pub drain_timeout: Duration,
}

impl Settings {
    pub fn new(
        group: impl Into<String>,
        client_id: impl Into<String>,
        topics: Vec<String>,
    ) -> Self {
        Settings {
            group: group.into(),
            client_id: client_id.into(),
            topics,
            commit_interval: Duration::from_millis(500),
            linger: None,
            metadata_len_max: crate::METADATA_LEN_MAX_DEFAULT,
            outstanding_max: 20_000,
            held_bytes_max: 32 * 1024 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What a relay counts; shared by its workers, read by whoever exports metrics.
#[derive(Debug, Default)]
pub struct Counters {
    pub records: AtomicU64,
    pub copies: AtomicU64,
    pub holds: AtomicU64,
    /// Copies that Kafka refused; each makes its partition start again at its commit.
    pub refused: AtomicU64,
    /// Partitions whose log was found shorter than it had been: truncated, or deleted and made again.
    pub truncated: AtomicU64,
    /// Partitions that were paused because too much of them waited; what was prefetched is fetched again.
    pub pauses: AtomicU64,
    pub partitions: AtomicI64,
    /// Records in memory that wait for their time, or for the one before them.
    pub held: AtomicI64,
    /// Records between the commits and the ends of the assigned partitions.
    pub lag: AtomicI64,
}

impl Counters {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
