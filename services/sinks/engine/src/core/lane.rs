//! One destination's queue and attempts.
//!
//! A lane keeps trouble in: its queue is bounded by how long a record would wait in it, its attempts by a cap that starts
//! at one and grows with success, and what does not fit is put off through a retry tier instead of waiting here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pushrail_schemas::config::Destination;
use pushrail_sink_core::BatchLimits;
use tokio::time::Instant;

use super::batcher::{Batcher, Items, Open};
use super::breaker::{Breaker, Gate};
use super::bucket::Bucket;
use super::item::Item;
use crate::settings::Limits;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) destination: Arc<Destination>,
    /// What a call to this destination may carry.
    pub(super) limits: BatchLimits,
    /// What waits, where a call carries one record.
    queue: VecDeque<Item>,
    /// Sum of the queue's costs.
    queued_cost: usize,
    /// What waits, where a call carries several.
    pub(super) batches: Batcher,
    pub(super) flights: Vec<Flown>,
    /// Attempts that may be under way; a fraction is on its way to the next whole one.
    cap: f64,
    /// Usual time of an attempt: an average that forgets.
    latency: Option<Duration>,
    /// Whether it failed since it last answered.
    failing: bool,
    last_answer: Instant,
    pub(super) breaker: Breaker,
    /// The attempt on which a half-open breaker waits.
    pub(super) probe: Option<u64>,
    /// The destination asked to be left alone until then.
    hold_until: Option<Instant>,
    bucket: Option<Bucket>,
    pub(super) client: Client,
    pub(super) in_ring: bool,
    /// Bytes that this lane may still send in its turn.
    pub(super) deficit: usize,
    pub(super) idle_since: Instant,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Flown {
    pub(super) number: u64,
    pub(super) started: Instant,
    pub(super) started_at_us: i64,
    pub(super) items: Items,
    /// Sum of the items' costs.
    pub(super) cost: usize,
    pub(super) overdue: bool,
}

/// What waits in a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) records: usize,
    pub(super) cost: usize,
    pub(super) open: Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Absent,
    Connecting,
    Ready,
}

/// Why a lane can't start an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Nothing to send, or as many under way as it may have: its own next event wakes it.
    Waiting,
    /// It has work, and no client yet.
    NoClient,
    /// Not before this time.
    Until(Instant),
}

/// What the worker's memory allows one lane, in records and in costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) at_most: usize,
    pub(super) cost_at_most: usize,
    /// There is no other lane.
    pub(super) alone: bool,
}

/// Why a record may not wait in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The destination takes nothing before this time.
    Shut {
        until: Instant,
    },
    Suspended,
    /// It answers, too slowly for what comes; or does not answer yet.
    Crowded,
}

const CAP_UNPROVEN: f64 = 1.0;
const CAP_PROVEN: f64 = 4.0;

impl Lane {
    pub(super) fn new(destination: Arc<Destination>, limits: BatchLimits, now: Instant) -> Self {
        let bucket = destination.rate_limit.map(|limit| Bucket::new(limit, now));
        Lane {
            destination,
            limits,
            queue: VecDeque::new(),
            queued_cost: 0,
            batches: Batcher::default(),
            flights: Vec::new(),
            cap: CAP_UNPROVEN,
            latency: None,
            failing: false,
            last_answer: now,
            breaker: Breaker::new(now),
            probe: None,
            hold_until: None,
            bucket,
            client: Client::Absent,
            in_ring: false,
            deficit: 0,
            idle_since: now,
        }
    }

    /// Takes on a changed destination. A new version is a stranger again: it starts small and with a closed breaker.
    pub(super) fn update(
        &mut self,
        destination: Arc<Destination>,
        limits: BatchLimits,
        now: Instant,
    ) {
        self.limits = limits;
        if destination.rate_limit != self.destination.rate_limit {
            self.bucket = destination.rate_limit.map(|limit| Bucket::new(limit, now));
        }
        if destination.version != self.destination.version
            || destination.state != self.destination.state
        {
            self.client = Client::Absent;
            self.cap = CAP_UNPROVEN;
            self.failing = false;
            self.latency = None;
            self.breaker = Breaker::new(now);
            self.probe = None;
            self.hold_until = None;
        }
        self.destination = destination;
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queued_cost += item.cost();
        self.queue.push_back(item);
    }

    /// Takes the record that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let Some(item) = self.queue.pop_front() else {
            return self.batches.take_first();
        };
        self.queued_cost -= item.cost();
        Some(item)
    }

    /// Takes what the next call carries, and its cost.
    pub(super) fn next_call(&mut self) -> Option<(Items, usize)> {
        if let Some(item) = self.queue.pop_front() {
            let cost = item.cost();
            self.queued_cost -= cost;
            return Some(([item].into(), cost));
        }
        if self.batches.next_len().is_none() {
            self.batches.close_all();
        }
        self.batches.take()
    }

    /// Takes everything that waits.
    pub(super) fn take_all(&mut self) -> Vec<Item> {
        self.queued_cost = 0;
        self.queue
            .drain(..)
            .chain(self.batches.take_all())
            .collect()
    }

    /// Removes what waits and is `gone`.
    pub(super) fn remove(&mut self, gone: impl Fn(&Item) -> bool) {
        self.queue.retain(|item| !gone(item));
        self.queued_cost = self.queue.iter().map(Item::cost).sum();
        self.batches.remove(0, gone);
    }

    /// Closes all batches, keeps of them what can be started at once, and removes of the others what is `gone`.
    pub(super) fn keep_startable(
        &mut self,
        now: Instant,
        limits: &Limits,
        gone: impl Fn(&Item) -> bool,
    ) {
        self.batches.close_all();
        let held = self.hold_until.is_some_and(|until| until > now);
        let records = self.batches.next_len().unwrap_or_default();
        let bucket = self.bucket.as_mut();
        let limited = bucket.is_some_and(|b| b.shut_until(now, records).is_some());
        let flows = self.breaker.is_closed() && !held && !limited && !self.is_stalled(now, limits);
        let room = (self.cap as usize).saturating_sub(self.flights.len());
        self.batches.remove(if flows { room } else { 0 }, gone);
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting {
            records: self.queue.len() + self.batches.records(),
            cost: self.queued_cost + self.batches.cost(),
            open: self.batches.open_size(),
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.batches.records() == 0
    }

    /// Records of the next call; `None` when there is nothing that could be sent now. What a breaker that is not closed let
    /// in is the probe, and waits for no company.
    fn next_len(&self) -> Option<usize> {
        if !self.queue.is_empty() {
            return Some(1);
        }
        let probe = || (!self.breaker.is_closed() && self.batches.records() > 0).then_some(1);
        self.batches.next_len().or_else(probe)
    }

    /// Whether a record that comes now may wait here; `share` is what the worker's memory allows it.
    pub(super) fn admits(&self, now: Instant, limits: &Limits, share: Share) -> Result<(), Full> {
        match self.breaker.gate(now) {
            Gate::Shut { until } => return Err(Full::Shut { until }),
            Gate::Suspended => return Err(Full::Suspended),
            Gate::Probe if !self.is_empty() && self.breaker.is_suspended() => {
                return Err(Full::Suspended);
            }
            // The first is the probe; one behind it would only have to be put off when it fails.
            Gate::Probe if !self.is_empty() => return Err(Full::Shut { until: now }),
            Gate::Probe | Gate::Open => {}
        }
        if let Some(until) = self.hold_until.filter(|until| *until > now) {
            return Err(Full::Shut { until });
        }
        let Waiting { records, cost, .. } = self.waiting();
        if self.is_stalled(now, limits)
            || records >= self.worth_queueing(limits, share)
            || cost >= share.cost_at_most
        {
            return Err(Full::Crowded);
        }
        Ok(())
    }

    /// How many records may wait. A stranger gets the benefit of the doubt until its first attempt has ended or is overdue; a
    /// lane that has failed since it last answered gets little; of one that answers, what it sends within
    /// [`Limits::lane_wait_max`]. Alone, a lane delays nobody: then reading stops instead.
    fn worth_queueing(&self, limits: &Limits, share: Share) -> usize {
        let worth = match self.latency {
            _ if self.failing => 0,
            None if self.flights.iter().any(|f| f.overdue) => 0,
            None => share.at_most,
            Some(_) if share.alone || !self.is_its_own_limit() => share.at_most,
            Some(latency) => {
                // With the cap that it is growing towards: what waits now is sent then.
                let calls = limits.lane_in_flight_max as f64 / latency.as_secs_f64().max(1e-6);
                let by_latency = calls * self.limits.records as f64;
                let per_second = self
                    .bucket
                    .as_ref()
                    .map_or(by_latency, |b| b.per_second().min(by_latency));
                // Waiting for company is not waiting for the destination.
                let wait = limits.lane_wait_max + self.limits.age;
                (per_second * wait.as_secs_f64()) as usize
            }
        };
        worth.max(limits.unproven_queue_max).min(share.at_most)
    }

    /// Whether what waits here waits for this destination, and not for its turn: then the whole worker is busy, and putting
    /// records off would only make more work of them.
    fn is_its_own_limit(&self) -> bool {
        self.bucket.is_some() || self.flights.len() * 4 >= self.cap as usize * 3
    }

    /// Nothing has come back for too long while something is overdue: what waits would wait for nothing.
    pub(super) fn is_stalled(&self, now: Instant, limits: &Limits) -> bool {
        self.flights.iter().any(|f| f.overdue)
            && now.duration_since(self.last_answer) >= self.overdue_after(limits)
    }

    pub(super) fn overdue_after(&self, limits: &Limits) -> Duration {
        self.latency
            .map_or(limits.overdue_after, |l| (l * 3).max(limits.overdue_after))
    }

    /// Whether an attempt may start now.
    pub(super) fn blocked(&mut self, now: Instant) -> Option<Blocked> {
        let Some(records) = self.next_len() else {
            return Some(Blocked::Waiting);
        };
        if self.flights.len() >= self.cap as usize {
            return Some(Blocked::Waiting);
        }
        match self.breaker.gate(now) {
            Gate::Open | Gate::Probe => {}
            Gate::Shut { until } => return Some(Blocked::Until(until)),
            Gate::Suspended => return Some(Blocked::Waiting),
        }
        if let Some(until) = self.hold_until {
            if until > now {
                return Some(Blocked::Until(until));
            }
            self.hold_until = None;
        }
        if self.client != Client::Ready {
            return Some(Blocked::NoClient);
        }
        let bucket = self.bucket.as_mut();
        if let Some(until) = bucket.and_then(|b| b.shut_until(now, records)) {
            return Some(Blocked::Until(until));
        }
        None
    }

    /// Takes note of an attempt that starts.
    pub(super) fn started(&mut self, flown: Flown, now: Instant) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now, flown.items.len());
        }
        if self.breaker.gate(now) == Gate::Probe {
            self.breaker.probing();
            self.probe = Some(flown.number);
        }
        self.flights.push(flown);
    }

    pub(super) fn take_flight(&mut self, number: u64) -> Option<Flown> {
        let at = self.flights.iter().position(|f| f.number == number)?;
        Some(self.flights.swap_remove(at))
    }

    /// The destination answered, with whatever: it is there, and takes more.
    pub(super) fn answered(&mut self, now: Instant, latency: Duration, limits: &Limits) {
        self.last_answer = now;
        self.failing = false;
        if self.latency.is_none() {
            self.cap = CAP_PROVEN.min(limits.lane_in_flight_max as f64);
        }
        self.latency = Some(self.latency.map_or(latency, |l| (l * 7 + latency) / 8));
        self.cap = (self.cap + 1.0).min(limits.lane_in_flight_max as f64);
        self.probe = None;
        self.breaker.succeeded(now);
    }

    /// The destination wants to be left alone for a while.
    pub(super) fn hold(&mut self, now: Instant, asked: Duration) {
        /// Longest time that one answer can shut a destination for.
        const HOLD_MAX: Duration = Duration::from_secs(300);
        self.hold_until = Some(now + asked.min(HOLD_MAX));
    }

    /// The destination failed.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>, spread: f64) {
        self.failing = true;
        self.cap = (self.cap / 2.0).max(CAP_UNPROVEN);
        self.probe = None;
        self.breaker.failed(now, spread);
        if let Some(asked) = asked {
            self.hold(now, asked);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.flights.is_empty() && self.client != Client::Connecting
    }
}
