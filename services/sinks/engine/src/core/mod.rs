//! The engine's decisions, without I/O.
//!
//! The core is told what happened ([`Core::receive`], [`Core::finished`], [`Core::settle`], ...) and at what time, and puts
//! what is to be done into a queue of [`Effect`]s. It never reads a clock, never waits, and draws its random numbers from a
//! seed, so that a test can replay any history.
//!
//! **Isolation.** Attempts under way share a pool of permits, given out in turns between lanes, by bytes (deficit round
//! robin). A destination that does not answer would keep its permits until its timeout, so an attempt that is overdue
//! hands its permit back and is counted apart: healthy lanes never wait for hanging ones. A lane's queue is bounded by how
//! long a record would wait in it and by its share of the worker's memory; what does not fit goes to a retry tier and is
//! settled there. Reading stops only when all lanes together hold as much as the worker may.
//!
//! **Batches.** Where a call carries several records, a lane collects them by group until a limit is reached (`batcher`). What
//! waits for company waits by choice, so it may never be the reason to stop reading: together it may be half of what the
//! worker holds, and beyond that the batches that are due next are closed early. Memory goes before age. What is under way
//! is bounded in bytes as well, because a batch may be large. A batch is settled record by record like everything else, and
//! until then its records hold the commit back: the window of a partition counts the age of batches in ([`Kind::stay_max`]).

mod batcher;
mod breaker;
mod bucket;
mod intake;
mod item;
mod lane;
mod outcome;
mod partition;
mod plan;
mod turns;

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use pushrail_ledger::{Ledger, Receipt};
use pushrail_schemas::config::Destination;
use pushrail_sink_core::{BatchLimits, Batching};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;
use uuid::Uuid;

pub use breaker::State as BreakerState;
pub use item::{
    Cause, Conclusion, Effect, Flight, Item, Made, Next, Now, Source, Start, Target, Weight,
};

use crate::settings::Limits;
use batcher::Open;
use bucket::Bucket;
use lane::{Client, Lane};
use partition::Partition;
use turns::Due;

/// What the core has to know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What a destination gets that says nothing of batches, and the most that it may ask for.
    pub batch: BatchLimits,
    pub batch_max: BatchLimits,
    pub batching: Batching,
    pub timeout_default: Duration,
    pub timeout_max: Duration,
}

impl Kind {
    fn is_single(&self) -> bool {
        self.batch_max.is_single()
    }

    /// Longest time that a record which flows stays here: waiting for company, and under way.
    pub fn stay_max(&self) -> Duration {
        self.batch_max.age + self.timeout_max
    }

    /// What a call to this destination may carry. A call is never larger than a burst of the rate limit.
    fn limits(&self, destination: &Destination) -> BatchLimits {
        let BatchLimits {
            mut records,
            mut bytes,
            mut age,
        } = self.batch;
        if let Some(asked) = &destination.batch {
            records = asked.records.map_or(records, |n| n as usize);
            bytes = asked.bytes.map_or(bytes, |n| n as usize);
            age = asked
                .age_ms
                .map_or(age, |ms| Duration::from_millis(ms.into()));
        }
        let burst = destination.rate_limit.map_or(usize::MAX, Bucket::burst);
        BatchLimits {
            records: records.min(self.batch_max.records).min(burst).max(1),
            bytes: bytes.min(self.batch_max.bytes),
            age: age.min(self.batch_max.age),
        }
    }
}

/// What becomes of batches that have not been sent when their partition is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// What can be started at once is; the rest is the next owner's.
    Flush,
    /// The next owner's.
    Leave,
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    kind: Kind,
    lanes: Vec<Option<Lane>>,
    free_lanes: Vec<usize>,
    by_destination: HashMap<Uuid, usize>,
    /// Lanes that may start an attempt, in their turn.
    ring: VecDeque<usize>,
    /// Lanes that are to be looked at again at a time.
    wakes: BinaryHeap<std::cmp::Reverse<(Instant, usize)>>,
    /// When open batches have waited long enough. Those that were closed before are passed over.
    dues: BinaryHeap<std::cmp::Reverse<Due>>,
    partitions: HashMap<i32, Partition>,
    epoch: u64,
    next_flight: u64,
    next_batch: u64,
    queued: usize,
    queued_cost: usize,
    /// What of that waits for company.
    open: Open,
    active: usize,
    active_cost: usize,
    overdue: usize,
    overdue_cost: usize,
    ticked_at: Option<Instant>,
    rng: SmallRng,
    effects: VecDeque<Effect>,
}

/// A count of what the core holds, for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub lanes: usize,
    pub queued: usize,
    pub queued_bytes: usize,
    /// Of what is queued: records in batches that are still open.
    pub batching: usize,
    pub active: usize,
    pub overdue: usize,
    /// Of all that is under way.
    pub in_flight_bytes: usize,
    pub breakers_open: usize,
    pub suspended: usize,
}

impl Core {
    pub fn new(mut limits: Limits, kind: Kind, seed: u64) -> Self {
        let calls_max = kind.batching.calls_max.max(1);
        limits.lane_in_flight_max = limits.lane_in_flight_max.min(calls_max);
        if !kind.is_single() {
            // A first call with a whole batch is not slow when it takes a second: it uploads, or makes a table.
            limits.overdue_after = limits.overdue_after.max(kind.timeout_default / 5);
        }
        Core {
            limits,
            kind,
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            by_destination: HashMap::new(),
            ring: VecDeque::new(),
            wakes: BinaryHeap::new(),
            dues: BinaryHeap::new(),
            partitions: HashMap::new(),
            epoch: 0,
            next_flight: 0,
            next_batch: 0,
            queued: 0,
            queued_cost: 0,
            open: Open::default(),
            active: 0,
            active_cost: 0,
            overdue: 0,
            overdue_cost: 0,
            ticked_at: None,
            rng: SmallRng::seed_from_u64(seed),
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A partition is ours, from this ledger's commit on.
    pub fn assign(&mut self, partition: i32, ledger: Ledger) {
        self.epoch += 1;
        self.partitions
            .insert(partition, Partition::new(self.epoch, ledger));
    }

    /// A partition is to be given back: what is under way may still finish, and what waits of it is the next owner's, but for
    /// batches that are flushed. Those count as under way: what a batch has waited for need not be waited for again.
    pub fn revoke(&mut self, now: Instant, partition: i32, unsent: Unsent) {
        let Some(state) = self.partitions.get_mut(&partition) else {
            return;
        };
        state.revoking = true;
        let limits = self.limits;
        let of = |item: &Item| item.source.partition == partition;
        for at in 0..self.lanes.len() {
            let flushed = self.with_lane(at, |lane| {
                let concerned = unsent == Unsent::Flush && lane.batches.iter().any(of);
                if concerned {
                    lane.keep_startable(now, &limits, of);
                } else {
                    lane.remove(of);
                }
                concerned
            });
            if flushed == Some(true) {
                self.ring_up(at);
            }
        }
    }

    /// Whether attempts on records of the partition are under way, or batches with them about to be.
    pub fn is_under_way(&self, partition: i32) -> bool {
        let of = |item: &Item| item.source.partition == partition && self.is_current(item.source);
        self.lanes.iter().flatten().any(|lane| {
            lane.flights.iter().any(|f| f.items.iter().any(of)) || lane.batches.iter().any(of)
        })
    }

    /// A partition is no longer ours: whatever still comes for it counts for nothing.
    pub fn release(&mut self, partition: i32) -> Option<Ledger> {
        self.drop_waiting(partition);
        Some(self.partitions.remove(&partition)?.ledger)
    }

    fn drop_waiting(&mut self, partition: i32) {
        for at in 0..self.lanes.len() {
            self.with_lane(at, |lane| {
                lane.remove(|item| item.source.partition == partition);
            });
        }
    }

    /// Closes every batch: nothing waits for company any more.
    pub fn hurry(&mut self) {
        if self.open.records == 0 {
            return;
        }
        for at in 0..self.lanes.len() {
            if self.with_lane(at, |lane| lane.batches.close_all()) == Some(true) {
                self.ring_up(at);
            }
        }
    }

    /// Starts a partition over from its commit, after something of it could not be written.
    pub fn rewind(&mut self, partition: i32) -> Option<i64> {
        self.drop_waiting(partition);
        let ledger = self.partitions.remove(&partition)?.ledger;
        let (offset, metadata) = (ledger.committable(), ledger.metadata(usize::MAX));
        self.assign(partition, Ledger::new(offset, &metadata));
        Some(offset)
    }

    /// Takes note of a record that was read. `None`: it is finished already, or the partition is not ours any more.
    pub fn admit(&mut self, partition: i32, offset: i64) -> Option<Source> {
        let state = self
            .partitions
            .get_mut(&partition)
            .filter(|p| !p.revoking)?;
        if state.ledger.receive(offset) == Receipt::Seen {
            return None;
        }
        state.arrived += 1;
        if !state.paused && state.is_too_far_ahead(&self.limits, self.kind.stay_max()) {
            state.paused = true;
            self.effects.push_back(Effect::Pause(partition));
        }
        Some(Source {
            partition,
            epoch: state.epoch,
            offset,
        })
    }

    /// A record is finished: its attempt is recorded, or its copy acknowledged.
    pub fn settle(&mut self, source: Source) {
        let Some(state) = self
            .partitions
            .get_mut(&source.partition)
            .filter(|p| p.epoch == source.epoch)
        else {
            return;
        };
        state.ledger.settle(source.offset);
        if state.paused && state.has_caught_up(&self.limits, self.kind.stay_max()) {
            state.paused = false;
            self.effects.push_back(Effect::Resume(source.partition));
        }
    }

    /// Whether `source` belongs to the assignment that is in force.
    pub fn is_current(&self, source: Source) -> bool {
        self.partitions
            .get(&source.partition)
            .is_some_and(|p| p.epoch == source.epoch)
    }

    /// Whether reading should go on: not while the lanes hold as much as they may. They always empty again, because
    /// what does not move is put off.
    pub fn wants_more(&self) -> bool {
        self.queued < self.limits.queued_records_max / 5 * 4
            && self.queued_cost < self.limits.queued_bytes_max / 5 * 4
    }

    /// The ledgers of all partitions, for commits.
    pub fn ledgers(&self) -> impl Iterator<Item = (i32, &Ledger)> {
        self.partitions
            .iter()
            .map(|(partition, state)| (*partition, &state.ledger))
    }

    pub fn ledger(&self, partition: i32) -> Option<&Ledger> {
        self.partitions.get(&partition).map(|p| &p.ledger)
    }

    pub fn ledger_mut(&mut self, partition: i32) -> Option<&mut Ledger> {
        self.partitions.get_mut(&partition).map(|p| &mut p.ledger)
    }

    pub fn census(&self) -> Census {
        let lanes = || self.lanes.iter().flatten();
        let breakers = |wanted: fn(&BreakerState) -> bool| {
            lanes().filter(|l| wanted(&l.breaker.state())).count()
        };
        Census {
            lanes: self.by_destination.len(),
            queued: self.queued,
            queued_bytes: self.queued_cost,
            batching: self.open.records,
            active: self.active,
            overdue: self.overdue,
            in_flight_bytes: self.active_cost + self.overdue_cost,
            breakers_open: breakers(|s| {
                matches!(s, BreakerState::Open { .. } | BreakerState::HalfOpen)
            }),
            suspended: breakers(|s| matches!(s, BreakerState::Suspended { .. })),
        }
    }

    /// A destination was changed, or removed.
    pub fn changed(&mut self, now: Now, id: Uuid, destination: Option<Arc<Destination>>) {
        let Some(&at) = self.by_destination.get(&id) else {
            return;
        };
        let waiting = self.take_waiting(at);
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        if let Some(destination) = &destination {
            let limits = self.kind.limits(destination);
            lane.update(Arc::clone(destination), limits, now.instant);
        }
        if lane.client == Client::Absent {
            self.effects.push_back(Effect::Forget { lane: at });
        }
        // What waits is judged again: it may be paused, disabled or removed now, or flow on.
        for item in waiting {
            self.place(now, item, destination.as_ref());
        }
    }

    /// Lets `change` alter what waits in a lane, and keeps the sums.
    fn with_lane<R>(&mut self, at: usize, change: impl FnOnce(&mut Lane) -> R) -> Option<R> {
        let lane = self.lanes[at].as_mut()?;
        let before = lane.waiting();
        let result = change(lane);
        let after = lane.waiting();
        let sum = |all: &mut usize, before: usize, after: usize| *all = *all - before + after;
        sum(&mut self.queued, before.records, after.records);
        sum(&mut self.queued_cost, before.cost, after.cost);
        let (was, is) = (before.open, after.open);
        sum(&mut self.open.batches, was.batches, is.batches);
        sum(&mut self.open.records, was.records, is.records);
        sum(&mut self.open.cost, was.cost, is.cost);
        Some(result)
    }

    fn take_waiting(&mut self, at: usize) -> Vec<Item> {
        self.with_lane(at, Lane::take_all).unwrap_or_default()
    }

    fn lane(&mut self, destination: &Arc<Destination>, now: Instant) -> usize {
        if let Some(at) = self.by_destination.get(&destination.destination_id) {
            return *at;
        }
        let limits = self.kind.limits(destination);
        let lane = Some(Lane::new(Arc::clone(destination), limits, now));
        let at = match self.free_lanes.pop() {
            Some(at) => {
                self.lanes[at] = lane;
                at
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() - 1
            }
        };
        self.by_destination.insert(destination.destination_id, at);
        at
    }

    fn forget_lane(&mut self, at: usize) {
        if let Some(lane) = self.lanes[at].take() {
            self.by_destination.remove(&lane.destination.destination_id);
            self.free_lanes.push(at);
            self.effects.push_back(Effect::Forget { lane: at });
        }
    }
}
