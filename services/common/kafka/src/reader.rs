//! A reader without a group, for whoever looks a stretch of a topic up: it goes where its owner sends it, commits nothing,
//! and waits for no longer than it is told.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, timeout_at};

use crate::Connection;

/// How long Kafka may take to say where a partition begins and ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What came next.
#[derive(Debug)]
pub enum Read<'a> {
    Record(BorrowedMessage<'a>),
    /// There is no more in the partition now.
    End,
    /// Nothing came in time.
    Nothing,
}

/// See the module.
pub struct Reader {
    consumer: Arc<StreamConsumer>,
}

impl Reader {
    pub fn new(connection: &Connection, client_id: &str) -> KafkaResult<Self> {
        Ok(Reader {
            consumer: Arc::new(connection.reader(client_id).create()?),
        })
    }

    /// Goes to `offset` of a partition, and leaves the one before. Where there is nothing so old, to what is oldest.
    pub fn go(&self, topic: &str, partition: i32, offset: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)
    }

    /// The next record.
    pub async fn next(&self, until: Instant) -> KafkaResult<Read<'_>> {
        match timeout_at(until, self.consumer.recv()).await {
            Ok(Ok(message)) => Ok(Read::Record(message)),
            Ok(Err(KafkaError::PartitionEOF(_))) => Ok(Read::End),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(Read::Nothing),
        }
    }

    /// How many partitions a topic has.
    pub async fn partitions(&self, topic: &str) -> KafkaResult<i32> {
        let topic = topic.to_owned();
        self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_WITHIN)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            let partitions = found.map_or(0, |topic| topic.partitions().len());
            match partitions {
                0 => Err(KafkaError::MetadataFetch(
                    rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition,
                )),
                count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
            }
        })
        .await
    }

    /// The oldest offset of a partition, and the one that is next to be written.
    pub async fn range(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        let topic = topic.to_owned();
        self.ask(move |consumer| consumer.fetch_watermarks(&topic, partition, ANSWER_WITHIN))
            .await
    }

    /// The first offset of a partition whose record is not older than `at_ms`; `None` where all are older.
    pub async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        at_ms: i64,
    ) -> KafkaResult<Option<i64>> {
        let topic = topic.to_owned();
        self.ask(move |consumer| {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(&topic, partition, Offset::Offset(at_ms.max(0)))?;
            let found = consumer.offsets_for_times(list, ANSWER_WITHIN)?;
            let element = found.elements().into_iter().next();
            let Some(element) = element else {
                return Ok(None);
            };
            element.error()?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        })
        .await
    }

    /// Asks what the client only answers by waiting.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&StreamConsumer) -> KafkaResult<T> + Send + 'static,
    ) -> KafkaResult<T> {
        let consumer = Arc::clone(&self.consumer);
        let asked = tokio::task::spawn_blocking(move || question(&consumer));
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }
}
