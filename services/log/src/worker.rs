//! Reading Kafka, a batch at a time.
//!
//! A worker that can't go on ends, and is started again a little later with new clients: it then reads on from where the
//! database says. So a database that is away for an hour costs nothing but the hour, and there is one way to recover.

use std::collections::HashMap;
use std::sync::Arc;

use pushrail_kafka::rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use pushrail_kafka::{Consumer, Error, Polled, TopicPartition};
use pushrail_obs::Condition;
use pushrail_obs::health::Heartbeat;
use pushrail_store::Store;
use pushrail_store::log::write;
use pushrail_topology::topics;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::batch::{self, Failure, Known, Read, What};
use crate::metrics::Metrics;
use crate::record::{self, Audited, Place};

/// What all workers of a process share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) ready: Condition,
}

/// Nothing to read for so long: time to come round.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    shared: Arc<Shared>,
    index: usize,
    heartbeat: Heartbeat,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let settings = &shared.settings;
    let config = settings
        .connection
        .consumer(&settings.group, &settings.client_id);
    let topics = settings.topics();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    // Of its own: a connection belongs to the thread whose runtime waits for it.
    let store = Store::new(&settings.database_url, 1).map_err(fatal)?;
    let mut worker = Worker {
        shared: &shared,
        store: store.clone(),
        consumer: Consumer::new(&config, &names)?,
        topics: &topics,
        known: Known::default(),
        batch: Vec::new(),
        bytes: 0,
        since: None,
        index,
    };
    let ended = worker.work(&heartbeat, &shutdown).await;
    store.close().await;
    shared.metrics.lag(index, 0);
    if let Err(error) = &ended {
        shared.ready.unmet(error.to_string());
    }
    ended
}

struct Worker<'a> {
    shared: &'a Shared,
    store: Store,
    consumer: Consumer,
    topics: &'a [String],
    known: Known,
    batch: Vec<Read>,
    bytes: usize,
    /// When the first record of the batch came.
    since: Option<Instant>,
    index: usize,
}

/// What a poll came to, once nothing of the consumer is borrowed.
enum Step {
    Read(Read, usize),
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>, bool),
    Nothing,
    Idle,
}

impl Worker<'_> {
    async fn work(
        &mut self,
        heartbeat: &Heartbeat,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            heartbeat.beat();
            match self.step() {
                Step::Read(read, len) => {
                    self.since.get_or_insert_with(Instant::now);
                    self.bytes += len;
                    self.batch.push(read);
                }
                Step::Assigned(partitions) => self.assigned(&partitions).await?,
                Step::Revoked(partitions, lost) => self.revoked(&partitions, lost).await?,
                Step::Nothing => {}
                Step::Idle => {
                    let until = self.since.map_or_else(
                        || Instant::now() + IDLE,
                        |since| since + self.shared.settings.linger,
                    );
                    tokio::select! {
                        _ = timeout_at(until, self.consumer.wait()) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
            if self.is_due() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    fn is_due(&self) -> bool {
        let settings = &self.shared.settings;
        let Some(since) = self.since else {
            return false;
        };
        self.batch.len() >= settings.batch_records_max
            || self.bytes >= settings.batch_bytes_max
            || since.elapsed() >= settings.linger
    }

    fn step(&self) -> Step {
        match self.consumer.poll() {
            Polled::Record(message) => {
                let len = message.payload_len();
                Step::Read(self.read(&message), len)
            }
            Polled::Assigned(partitions) => Step::Assigned(partitions),
            Polled::Revoked { partitions, lost } => Step::Revoked(partitions, lost),
            Polled::Problem(error) => {
                tracing::warn!(%error, "log.kafka");
                Step::Nothing
            }
            Polled::Idle => Step::Idle,
        }
    }

    fn read(&self, message: &BorrowedMessage<'_>) -> Read {
        let known = self.known.positions.keys().find(|partition| {
            partition.partition == message.partition() && &*partition.topic == message.topic()
        });
        let partition = known.cloned().unwrap_or_else(|| TopicPartition {
            topic: message.topic().into(),
            partition: message.partition(),
        });
        let value = message.payload().unwrap_or_default();
        let what = match message.topic() {
            topics::AUDIT_ATTEMPTS => Audited::new(value)
                .map(What::Audited)
                .map_err(|problem| problem.to_string()),
            topic => {
                let place = Place {
                    kind: topic.strip_prefix("dlq.").unwrap_or(topic),
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                };
                let headers = message.headers();
                let pairs = headers.iter().flat_map(|headers| headers.iter());
                let pairs: Vec<_> = pairs
                    .filter_map(|header| Some((header.key, header.value?)))
                    .collect();
                record::dead_letter(&place, value, &pairs)
                    .map(|letter| What::DeadLetter(Box::new(letter)))
            }
        };
        let what = what.unwrap_or_else(|problem| {
            let offset = message.offset();
            tracing::warn!(%partition, offset, problem, "log.unreadable");
            self.shared.metrics.passed_over("unreadable");
            What::Nothing
        });
        Read {
            partition,
            offset: message.offset(),
            what,
        }
    }

    /// Reads on from where the database says.
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let offsets = write::offsets(&self.store, self.topics)
            .await
            .map_err(fatal)?;
        let offsets: HashMap<(String, i32), i64> = offsets
            .into_iter()
            .map(|(topic, partition, next)| ((topic, partition), next))
            .collect();
        let mut starts = Vec::new();
        for partition in partitions {
            let next = offsets.get(&(partition.topic.to_string(), partition.partition));
            self.known
                .positions
                .insert(partition.clone(), next.copied());
            starts.push((partition.clone(), next.copied()));
        }
        self.consumer.start(&starts)?;
        self.shared.ready.met();
        Ok(())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<(), Error> {
        if lost {
            // Others may have read on already; what is here is theirs.
            self.batch
                .retain(|read| !partitions.contains(&read.partition));
        }
        self.flush().await?;
        for partition in partitions {
            self.known.positions.remove(partition);
        }
        // Health is followed by whoever has a destination's partition.
        self.known.forget();
        Ok(self.consumer.release(partitions)?)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.since = None;
        if batch.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.keep(&batch).await.map_err(fatal)?;
        self.shared
            .metrics
            .transaction(batch.len(), started.elapsed());
        self.shared.metrics.lag(self.index, self.behind());
        Ok(())
    }

    /// Keeps a batch; where the database refuses it for what is in it, all but the record that it refuses.
    async fn keep(&mut self, batch: &[Read]) -> Result<(), Failure> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Err(failure) = batch::keep(self.shared, &self.store, &mut self.known, part).await
            else {
                continue;
            };
            self.known.forget();
            if !failure.is_about_a_record() {
                return Err(failure);
            }
            match part {
                [one] => {
                    let (partition, offset) = (&one.partition, one.offset);
                    tracing::error!(%partition, offset, error = %failure, "log.record_refused");
                    self.shared.metrics.passed_over("refused");
                    let read = Read {
                        partition: partition.clone(),
                        offset,
                        what: What::Nothing,
                    };
                    batch::keep(self.shared, &self.store, &mut self.known, &[read]).await?;
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    /// Records between what is kept and the ends of the partitions.
    fn behind(&self) -> i64 {
        let behind = self.known.positions.iter().map(|(partition, next)| {
            let end = self.consumer.high_watermark(partition);
            end.map_or(0, |end| (end - next.unwrap_or(0)).max(0))
        });
        behind.sum()
    }
}

fn fatal(error: impl std::fmt::Display) -> Error {
    Error::Fatal(error.to_string())
}
