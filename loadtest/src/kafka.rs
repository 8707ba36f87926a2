//! The little that scenarios ask of Kafka beside Pushrail: fill a topic, read one to its end, see what a group has done.

use std::time::Duration;

use anyhow::Context as _;
use hashbrown::HashMap;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::progress::Progress;
use crate::sample;

const TIMEOUT: Duration = Duration::from_secs(20);

/// One record for [`Filler::send`].
pub struct Record<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub headers: OwnedHeaders,
    pub value: &'a [u8],
}

/// A producer that waits when its queue is full, and at the end for every acknowledgement.
pub struct Filler(BaseProducer<DefaultProducerContext>);

impl Filler {
    pub fn new(bootstrap: &str) -> anyhow::Result<Self> {
        Self::with_linger(bootstrap, 20)
    }

    /// `linger_ms` is how long a record may wait for others of its batch.
    pub fn with_linger(bootstrap: &str, linger_ms: u32) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", linger_ms.to_string())
            .set("batch.size", "500000")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "120000")
            .create()?;
        Ok(Filler(producer))
    }

    pub fn send(&self, record: Record<'_>) -> anyhow::Result<()> {
        let mut base = BaseRecord::to(record.topic)
            .key(record.key)
            .payload(record.value)
            .headers(record.headers);
        loop {
            match self.0.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    base = back;
                    self.0.poll(Duration::from_millis(20));
                }
                Err((error, _)) => {
                    return Err(error)
                        .with_context(|| format!("cannot produce to {}", record.topic));
                }
            }
        }
    }

    /// Sends a delivery as the router would.
    pub fn send_delivery(&self, topic: &str, record: &sample::Deliver) -> anyhow::Result<()> {
        let mut headers = OwnedHeaders::new_with_capacity(12);
        let mut pairs: Vec<(&'static str, String)> = Vec::with_capacity(12);
        record
            .delivery
            .write(None, &mut String::new(), |name, value| {
                pairs.push((name, value.to_owned()))
            });
        for (key, value) in &pairs {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        self.send(Record {
            topic,
            key: &record.key,
            headers,
            value: &record.value,
        })
    }

    /// Lets callbacks run; call it now and then.
    pub fn poll(&self) {
        self.0.poll(Duration::ZERO);
    }

    /// Waits until everything is acknowledged.
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.0.flush(Duration::from_secs(120))?)
    }
}

/// What [`prefill`] writes: `count` deliveries, round robin over `destinations`.
pub struct Prefill<'a> {
    pub bootstrap: &'a str,
    pub topic: &'a str,
    pub schema_id: u32,
    /// Destinations by number; their customers are `sample::customer(number)`.
    pub destinations: &'a [uuid::Uuid],
    /// Number of the first event: two prefills of one run must not share events.
    pub first: u64,
    pub count: u64,
    pub value_len: usize,
}

/// Writes deliveries as the router would, as fast as the broker takes them.
pub fn prefill(fill: &Prefill<'_>) -> anyhow::Result<()> {
    let filler = Filler::new(fill.bootstrap)?;
    let mut progress = Progress::new("prefill", fill.count);
    for n in 0..fill.count {
        let number = n as usize % fill.destinations.len();
        let order = sample::Order {
            sequence: fill.first + n,
            customer: &sample::customer(number as u32),
            destination: fill.destinations[number],
            sent_us: pushrail_clock::now_us(),
        };
        let record = sample::deliver(fill.schema_id, order, fill.value_len);
        filler.send_delivery(fill.topic, &record)?;
        progress.advance(1);
    }
    filler.finish()
}

/// Every partition of a topic with its first and next offset. Empty when there is no such topic.
pub fn watermarks(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<(i32, i64, i64)>> {
    let consumer = reader(bootstrap, "pushrail-loadtest-watermarks")?;
    partitions(&consumer, topic)?
        .into_iter()
        .map(|partition| {
            let (low, high) = consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
            Ok((partition, low, high))
        })
        .collect()
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata
        .topics()
        .iter()
        .find(|t| t.name() == topic && t.error().is_none());
    Ok(found.map_or_else(Vec::new, |t| {
        t.partitions().iter().map(|p| p.id()).collect()
    }))
}

/// Committed offsets of a group on a topic, by partition; absent where it has committed none.
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<HashMap<i32, i64>> {
    let consumer = reader(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        list.add_partition(topic, partition);
    }
    if list.count() == 0 {
        return Ok(HashMap::new());
    }
    // The list goes before the consumer does: the other way round, dropping the consumer hangs.
    let committed = consumer.committed_offsets(list, TIMEOUT)?;
    let offsets = committed
        .elements()
        .into_iter()
        .filter_map(|e| Some((e.partition(), e.offset().to_raw()?)));
    let offsets = offsets.filter(|(_, offset)| *offset >= 0).collect();
    drop(committed);
    Ok(offsets)
}

/// Makes an idle group start over at the beginning of a topic, without what it remembered beside its offsets.
pub fn rewind(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<()> {
    let consumer = reader(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    for (partition, low, _) in watermarks(bootstrap, topic)? {
        list.add_partition_offset(topic, partition, Offset::Offset(low))?;
    }
    Ok(consumer.commit(&list, rdkafka::consumer::CommitMode::Sync)?)
}

/// Records of `topic` that `group` has not committed.
pub fn lag(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<u64> {
    let committed = committed(bootstrap, group, topic)?;
    let marks = watermarks(bootstrap, topic)?;
    let behind = |(partition, low, high): &(i32, i64, i64)| {
        (high - committed.get(partition).copied().unwrap_or(*low).max(*low)).max(0) as u64
    };
    Ok(marks.iter().map(behind).sum())
}

/// Reads a topic from its beginning to where it ends now.
pub fn read_all(
    bootstrap: &str,
    topic: &str,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<u64> {
    let marks = watermarks(bootstrap, topic)?;
    let mut left: HashMap<i32, i64> = marks
        .iter()
        .filter(|(_, low, high)| high > low)
        .map(|(p, _, high)| (*p, *high))
        .collect();
    if left.is_empty() {
        return Ok(0);
    }
    let consumer = reader(bootstrap, "pushrail-loadtest-reader")?;
    let mut assignment = TopicPartitionList::new();
    for partition in left.keys() {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut read = 0;
    while !left.is_empty() {
        let message = consumer
            .poll(TIMEOUT)
            .with_context(|| format!("{topic} cannot be read to its end"))?;
        match message {
            Ok(message) => {
                read += 1;
                each(&message);
                if left
                    .get(&message.partition())
                    .is_some_and(|end| message.offset() + 1 >= *end)
                {
                    left.remove(&message.partition());
                }
            }
            // Compaction or a transaction marker may take the last offset away; the end of the partition still shows.
            Err(KafkaError::PartitionEOF(partition)) => {
                left.remove(&partition);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}

fn reader(bootstrap: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "65536")
        .set("fetch.queue.backoff.ms", "10")
        .create()?)
}

/// Makes topics of 12 partitions that live until deleted; one that exists is left as it is.
pub async fn create_topics(bootstrap: &str, topics: &[&str]) -> anyhow::Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()?;
    let new = topics
        .iter()
        .map(|name| NewTopic::new(name, 12, TopicReplication::Fixed(1)));
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for result in admin
        .create_topics(&new.collect::<Vec<_>>(), &options)
        .await?
    {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("cannot create {topic}: {code}"),
        }
    }
    Ok(())
}
