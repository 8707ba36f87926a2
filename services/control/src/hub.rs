//! What comes to `audit.attempts`, for whoever watches.
//!
//! One reader a process, and only while somebody watches: it starts at the ends of the partitions, belongs to no group, and
//! gives each record to every watcher, who looks whether it is theirs. A watcher that is too slow misses records and is told
//! how many; nobody waits for it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::consumer::{Consumer as _, StreamConsumer};
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::{Message as _, Offset, TopicPartitionList};
use pushrail_topology::topics::AUDIT_ATTEMPTS;
use tokio::sync::broadcast;

/// Records that a watcher may be behind.
const BEHIND_MAX: usize = 4_096;
/// How long Kafka may take to say what partitions there are.
const METADATA_WITHIN: Duration = Duration::from_secs(5);
/// How long after the last watcher has gone the reader goes on.
const LINGER: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The value of a record.
pub(crate) type Value = Arc<[u8]>;

/// See the module.
pub(crate) struct Hub {
    connection: Connection,
    /// Dies with its reader.
    running: Mutex<Weak<broadcast::Sender<Value>>>,
}

impl Hub {
    pub(crate) fn new(connection: Connection) -> Self {
        Hub {
            connection,
            running: Mutex::default(),
        }
    }

    /// Everything from now on, once the reader runs.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Value> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = running.upgrade() {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BEHIND_MAX);
        let sender = Arc::new(sender);
        *running = Arc::downgrade(&sender);
        tokio::spawn(read(self.connection.clone(), sender));
        receiver
    }
}

/// Reads for as long as somebody watches.
async fn read(connection: Connection, sender: Arc<broadcast::Sender<Value>>) {
    while sender.receiver_count() > 0 {
        if let Err(error) = pass_on(&connection, &sender).await {
            tracing::warn!(%error, "control.tail_interrupted");
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

async fn pass_on(
    connection: &Connection,
    sender: &broadcast::Sender<Value>,
) -> Result<(), KafkaError> {
    let mut config = connection.reader("pushrail-control-tail");
    config.set("enable.partition.eof", "false");
    let consumer: StreamConsumer = config.create()?;
    let consumer = Arc::new(consumer);
    let partitions = {
        let consumer = Arc::clone(&consumer);
        // Waits for Kafka on the thread that it is called on.
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(AUDIT_ATTEMPTS), METADATA_WITHIN)?;
            let topic = metadata.topics().first();
            Ok::<_, KafkaError>(topic.map_or(0, |topic| topic.partitions().len()))
        });
        asked.await.unwrap_or(Ok(0))?
    };
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).unwrap_or(0) {
        list.add_partition_offset(AUDIT_ATTEMPTS, partition, Offset::End)?;
    }
    consumer.assign(&list)?;
    loop {
        tokio::select! {
            message = consumer.recv() => {
                let message = message?;
                if let Some(value) = message.payload() {
                    // Nobody may be there any more; then it ends below.
                    let _ = sender.send(value.into());
                }
            }
            () = tokio::time::sleep(LINGER) => {}
        }
        if sender.receiver_count() == 0 {
            return Ok(());
        }
    }
}
