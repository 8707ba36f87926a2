//! One worker of a relay: its loop, and what happens to a record.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::group::Revocation;
use super::partition::{Arrival, Key, Partition, Pending, Token};
use super::{Counters, Flow, Handler, Incoming, Outbox, Settings};
use crate::{
    Ack, Connection, Consumer, Error, Outgoing, Polled, Producer, SendError, TopicPartition,
};

/// Records handled before acknowledgements are looked at and other tasks of the thread get a turn.
const BURST: usize = 256;
const TICK: Duration = Duration::from_millis(100);
/// How long a partition whose handler is not ready for it is left alone.
const READY_EVERY: Duration = Duration::from_millis(20);

/// Runs one worker until `shutdown`, then drains, commits and leaves the group.
pub async fn run<H: Handler>(
    mut handler: H,
    settings: &Settings,
    connection: &Connection,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    let consumer = Consumer::new(
        &connection.consumer(&settings.group, &settings.client_id),
        &topics,
    )?;
    let writes = match settings.linger {
        Some(linger) => connection.batching_producer(&settings.client_id, linger),
        None => connection.producer(&settings.client_id),
    };
    let mut producer = Producer::new(&writes)?;
    let waker = consumer.waker();
    producer.on_ready(move || waker.notify_one());
    let now = Instant::now();
    let mut relay = Relay {
        settings,
        consumer: &consumer,
        producer,
        counters: &counters,
        partitions: HashMap::new(),
        pending: Pending::default(),
        outbox: Outbox::default(),
        assigning: Vec::new(),
        assign_at: now,
        revoking: Vec::new(),
        acks: Vec::new(),
        next_commit: now + settings.commit_interval,
        next_tick: now,
        unsent: None,
        held_bytes: 0,
        shown: Default::default(),
    };
    let result = relay.run(&mut handler, &shutdown).await;
    relay.forget(&mut handler);
    result
}

pub(super) struct Relay<'a> {
    pub(super) settings: &'a Settings,
    pub(super) consumer: &'a Consumer,
    producer: Producer,
    pub(super) counters: &'a Counters,
    pub(super) partitions: HashMap<TopicPartition, Partition>,
    pub(super) pending: Pending,
    outbox: Outbox,
    /// Ours as soon as their commits are known.
    pub(super) assigning: Vec<TopicPartition>,
    pub(super) assign_at: Instant,
    pub(super) revoking: Vec<Revocation>,
    acks: Vec<Ack>,
    next_commit: Instant,
    next_tick: Instant,
    /// Copies of `outbox` from this one on, of the record in this slot, that found the producer's queue full.
    unsent: Option<(usize, usize)>,
    /// What waits in memory, at most: counted exactly at each tick, and upwards between.
    pub(super) held_bytes: usize,
    /// What the shared counters hold of this worker.
    pub(super) shown: super::group::Shown,
}

impl Relay<'_> {
    async fn run(
        &mut self,
        handler: &mut impl Handler,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            let busy = self.turn(handler)?;
            if busy {
                tokio::task::yield_now().await;
            } else {
                let wait = self.next_wake();
                tokio::select! {
                    () = self.consumer.wait() => {}
                    () = tokio::time::sleep_until(wait) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    /// One round; says whether there may be more to do at once.
    fn turn(&mut self, handler: &mut impl Handler) -> Result<bool, Error> {
        let now = Instant::now();
        let is_tick = now >= self.next_tick;
        if is_tick {
            self.next_tick = now + TICK;
            handler.tick();
            self.measure();
        }
        let mut busy = self.acknowledge();
        if self.producer.is_fatal() {
            return Err(Error::Fatal(
                "the producer was fenced or lost its place".into(),
            ));
        }
        self.send_rest();
        self.rewind(now)?;
        let offered = self.offer_held(handler, now);
        if offered || is_tick {
            self.resume(now);
        }
        busy |= offered;
        busy |= self.poll(handler, is_tick)?;
        self.assign(handler, now)?;
        self.release(handler, now)?;
        if now >= self.next_commit {
            self.next_commit = now + self.settings.commit_interval;
            self.commit(None, now);
        }
        Ok(busy && !self.is_blocked())
    }

    /// Too much awaits its acknowledgement: nothing new is begun.
    fn is_blocked(&self) -> bool {
        self.unsent.is_some() || self.producer.outstanding() >= self.settings.outstanding_max
    }

    /// Reads what has come. A blocked worker still polls now and then, and keeps what it gets: Kafka takes a member that
    /// does not poll for dead, gives its partitions to another, and what is under way here would be done twice.
    fn poll(&mut self, handler: &mut impl Handler, is_tick: bool) -> Result<bool, Error> {
        let mut busy = false;
        for at in 0..BURST {
            if self.is_blocked() && (at > 0 || !is_tick) {
                break;
            }
            match self.consumer.poll() {
                Polled::Record(message) => {
                    busy = true;
                    self.receive(handler, message)?;
                }
                // Nothing for this worker yet, which must be answered too: until then the group gives it nothing more.
                Polled::Assigned(partitions) if partitions.is_empty() => {
                    self.consumer.start(&[])?;
                }
                Polled::Assigned(partitions) => self.assigning.extend(partitions),
                Polled::Revoked { partitions, lost } => self.revoked(partitions, lost),
                Polled::Problem(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(error.into());
                }
                Polled::Problem(error) => tracing::warn!(%error, "relay.consume_problem"),
                Polled::Idle => return Ok(busy),
            }
        }
        Ok(true)
    }

    fn next_wake(&self) -> Instant {
        let mut wake = self.next_commit.min(self.next_tick);
        if !self.assigning.is_empty() {
            wake = wake.min(self.assign_at);
        }
        if !self.is_blocked() {
            let held = self.partitions.values().filter(|p| p.is_waiting());
            for until in held.filter_map(|p| p.held.until) {
                wake = wake.min(until);
            }
        }
        wake
    }

    fn receive(
        &mut self,
        handler: &mut impl Handler,
        message: BorrowedMessage<'_>,
    ) -> Result<(), Error> {
        let is_blocked = self.is_blocked();
        let key = Key(message.topic(), message.partition());
        let offset = message.offset();
        let Some((tp, partition)) = self.partitions.get_key_value_mut(&key) else {
            return Ok(());
        };
        let mut arrival = partition.receive(offset);
        if let Arrival::Cut(from) = arrival {
            Counters::add(&self.counters.truncated, 1);
            tracing::error!(partition = %tp, offset, from, "relay.log_truncated");
            partition.restart(from, self.pending.next_epoch());
            if from < offset {
                self.consumer.seek(tp, from)?;
            } else {
                arrival = partition.receive(offset);
            }
        }
        if arrival != Arrival::New {
            return Ok(());
        }
        if is_blocked || partition.must_queue() {
            self.held_bytes += partition.held.push(message.detach());
            let shared_left = self.held_bytes < self.settings.held_bytes_max;
            if !partition.held.paused && partition.held.is_full(Instant::now(), shared_left) {
                Counters::add(&self.counters.pauses, 1);
                partition.held.paused = self.consumer.pause(tp).is_ok();
            }
            return Ok(());
        }
        let record = Incoming {
            topic: message.topic(),
            partition: message.partition(),
            offset,
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            refused: partition.refusal(offset),
            native_headers: message.headers(),
        };
        self.outbox.clear();
        match handler.handle(&record, &mut self.outbox) {
            Flow::Done => {
                let tp = tp.clone();
                self.dispatch(tp, offset);
            }
            Flow::Hold(until) => {
                Counters::add(&self.counters.holds, 1);
                partition.held.until = Some(until);
                self.held_bytes += partition.held.push(message.detach());
            }
        }
        Ok(())
    }

    /// Offers what is held again where its time has come.
    fn offer_held(&mut self, handler: &mut impl Handler, now: Instant) -> bool {
        if self.is_blocked() {
            return false;
        }
        let mut busy = false;
        let due: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(_, p)| p.is_waiting() && p.held.until.is_none_or(|until| until <= now))
            .map(|(tp, _)| tp.clone())
            .collect();
        for tp in due {
            busy |= self.offer(handler, &tp, now);
        }
        busy
    }

    /// Reads on where enough of what waited has gone, or its time is near.
    fn resume(&mut self, now: Instant) {
        let shared_left = self.held_bytes < self.settings.held_bytes_max / 2;
        for (tp, partition) in &mut self.partitions {
            let held = &mut partition.held;
            if held.paused && !partition.revoking && held.has_room(now, shared_left) {
                held.paused = self.consumer.resume(tp).is_err();
            }
        }
    }

    fn offer(&mut self, handler: &mut impl Handler, tp: &TopicPartition, now: Instant) -> bool {
        for at in 0..BURST {
            if self.is_blocked() {
                return at > 0;
            }
            let Some(partition) = self.partitions.get_mut(tp) else {
                return at > 0;
            };
            partition.ready = partition.ready || handler.ready(tp);
            if !partition.ready {
                partition.held.until = Some(now + READY_EVERY);
                return at > 0;
            }
            partition.held.until = None;
            let refused = partition
                .held
                .first_offset()
                .and_then(|offset| partition.refusal(offset));
            let Some(record) = partition
                .held
                .first(refused)
                .filter(|_| !partition.is_probing())
            else {
                return at > 0;
            };
            let offset = record.offset;
            self.outbox.clear();
            match handler.handle(&record, &mut self.outbox) {
                Flow::Done => {
                    partition.held.pop();
                    self.dispatch(tp.clone(), offset);
                }
                Flow::Hold(until) => {
                    partition.held.until = Some(until);
                    return at > 0;
                }
            }
        }
        true
    }

    /// Sends the copies in the outbox; the record is settled when all are acknowledged.
    fn dispatch(&mut self, tp: TopicPartition, offset: i64) {
        Counters::add(&self.counters.records, 1);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let written = partition.written(offset);
        if !written.is_empty() {
            self.outbox.skip(written);
        }
        if self.outbox.is_empty() {
            partition.settle(offset);
            return;
        }
        Counters::add(&self.counters.copies, self.outbox.len() as u64);
        partition.under_way += 1;
        let slot = self.pending.add(tp, partition.epoch, offset, &self.outbox);
        self.unsent = Some((0, slot));
        self.send_rest();
    }

    fn send_rest(&mut self) {
        let Some((from, slot)) = self.unsent.take() else {
            return;
        };
        for at in from..self.outbox.copies.len() {
            let copy = &mut self.outbox.copies[at];
            let token = Token::new(slot, at);
            let headers = copy.headers.take();
            let text = |range: &std::ops::Range<usize>| &self.outbox.bytes[range.clone()];
            let sent = self.producer.send(
                Outgoing {
                    topic: std::str::from_utf8(text(&copy.topic)).unwrap_or_default(),
                    partition: copy.partition,
                    key: text(&copy.key),
                    value: copy.value.as_ref().map(text),
                    headers,
                    timestamp_ms: copy.timestamp_ms,
                },
                token.raw(),
            );
            match sent {
                Ok(()) => {}
                Err(SendError::Full(headers)) => {
                    copy.headers = headers;
                    self.unsent = Some((at, slot));
                    return;
                }
                Err(SendError::Refused(error)) => self.acknowledged(token, Err(error)),
            }
        }
    }

    fn acknowledge(&mut self) -> bool {
        let mut acks = std::mem::take(&mut self.acks);
        self.producer.poll(&mut acks);
        let any = !acks.is_empty();
        for ack in acks.drain(..) {
            self.acknowledged(Token::from_raw(ack.token), ack.result);
        }
        self.acks = acks;
        any
    }

    fn acknowledged(&mut self, token: Token, result: Result<(), KafkaError>) {
        let slot = self.pending.slot(token);
        let mut partition = self
            .partitions
            .get_mut(&slot.partition)
            .filter(|p| p.epoch == slot.epoch);
        if let (Err(error), Some(partition)) = (&result, &mut partition) {
            tracing::error!(%error, partition = %slot.partition, offset = slot.offset, "relay.copy_refused");
            Counters::add(&self.counters.refused, 1);
            let code = error.rdkafka_error_code();
            let code = code.unwrap_or(RDKafkaErrorCode::Unknown);
            partition.refuse(slot.offset, code, !slot.is_refused);
        }
        let Some(slot) = self.pending.answer(token, result.is_err()) else {
            return;
        };
        if let Some(partition) = partition {
            partition.under_way -= 1;
            if slot.is_refused {
                partition.keep_written(slot.offset, slot.acknowledged());
            } else {
                partition.settle(slot.offset);
            }
        }
    }

    /// Reads partitions again whose refused records are the last that were under way.
    fn rewind(&mut self, now: Instant) -> Result<(), Error> {
        for (tp, partition) in &mut self.partitions {
            if let Some(offset) = partition.rewind(now) {
                self.consumer.seek(tp, offset)?;
            }
        }
        Ok(())
    }

    /// Waits for what is under way, and commits it.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.settings.drain_timeout;
        while self.producer.outstanding() > 0 && Instant::now() < deadline {
            if !self.acknowledge() {
                let wait = deadline.min(Instant::now() + TICK);
                let _ = tokio::time::timeout_at(wait, self.consumer.wait()).await;
            }
            self.send_rest();
        }
        self.save().await;
    }
}
