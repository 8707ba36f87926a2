//! Kafka as Pushrail uses it: one thread owns a consumer and a producer and polls both.
//!
//! [`Connection`] turns settings into client configurations, [`Consumer`] and [`Producer`] are the two clients in the form
//! that a single-threaded worker needs, [`Reader`] looks a stretch of a topic up, and [`relay`] is the loop shared by every service that only moves records.
//! Nothing in here knows what is in a record.

mod connection;
mod consumer;
mod partitioner;
mod producer;
pub mod property;
mod reader;
pub mod relay;
mod wake;
pub mod worker;

pub use connection::Connection;
pub use consumer::{Committed, Consumer, Polled, TopicPartition};
pub use partitioner::partition_of;
pub use producer::{Ack, Outgoing, Producer, SendError};
pub use reader::{Read, Reader};

pub use rdkafka;

/// Longest commit metadata that brokers accept without being told otherwise (`offset.metadata.max.bytes`).
pub const METADATA_LEN_MAX_DEFAULT: usize = 4096;

/// A worker can't go on with these clients; new ones may.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka client: {0}")]
    Client(rdkafka::error::KafkaError),
    #[error("Kafka gave up on this client: {0}")]
    Fatal(String),
}

impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Error::Client(error)
    }
}
