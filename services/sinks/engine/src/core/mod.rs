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
use pushrail_sink_core::BatchLimits;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;
use uuid::Uuid;

pub use breaker::State as BreakerState;
pub use item::{Cause, Conclusion, Effect, Flight, Item, Made, Next, Now, Source, Start, Target};

use crate::settings::Limits;
use lane::{Client, Lane};
use partition::Partition;

/// What the core has to know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub batch: BatchLimits,
    pub timeout_default: Duration,
    pub timeout_max: Duration,
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
    partitions: HashMap<i32, Partition>,
    epoch: u64,
    next_flight: u64,
    queued: usize,
    queued_cost: usize,
    active: usize,
    overdue: usize,
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
    pub active: usize,
    pub overdue: usize,
    pub breakers_open: usize,
    pub suspended: usize,
}

impl Core {
    pub fn new(limits: Limits, kind: Kind, seed: u64) -> Self {
        Core {
            limits,
            kind,
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            by_destination: HashMap::new(),
            ring: VecDeque::new(),
            wakes: BinaryHeap::new(),
            partitions: HashMap::new(),
            epoch: 0,
            next_flight: 0,
            queued: 0,
            queued_cost: 0,
            active: 0,
            overdue: 0,
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

    /// A partition is to be given back: what waits of it is the next owner's, what is under way may still finish.
    pub fn revoke(&mut self, partition: i32) {
        let Some(state) = self.partitions.get_mut(&partition) else {
            return;
        };
        state.revoking = true;
        for lane in self.lanes.iter_mut().flatten() {
            let cost = lane.queued_cost;
            self.queued -= lane.remove(|item| item.source.partition == partition);
            self.queued_cost -= cost - lane.queued_cost;
        }
    }

    /// Whether attempts on records of the partition are under way.
    pub fn is_under_way(&self, partition: i32) -> bool {
        let of = |item: &Item| item.source.partition == partition && self.is_current(item.source);
        self.lanes
            .iter()
            .flatten()
            .flat_map(|l| &l.flights)
            .any(|f| f.items.iter().any(of))
    }

    /// A partition is no longer ours: whatever still comes for it counts for nothing.
    pub fn release(&mut self, partition: i32) -> Option<Ledger> {
        Some(self.partitions.remove(&partition)?.ledger)
    }

    /// Starts a partition over from its commit, after something of it could not be written.
    pub fn rewind(&mut self, partition: i32) -> Option<i64> {
        self.revoke(partition);
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
        if !state.paused && state.is_too_far_ahead(&self.limits, self.kind.timeout_max) {
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
        if state.paused && state.has_caught_up(&self.limits, self.kind.timeout_max) {
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
            active: self.active,
            overdue: self.overdue,
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
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        let waiting: Vec<Item> = std::iter::from_fn(|| lane.pop()).collect();
        self.queued -= waiting.len();
        self.queued_cost -= waiting.iter().map(Item::cost).sum::<usize>();
        if let Some(destination) = &destination {
            lane.update(Arc::clone(destination), now.instant);
        }
        if lane.client == Client::Absent {
            self.effects.push_back(Effect::Forget { lane: at });
        }
        // What waits is judged again: it may be paused, disabled or removed now, or flow on.
        for item in waiting {
            self.place(now, item, destination.as_ref());
        }
    }

    fn lane(&mut self, destination: &Arc<Destination>, now: Instant) -> usize {
        if let Some(at) = self.by_destination.get(&destination.destination_id) {
            return *at;
        }
        let lane = Some(Lane::new(Arc::clone(destination), now));
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
