//! The producer of one worker: owned and polled on the worker's thread, woken by librdkafka when reports come in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pushrail_kafka::rdkafka::config::ClientConfig;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::{Ack, Outgoing, Producer};
use pushrail_topology::topics;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Publish, Unconfirmed};
use crate::budget::Reservation;
use crate::event::Batch;

/// Looked at least this often while something is outstanding: reports behind another kind of event wake nobody.
const POLL_AT_LEAST: Duration = Duration::from_millis(20);

/// See the module.
pub struct KafkaPublisher {
    config: ClientConfig,
    // Locked only on the worker's own thread, so never contended: the lock makes handlers `Send`, as axum wants them.
    queue: Mutex<Queue>,
    ready: Arc<Notify>,
    stall_after: Duration,
}

struct Queue {
    /// When Kafka last acknowledged something, or something was first outstanding.
    progress: Instant,
    producer: Producer,
    slots: Vec<Slot>,
    free: Vec<usize>,
    acks: Vec<Ack>,
}

/// One request's records.
struct Slot {
    outstanding: usize,
    unconfirmed: Unconfirmed,
    answer: Option<oneshot::Sender<Unconfirmed>>,
    reservation: Option<Reservation>,
}

impl KafkaPublisher {
    /// `config` as `Connection::producer` makes it. When nothing has been acknowledged for `stall_after` although
    /// something is outstanding, new requests are not worth queueing.
    pub fn new(config: ClientConfig, stall_after: Duration) -> Result<Self, KafkaError> {
        let ready = Arc::new(Notify::new());
        Ok(KafkaPublisher {
            stall_after,
            queue: Mutex::new(Queue {
                progress: Instant::now(),
                producer: producer(&config, &ready)?,
                slots: Vec::new(),
                free: Vec::new(),
                acks: Vec::new(),
            }),
            config,
            ready,
        })
    }

    /// Answers requests as reports come in. Never ends; the worker drops it when nothing is outstanding.
    pub async fn pump(&self) {
        loop {
            let outstanding = {
                let mut queue = self.lock();
                queue.settle();
                if queue.producer.is_fatal() {
                    self.renew(&mut queue);
                }
                queue.producer.outstanding()
            };
            if outstanding == 0 {
                self.ready.notified().await;
            } else {
                let _ = tokio::time::timeout(POLL_AT_LEAST, self.ready.notified()).await;
            }
        }
    }

    /// Waits until nothing is outstanding, or `deadline`; gives the number of records that still are.
    pub async fn drain(&self, deadline: Instant) -> usize {
        loop {
            let outstanding = self.lock().producer.outstanding();
            if outstanding == 0 || Instant::now() >= deadline {
                return outstanding;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// For how long Kafka has acknowledged nothing, when that is too long. Ends by itself when what is outstanding has
    /// expired: the next request finds out how things are.
    pub fn stalled_for(&self) -> Option<Duration> {
        let queue = self.lock();
        let age = queue.progress.elapsed();
        (queue.producer.outstanding() > 0 && age > self.stall_after).then_some(age)
    }

    /// A producer that has given up is replaced; whatever it still held is unconfirmed.
    fn renew(&self, queue: &mut Queue) {
        match producer(&self.config, &self.ready) {
            Ok(producer) => {
                tracing::error!(
                    outstanding = queue.producer.outstanding(),
                    "publisher.renewed"
                );
                let dead = std::mem::replace(&mut queue.producer, producer);
                queue.slots.clear();
                queue.free.clear();
                // Dropping a client waits for its threads.
                drop(std::thread::spawn(move || drop(dead)));
            }
            Err(error) => tracing::error!(%error, "publisher.not_renewed"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn producer(config: &ClientConfig, ready: &Arc<Notify>) -> Result<Producer, KafkaError> {
    let mut producer = Producer::new(config)?;
    let ready = Arc::clone(ready);
    producer.on_ready(move || ready.notify_one());
    Ok(producer)
}

impl Publish for KafkaPublisher {
    fn is_stalled(&self) -> bool {
        self.stalled_for().is_some()
    }

    fn publish(
        &self,
        mut batch: Batch,
        reservation: Reservation,
    ) -> oneshot::Receiver<Unconfirmed> {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.lock();
        let was_idle = queue.producer.outstanding() == 0;
        if was_idle {
            queue.progress = Instant::now();
        }
        let slot = queue.open(Slot {
            outstanding: batch.len(),
            unconfirmed: Vec::new(),
            answer: Some(answer),
            reservation: Some(reservation),
        });
        for (index, (key, value, headers)) in batch.drain().enumerate() {
            let record = Outgoing {
                topic: topics::EVENTS,
                partition: None,
                key,
                value: Some(value),
                headers: Some(headers),
                timestamp_ms: None,
            };
            if let Err(error) = queue.producer.send(record, slot << 16 | index) {
                tracing::warn!(%error, "publisher.not_queued");
                queue.settle_one(slot << 16 | index, false);
            }
        }
        drop(queue);
        if was_idle {
            // The pump sleeps without a timeout while nothing is outstanding.
            self.ready.notify_one();
        }
        answered
    }
}

impl Queue {
    fn open(&mut self, slot: Slot) -> usize {
        match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    fn settle(&mut self) {
        let mut acks = std::mem::take(&mut self.acks);
        loop {
            self.producer.poll(&mut acks);
            if acks.is_empty() {
                break;
            }
            for Ack { token, result } in acks.drain(..) {
                match &result {
                    Ok(()) => self.progress = Instant::now(),
                    Err(error) => tracing::debug!(%error, "publisher.refused"),
                }
                self.settle_one(token, result.is_ok());
            }
        }
        self.acks = acks;
    }

    fn settle_one(&mut self, token: usize, confirmed: bool) {
        let (at, index) = (token >> 16, token as u16);
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        if !confirmed {
            slot.unconfirmed.push(index);
        }
        slot.outstanding -= 1;
        if slot.outstanding == 0 {
            let mut unconfirmed = std::mem::take(&mut slot.unconfirmed);
            // Partitions answer in any order.
            unconfirmed.sort_unstable();
            slot.reservation = None;
            if let Some(answer) = slot.answer.take() {
                // Nobody waits any more when the client has gone.
                let _ = answer.send(unconfirmed);
            }
            self.free.push(at);
        }
    }
}
