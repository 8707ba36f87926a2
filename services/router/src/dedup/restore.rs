//! Reading a partition's window back before its records are handled.

use std::sync::mpsc;
use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
use pushrail_kafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use pushrail_kafka::rdkafka::message::Message as _;
use pushrail_kafka::rdkafka::{Offset, TopicPartitionList};
use pushrail_topology::topics;
use tokio::time::Instant;

use super::{Window, changelog};

/// How long to wait before reading again what could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);
/// How long Kafka may take to say where a partition begins and ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a window is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) window_ms: i64,
    pub(crate) entries_max: usize,
}

/// A window that is being read on a thread of its own. Dropping it stops the thread.
pub(crate) struct Restoring {
    result: mpsc::Receiver<Window>,
    _alive: mpsc::Sender<()>,
    started: Instant,
}

impl Restoring {
    /// Starts reading all that `dedup` retains for a partition of `events` that will be read from `next_offset` on. It
    /// keeps trying: a partition that is handled without its
    /// window would deliver duplicates.
    pub(crate) fn start(
        connection: &Connection,
        client_id: &str,
        partition: i32,
        next_offset: i64,
        limits: Limits,
    ) -> Self {
        let (send, result) = mpsc::sync_channel(1);
        let (alive, cancelled) = mpsc::channel();
        let (connection, client_id) = (connection.clone(), format!("{client_id}-dedup"));
        let reader = move || {
            loop {
                match read(
                    &connection,
                    &client_id,
                    (partition, next_offset),
                    limits,
                    &cancelled,
                ) {
                    Ok(Some(window)) => {
                        // Nobody is there to take it when the partition was revoked meanwhile.
                        let _ = send.send(window);
                        return;
                    }
                    Ok(None) => return,
                    Err(error) => tracing::error!(%error, partition, "dedup.restore_failed"),
                }
                if cancelled.recv_timeout(RETRY_AFTER) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new()
            .name(format!("dedup-{partition}"))
            .spawn(reader);
        if let Err(error) = spawned {
            // The partition stays held, which its lag shows.
            tracing::error!(%error, partition, "dedup.restore_not_started");
        }
        Restoring {
            result,
            _alive: alive,
            started: Instant::now(),
        }
    }

    /// The window once it is complete, and how long that took.
    pub(crate) fn take(&self) -> Option<(Window, Duration)> {
        let window = self.result.try_recv().ok()?;
        Some((window, self.started.elapsed()))
    }
}

/// Reads to the end of the partition; `None` when nobody wants it any more. Records that other owners wrote before the
/// partition became ours are acknowledged, so they lie before the end that the broker reports.
fn read(
    connection: &Connection,
    client_id: &str,
    (partition, next_offset): (i32, i64),
    limits: Limits,
    cancelled: &mpsc::Receiver<()>,
) -> Result<Option<Window>, KafkaError> {
    let mut window = Window::new(limits.window_ms, limits.entries_max);
    let consumer: BaseConsumer = connection.reader(client_id).create()?;
    // Asked first because it is answered in milliseconds: left to itself, a client finds a partition's leader with a timer
    // of a second.
    let (low, high) = consumer.fetch_watermarks(topics::DEDUP, partition, ANSWER_WITHIN)?;
    if low == high {
        return Ok(Some(window));
    }
    let mut from = TopicPartitionList::with_capacity(1);
    from.add_partition_offset(topics::DEDUP, partition, Offset::Beginning)?;
    consumer.assign(&from)?;
    let (mut unreadable, mut next) = (0u64, low);
    while next < high {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                next = record.offset() + 1;
                match changelog::decode(record.key(), record.payload()) {
                    Some((event_id, offset, accepted_ms)) => {
                        window.restore(event_id, offset, accepted_ms, next_offset);
                    }
                    None => unreadable += u64::from(record.payload().is_some()),
                }
            }
            // Compaction may have left nothing right before the end.
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if passes(&error) => {
                tracing::warn!(%error, partition, "dedup.restore_waits");
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
        if cancelled.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
            return Ok(None);
        }
    }
    if unreadable > 0 {
        tracing::warn!(partition, unreadable, "dedup.entries_unreadable");
    }
    Ok(Some(window))
}

/// Errors that the client mends by itself.
fn passes(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}
