//! The thread that reads the `config` topic.
//!
//! It never gives up: whatever Kafka answers is logged once and asked again, because a directory that stopped would leave
//! its process running on a configuration that grows old without anybody knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::types::RDKafkaErrorCode;
use pushrail_kafka::rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use pushrail_topology::topics::CONFIG;
use tokio::sync::watch;

use crate::{Error, Shared};

/// The topic has one partition, for ever: its order is the order of all changes.
const PARTITION: i32 = 0;
/// How long one question to Kafka may take, and so how long an end may be noticed late while Kafka is down.
const ASK: Duration = Duration::from_secs(2);
/// How long a poll waits for a record; a record wakes it at once.
const POLL: Duration = Duration::from_millis(100);

/// How far the topic has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) ready: bool,
    pub(crate) next_offset: i64,
}

/// Dropping it ends the thread, within [`POLL`].
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Context;

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        // That we have caught up is reported as an error too.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!(%error, reason, "config.kafka_error");
    }
}

impl ConsumerContext for Context {}

struct Follower {
    consumer: BaseConsumer<Context>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    stop: Arc<AtomicBool>,
}

pub(crate) fn start(
    connection: &Connection,
    shared: Arc<Shared>,
) -> Result<(Alive, watch::Receiver<Progress>), Error> {
    let consumer = connection
        .reader("pushrail-directory")
        .create_with_context(Context)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (progress, watching) = watch::channel(Progress::default());
    let follower = Follower {
        consumer,
        shared,
        progress,
        stop: stop.clone(),
    };
    std::thread::Builder::new()
        .name("directory".into())
        .spawn(move || follower.run())?;
    Ok((Alive(stop), watching))
}

impl Follower {
    fn run(mut self) {
        if let Some(end) = self.end_of_topic() {
            self.read(end);
        }
        self.shared.end();
    }

    /// The offset after the last record that there is now; `None` when we are to stop.
    fn end_of_topic(&self) -> Option<i64> {
        let mut said = None;
        while !self.stopped() {
            match self.consumer.fetch_watermarks(CONFIG, PARTITION, ASK) {
                Ok((_, high)) => return Some(high),
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::warn!(%error, topic = CONFIG, "config.waiting");
                        said = Some(text);
                    }
                    // Also serves the client's callbacks, and is the pause between two questions.
                    self.consumer.poll(POLL);
                }
            }
        }
        None
    }

    fn read(&mut self, end: i64) {
        if let Err(error) = self.assign() {
            // Only an invalid argument can fail here: a defect, which no retry mends.
            tracing::error!(%error, "config.unassignable");
            return;
        }
        self.advance(0, end == 0);
        while !self.stopped() {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(record)) => {
                    self.shared
                        .apply(record.offset(), record.key(), record.payload());
                    let next = record.offset() + 1;
                    self.advance(next, next >= end);
                }
                // The end of what there is now. Compaction may have removed the last records before `end`, so this
                // and not a record's offset is what a reader may rely on.
                Some(Err(KafkaError::PartitionEOF(_))) => self.advance(self.position(), true),
                Some(Err(error)) => tracing::warn!(%error, "config.read_failed"),
            }
        }
    }

    fn assign(&self) -> Result<(), KafkaError> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(CONFIG, PARTITION, Offset::Beginning)?;
        self.consumer.assign(&partitions)
    }

    fn position(&self) -> i64 {
        let position = self.consumer.position().ok();
        let offset = position.and_then(|list| {
            list.find_partition(CONFIG, PARTITION)
                .map(|found| found.offset())
        });
        match offset {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        }
    }

    fn advance(&self, next_offset: i64, ready: bool) {
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            progress.next_offset = progress.next_offset.max(next_offset);
            progress.ready |= ready;
            before.ready != progress.ready || before.next_offset != progress.next_offset
        });
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
