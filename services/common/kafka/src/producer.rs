//! A producer that its owner polls: acknowledgements come back as numbers, without a thread or a future per record.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::wake::Wake;

/// A record to write.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    /// `None` lets the key decide.
    pub partition: Option<i32>,
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Option<OwnedHeaders>,
    /// Unix milliseconds; `None` takes the time of writing.
    pub timestamp_ms: Option<i64>,
}

/// What became of a record that was sent with `token`.
#[derive(Debug)]
pub struct Ack {
    pub token: usize,
    pub result: Result<(), KafkaError>,
}

/// The record was not taken; nothing will be heard of its token.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The local queue is full: poll, and try again.
    #[error("the producer's queue is full")]
    Full(Option<OwnedHeaders>),
    #[error(transparent)]
    Refused(KafkaError),
}

/// See the module.
pub struct Producer {
    // Before the client, which has to outlive it.
    wake: Option<Wake>,
    inner: BaseProducer<Context>,
    outstanding: usize,
}

#[derive(Default)]
struct Context {
    // Filled and emptied by the thread that polls: the lock is never contended, it only satisfies `Sync`.
    acks: Mutex<Vec<Ack>>,
    fatal: AtomicBool,
    /// A poll brought an error and no acknowledgement; there may be some behind it.
    took_error: AtomicBool,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fatal.store(true, Ordering::Relaxed);
        }
        self.took_error.store(true, Ordering::Relaxed);
        tracing::warn!(%error, reason, "kafka.producer.error");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        self.acks
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(Ack { token, result });
    }
}

impl Producer {
    pub fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        Ok(Producer {
            wake: None,
            inner: config.create_with_context(Context::default())?,
            outstanding: 0,
        })
    }

    /// Has `wake` called, on another thread, when there may be something to poll. Edge-triggered: poll until nothing
    /// comes, then wait.
    pub fn on_ready(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        // One at a time: the earlier one would disable the later one when it goes.
        self.wake = None;
        // SAFETY: `wake` is dropped before `inner`, by the order of the fields.
        self.wake = Some(unsafe { Wake::new(self.inner.client().native_ptr(), Box::new(wake)) });
    }

    /// Queues a record; its fate comes back from [`Producer::poll`] under `token`.
    pub fn send(&mut self, record: Outgoing<'_>, token: usize) -> Result<(), SendError> {
        let mut out = BaseRecord::with_opaque_to(record.topic, token).key(record.key);
        out.headers = record.headers;
        out.partition = record.partition;
        out.payload = record.value;
        out.timestamp = record.timestamp_ms;
        match self.inner.send(out) {
            Ok(()) => {
                self.outstanding += 1;
                Ok(())
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                Err(SendError::Full(record.headers))
            }
            Err((error, _)) => Err(SendError::Refused(error)),
        }
    }

    /// Appends the acknowledgements that have come in. Never waits.
    pub fn poll(&mut self, acks: &mut Vec<Ack>) {
        // One call serves one event, which carries the reports of many records; an empty one ends the round.
        for _ in 0..64 {
            self.inner.poll(Duration::ZERO);
            let mut arrived = self
                .inner
                .context()
                .acks
                .lock()
                .unwrap_or_else(|e| e.into_inner());
            let took_error = self
                .inner
                .context()
                .took_error
                .swap(false, Ordering::Relaxed);
            if arrived.is_empty() && !took_error {
                break;
            }
            self.outstanding -= arrived.len();
            acks.append(&mut arrived);
        }
    }

    /// Waits until everything sent has its fate, for so long at most, without saying which.
    pub fn flush(&mut self, within: Duration) {
        if let Err(error) = self.inner.flush(within) {
            tracing::warn!(%error, "kafka.producer.not_flushed");
        }
    }

    /// Records sent whose fate is not known.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the client has given up for good, as after being fenced.
    pub fn is_fatal(&self) -> bool {
        self.inner.context().fatal.load(Ordering::Relaxed)
    }
}
