//! Writing records, and reading them until there are enough.

use std::time::Duration;

use pushrail_kafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
use pushrail_kafka::rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::util::Timeout;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::wait::WITHIN;

/// What was read from a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp_ms: i64,
}

impl Record {
    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }

    fn of(message: &BorrowedMessage<'_>) -> Record {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        }
    }
}

/// Headers from pairs of text.
pub fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let start = OwnedHeaders::new_with_capacity(pairs.len());
    pairs.iter().fold(start, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(*value),
        })
    })
}

impl Cluster {
    /// A producer for whoever writes many records in a loop.
    pub fn producer(&self) -> FutureProducer {
        self.connection()
            .producer("pushrail-test")
            .create()
            .expect("a producer")
    }

    /// Writes one record and returns its partition and offset when it is acknowledged.
    pub async fn produce(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        headers: OwnedHeaders,
    ) -> (i32, i64) {
        let record = FutureRecord::to(topic)
            .key(key)
            .payload(value)
            .headers(headers);
        let delivery = self
            .producer()
            .send(record, Timeout::Never)
            .await
            .expect("the record is acknowledged");
        (delivery.partition, delivery.offset)
    }

    /// Reads `topic` from its beginning until there are `count` records; they are in order within each partition.
    pub async fn read(&self, topic: &str, count: usize) -> Vec<Record> {
        let what = format!("{count} records");
        self.read_until(topic, &what, move |records| records.len() >= count)
            .await
    }

    /// Reads `topic` from its beginning until `enough`, and panics with `what` when that takes longer than [`WITHIN`].
    pub async fn read_until(
        &self,
        topic: &str,
        what: &str,
        enough: impl FnMut(&[Record]) -> bool + Send + 'static,
    ) -> Vec<Record> {
        self.collect(topic, enough, Instant::now() + WITHIN)
            .await
            .unwrap_or_else(|found| {
                panic!(
                    "{topic} has {} records after {} s, which is not {what}",
                    found.len(),
                    WITHIN.as_secs()
                )
            })
    }

    /// Everything that `topic` has now.
    pub async fn read_all(&self, topic: &str) -> Vec<Record> {
        let (client, topic) = (self.connection().reader("pushrail-test"), topic.to_owned());
        let blocking = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create().expect("a consumer");
            let partitions = assign(&consumer, &topic);
            let (mut records, mut at_end) = (Vec::new(), 0);
            while at_end < partitions {
                match consumer.poll(Duration::from_secs(10)) {
                    Some(Ok(message)) => records.push(Record::of(&message)),
                    Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => at_end += 1,
                    Some(Err(error)) => panic!("reading {topic}: {error}"),
                    None => panic!("{topic} does not answer"),
                }
            }
            records
        });
        blocking.await.expect("the reader does not panic")
    }

    /// The records when there are enough, else what there was at the deadline.
    async fn collect(
        &self,
        topic: &str,
        mut enough: impl FnMut(&[Record]) -> bool + Send + 'static,
        until: Instant,
    ) -> Result<Vec<Record>, Vec<Record>> {
        let (client, topic) = (self.connection().reader("pushrail-test"), topic.to_owned());
        let blocking = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create().expect("a consumer");
            assign(&consumer, &topic);
            let mut records = Vec::new();
            while !enough(&records) {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => records.push(Record::of(&message)),
                    // The end of a partition, or a broker that is being restarted: both pass.
                    Some(Err(_)) | None if Instant::now() > until => return Err(records),
                    Some(Err(_)) | None => {}
                }
            }
            Ok(records)
        });
        blocking.await.expect("the reader does not panic")
    }
}

/// Assigns every partition of `topic` from its beginning, and says how many there are.
fn assign(consumer: &BaseConsumer, topic: &str) -> usize {
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(30))
        .expect("Kafka answers");
    let partitions = metadata.topics()[0].partitions().len();
    assert!(partitions > 0, "there is no topic {topic}");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    partitions
}
