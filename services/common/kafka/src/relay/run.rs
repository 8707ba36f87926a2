//! One worker of a relay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};
use pushrail_ledger::{Ledger, Receipt};
use rdkafka::consumer::CommitMode;
use rdkafka::message::Message as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::held::Held;
use super::{Counters, Flow, Handler, Incoming, Outbox, Settings};
use crate::{
    Ack, Connection, Consumer, Error, Outgoing, Polled, Producer, SendError, TopicPartition,
};

/// Records handled before acknowledgements are looked at and other tasks of the thread get a turn.
const BURST: usize = 256;
/// How long a partition rests after Kafka refused one of its copies.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

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
    let producer = Producer::new(&connection.producer(&settings.client_id))?;
    let mut relay = Relay {
        settings,
        consumer: &consumer,
        producer,
        counters: &counters,
        partitions: HashMap::new(),
        pending: Pending::default(),
        outbox: Outbox::default(),
        revoking: Vec::new(),
        acks: Vec::new(),
        next_commit: Instant::now() + settings.commit_interval,
        next_tick: Instant::now(),
        unsent: None,
        shown: (0, 0),
    };
    let result = relay.run(&mut handler, &shutdown).await;
    relay.forget(&mut handler);
    result
}

/// A partition's key that can be looked up without allocating.
struct Key<'a>(&'a str, i32);

impl std::hash::Hash for Key<'_> {
    fn hash<S: std::hash::Hasher>(&self, state: &mut S) {
        // Like the derived hash of `TopicPartition`: an `Arc<str>` hashes as its text.
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<TopicPartition> for Key<'_> {
    fn equivalent(&self, key: &TopicPartition) -> bool {
        self.1 == key.partition && *self.0 == *key.topic
    }
}

struct Partition {
    ledger: Ledger,
    held: Held,
    /// Tells acknowledgements of an earlier assignment, or from before a rewind, apart.
    epoch: u64,
    committed: i64,
    ready: bool,
    revoking: bool,
}

/// Records whose copies await their acknowledgement.
#[derive(Default)]
struct Pending {
    slots: Vec<Slot>,
    free: Vec<usize>,
    epoch: u64,
}

struct Slot {
    partition: TopicPartition,
    epoch: u64,
    offset: i64,
    left: usize,
}

impl Pending {
    fn add(&mut self, partition: TopicPartition, epoch: u64, offset: i64, left: usize) -> usize {
        let slot = Slot {
            partition,
            epoch,
            offset,
            left,
        };
        match self.free.pop() {
            Some(token) => {
                self.slots[token] = slot;
                token
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }
}

struct Relay<'a> {
    settings: &'a Settings,
    consumer: &'a Consumer,
    producer: Producer,
    counters: &'a Counters,
    partitions: HashMap<TopicPartition, Partition>,
    pending: Pending,
    outbox: Outbox,
    revoking: Vec<(Vec<TopicPartition>, Instant)>,
    acks: Vec<Ack>,
    next_commit: Instant,
    next_tick: Instant,
    /// Copies of `outbox` from this one on, of the record with this token, that found the producer's queue full.
    unsent: Option<(usize, usize)>,
    /// Lag and partitions that the shared counters hold of this worker.
    shown: (i64, i64),
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
        let deadline = Instant::now() + self.settings.drain_timeout;
        while self.producer.outstanding() > 0 && Instant::now() < deadline {
            self.acknowledge();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.commit(CommitMode::Sync);
        Ok(())
    }

    /// One round; says whether there may be more to do at once.
    fn turn(&mut self, handler: &mut impl Handler) -> Result<bool, Error> {
        let mut busy = false;
        let now = Instant::now();
        if now >= self.next_tick {
            self.next_tick = now + Duration::from_millis(100);
            handler.tick();
            self.measure();
        }
        self.acknowledge();
        if self.producer.is_fatal() {
            return Err(Error::Fatal(
                "the producer was fenced or lost its place".into(),
            ));
        }
        self.send_rest();
        busy |= self.offer_held(handler, now);
        for _ in 0..BURST {
            if self.is_blocked() {
                break;
            }
            match self.consumer.poll() {
                Polled::Record(message) => {
                    busy = true;
                    self.receive(handler, message);
                }
                Polled::Assigned(partitions) => self.assigned(handler, &partitions)?,
                Polled::Revoked { partitions, lost } => self.revoked(partitions, lost),
                Polled::Problem(error) => match error {
                    rdkafka::error::KafkaError::MessageConsumptionFatal(_) => {
                        return Err(error.into());
                    }
                    error => tracing::warn!(%error, "relay.consume_problem"),
                },
                Polled::Idle => break,
            }
        }
        self.release(handler, now)?;
        if now >= self.next_commit {
            self.next_commit = now + self.settings.commit_interval;
            self.commit(CommitMode::Async);
        }
        Ok(busy && !self.is_blocked())
    }

    /// Back-pressure: reading stops while too much awaits its acknowledgement. Polling starts again within milliseconds,
    /// far inside `max.poll.interval.ms`, or Kafka is down and there is nothing to poll.
    fn is_blocked(&self) -> bool {
        self.unsent.is_some() || self.producer.outstanding() >= self.settings.outstanding_max
    }

    fn next_wake(&self) -> Instant {
        let mut wake = self.next_commit.min(self.next_tick);
        if self.producer.outstanding() > 0 || !self.revoking.is_empty() {
            wake = wake.min(Instant::now() + Duration::from_millis(2));
        }
        for partition in self.partitions.values() {
            if let Some(until) = partition.held.until.filter(|_| !partition.held.is_empty()) {
                wake = wake.min(until);
            }
        }
        wake
    }

    fn receive(
        &mut self,
        handler: &mut impl Handler,
        message: rdkafka::message::BorrowedMessage<'_>,
    ) {
        let key = Key(message.topic(), message.partition());
        let Some((tp, partition)) = self.partitions.get_key_value_mut(&key) else {
            return;
        };
        if partition.revoking || partition.ledger.receive(message.offset()) == Receipt::Seen {
            return;
        }
        if !partition.ready || !partition.held.is_empty() {
            partition.held.push(message.detach());
            if partition.held.is_full() && !partition.held.paused {
                partition.held.paused = self.consumer.pause(tp).is_ok();
            }
            return;
        }
        let record = Incoming {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            native_headers: message.headers(),
        };
        self.outbox.clear();
        match handler.handle(&record, &mut self.outbox) {
            Flow::Done => {
                let tp = tp.clone();
                self.dispatch(tp, message.offset());
            }
            Flow::Hold(until) => {
                Counters::add(&self.counters.holds, 1);
                partition.held.until = Some(until);
                partition.held.push(message.detach());
            }
        }
    }

    /// Offers what is held again where its time has come.
    fn offer_held(&mut self, handler: &mut impl Handler, now: Instant) -> bool {
        let mut busy = false;
        let due: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(_, p)| !p.revoking && (!p.ready || !p.held.is_empty() || p.held.paused))
            .filter(|(_, p)| p.held.until.is_none_or(|until| until <= now))
            .map(|(tp, _)| tp.clone())
            .collect();
        for tp in due {
            for _ in 0..BURST {
                if self.is_blocked() {
                    return busy;
                }
                let Some(partition) = self.partitions.get_mut(&tp) else {
                    break;
                };
                partition.ready = partition.ready || handler.ready(&tp);
                if !partition.ready {
                    // Asked again at the next tick.
                    partition.held.until = Some(now + Duration::from_millis(20));
                    break;
                }
                partition.held.until = None;
                let Some(record) = partition.held.first() else {
                    break;
                };
                let offset = record.offset;
                self.outbox.clear();
                match handler.handle(&record, &mut self.outbox) {
                    Flow::Done => {
                        partition.held.pop();
                        busy = true;
                        self.dispatch(tp.clone(), offset);
                    }
                    Flow::Hold(until) => {
                        partition.held.until = Some(until);
                        break;
                    }
                }
            }
            if let Some(partition) = self.partitions.get_mut(&tp)
                && partition.held.paused
                && partition.held.has_room()
            {
                partition.held.paused = self.consumer.resume(&tp).is_err();
            }
        }
        busy
    }

    /// Sends the copies in the outbox; the record is settled when all are acknowledged.
    fn dispatch(&mut self, tp: TopicPartition, offset: i64) {
        Counters::add(&self.counters.records, 1);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if self.outbox.is_empty() {
            partition.ledger.settle(offset);
            return;
        }
        let copies = self.outbox.len();
        Counters::add(&self.counters.copies, copies as u64);
        let token = self.pending.add(tp, partition.epoch, offset, copies);
        self.unsent = Some((0, token));
        self.send_rest();
    }

    fn send_rest(&mut self) {
        let Some((from, token)) = self.unsent.take() else {
            return;
        };
        for at in from..self.outbox.copies.len() {
            let copy = &mut self.outbox.copies[at];
            let headers = copy.headers.take().unwrap_or_default();
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
                token,
            );
            match sent {
                Ok(()) => {}
                Err(SendError::Full(headers)) => {
                    copy.headers = Some(headers);
                    self.unsent = Some((at, token));
                    return;
                }
                Err(SendError::Refused(error)) => self.acknowledged(token, Err(error)),
            }
        }
    }

    fn acknowledge(&mut self) {
        let mut acks = std::mem::take(&mut self.acks);
        self.producer.poll(&mut acks);
        for ack in acks.drain(..) {
            self.acknowledged(ack.token, ack.result);
        }
        self.acks = acks;
    }

    fn acknowledged(&mut self, token: usize, result: Result<(), rdkafka::error::KafkaError>) {
        let slot = &mut self.pending.slots[token];
        slot.left -= 1;
        let partition = self
            .partitions
            .get_mut(&slot.partition)
            .filter(|p| p.epoch == slot.epoch);
        match (result, partition) {
            (Ok(()), Some(partition)) if slot.left == 0 => partition.ledger.settle(slot.offset),
            (Err(error), Some(partition)) => {
                // Not settled and not forgotten: the partition starts again at its commit. What its ledger knows to be
                // finished is not repeated.
                tracing::error!(%error, partition = %slot.partition, offset = slot.offset, "relay.copy_refused");
                Counters::add(&self.counters.refused, 1);
                self.pending.epoch += 1;
                let metadata = partition.ledger.metadata(usize::MAX);
                partition.ledger = Ledger::new(partition.ledger.committable(), &metadata);
                partition.epoch = self.pending.epoch;
                partition.held.clear();
                partition.held.until = Some(Instant::now() + REFUSED_PAUSE);
                partition.ready = false;
                let offset = partition.ledger.committable();
                if let Err(error) = self.consumer.seek(&slot.partition, offset) {
                    tracing::error!(%error, partition = %slot.partition, "relay.seek_failed");
                }
            }
            _ => {}
        }
        if slot.left == 0 {
            self.pending.free.push(token);
        }
    }

    fn assigned(
        &mut self,
        handler: &mut impl Handler,
        assigned: &[TopicPartition],
    ) -> Result<(), Error> {
        let mut start = Vec::with_capacity(assigned.len());
        for committed in self.consumer.committed(assigned, Duration::from_secs(10))? {
            let (tp, offset) = (committed.partition, committed.offset);
            tracing::info!(partition = %tp, offset, "relay.partition_assigned");
            handler.assigned(&tp, offset);
            self.pending.epoch += 1;
            let partition = Partition {
                ledger: Ledger::new(offset.unwrap_or(0), &committed.metadata),
                held: Held::default(),
                epoch: self.pending.epoch,
                committed: offset.unwrap_or(-1),
                ready: handler.ready(&tp),
                revoking: false,
            };
            self.partitions.insert(tp.clone(), partition);
            start.push((tp, offset));
        }
        Ok(self.consumer.start(&start)?)
    }

    fn revoked(&mut self, partitions: Vec<TopicPartition>, lost: bool) {
        for tp in &partitions {
            if let Some(partition) = self.partitions.get_mut(tp) {
                partition.revoking = true;
                // Read and not yet begun: the next owner's.
                partition.held.clear();
            }
        }
        let patience = if lost {
            Duration::ZERO
        } else {
            self.settings.drain_timeout
        };
        self.revoking.push((partitions, Instant::now() + patience));
    }

    /// Gives partitions back whose last copies have been acknowledged, or that have waited long enough.
    fn release(&mut self, handler: &mut impl Handler, now: Instant) -> Result<(), Error> {
        let mut at = 0;
        while at < self.revoking.len() {
            let (partitions, deadline) = &self.revoking[at];
            let under_way = self
                .pending
                .slots
                .iter()
                .any(|s| s.left > 0 && partitions.contains(&s.partition) && self.is_current(s));
            if under_way && now < *deadline {
                at += 1;
                continue;
            }
            let (partitions, _) = self.revoking.swap_remove(at);
            self.commit_of(Some(&partitions), CommitMode::Sync);
            for tp in &partitions {
                self.partitions.remove(tp);
                handler.revoked(tp);
                tracing::info!(partition = %tp, "relay.partition_released");
            }
            self.consumer.release(&partitions)?;
        }
        Ok(())
    }

    fn is_current(&self, slot: &Slot) -> bool {
        self.partitions
            .get(&slot.partition)
            .is_some_and(|p| p.epoch == slot.epoch)
    }

    fn commit(&mut self, mode: CommitMode) {
        self.commit_of(None, mode);
    }

    fn commit_of(&mut self, only: Option<&[TopicPartition]>, mode: CommitMode) {
        let mut commits = Vec::new();
        for (tp, partition) in &mut self.partitions {
            let offset = partition.ledger.committable();
            let chosen = only.is_none_or(|only| only.contains(tp));
            // An asynchronous commit that got lost is mended by the next; the last one is made in any case.
            if chosen
                && (offset > partition.committed || matches!(mode, CommitMode::Sync) && offset > 0)
            {
                partition.committed = offset;
                commits.push((
                    tp,
                    offset,
                    partition.ledger.metadata(self.settings.metadata_len_max),
                ));
            }
        }
        if let Err(error) = self.consumer.commit(commits, mode) {
            tracing::warn!(%error, "relay.commit_failed");
        }
    }

    /// Workers share the counters, so each adds what has changed on its side.
    fn measure(&mut self) {
        let lag = self.partitions.iter().map(|(tp, p)| {
            let end = self.consumer.high_watermark(tp).unwrap_or(0);
            end.saturating_sub(p.ledger.committable()).max(0)
        });
        self.show(lag.sum(), self.partitions.len() as i64);
    }

    fn show(&mut self, lag: i64, partitions: i64) {
        self.counters
            .lag
            .fetch_add(lag - self.shown.0, Ordering::Relaxed);
        self.counters
            .partitions
            .fetch_add(partitions - self.shown.1, Ordering::Relaxed);
        self.shown = (lag, partitions);
    }

    fn forget(&mut self, handler: &mut impl Handler) {
        self.show(0, 0);
        for (tp, _) in self.partitions.drain() {
            handler.revoked(&tp);
        }
    }
}
