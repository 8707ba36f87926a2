//! Whose turn it is: permits, rounds and timers.

use std::sync::Arc;
use std::time::Duration;

use pushrail_sink_core::Batch;
use tokio::time::Instant;

use super::Core;
use super::item::{Cause, Effect, Flight, Now, Start};
use super::lane::{Blocked, Client, Flown, Lane};

/// What a lane may send in its turn, in bytes: a few records, so that a round is short.
const QUANTUM: usize = 8 * 1024;

/// When an open batch has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    at: Instant,
    number: u64,
    lane: usize,
    group: u64,
}

impl Core {
    /// Remembers when a batch that was just opened is due.
    pub(super) fn due_at(&mut self, at: Instant, number: u64, lane: usize, group: u64) {
        let due = Due {
            at,
            number,
            lane,
            group,
        };
        self.dues.push(std::cmp::Reverse(due));
        // Most batches of a busy destination are full long before they are due.
        if self.dues.len() > 4 * self.open.batches + 1_024 {
            let lanes = &self.lanes;
            self.dues.retain(|std::cmp::Reverse(due)| {
                let lane = lanes[due.lane].as_ref();
                lane.is_some_and(|lane| lane.batches.is_open(due.group, due.number))
            });
        }
    }

    /// Closes the batches that have waited long enough, and where too much waits for company, those that are due next.
    fn close_due(&mut self, now: Instant) {
        while let Some(&std::cmp::Reverse(due)) = self.dues.peek() {
            let too_much = self.open.records > self.limits.queued_records_max / 2
                || self.open.cost > self.limits.queued_bytes_max / 2;
            if due.at > now && !too_much {
                break;
            }
            self.dues.pop();
            let closed = self.with_lane(due.lane, |lane| {
                lane.batches.close_number(due.group, due.number)
            });
            if closed == Some(true) {
                self.ring_up(due.lane);
            }
        }
    }

    fn has_permit(&self) -> bool {
        self.active < self.limits.active_max && self.active_cost < self.limits.active_bytes_max
    }

    /// Puts a lane into the round, if it is not in it.
    pub(super) fn ring_up(&mut self, at: usize) {
        if let Some(lane) = self.lanes[at].as_mut().filter(|l| !l.in_ring) {
            lane.in_ring = true;
            self.ring.push_back(at);
        }
    }

    /// Starts what may be started.
    pub fn pump(&mut self, now: Now) {
        while let Some(&std::cmp::Reverse((time, at))) = self.wakes.peek() {
            if time > now.instant {
                break;
            }
            self.wakes.pop();
            self.ring_up(at);
        }
        self.close_due(now.instant);
        while self.has_permit() {
            let Some(at) = self.ring.pop_front() else {
                break;
            };
            self.turn(now, at);
        }
    }

    fn turn(&mut self, now: Now, at: usize) {
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        lane.deficit += QUANTUM;
        loop {
            let lane = self.lanes[at].as_mut();
            if let Some(blocked) = lane.and_then(|lane| lane.blocked(now.instant)) {
                return self.sit_out(at, blocked);
            }
            if !self.has_permit() {
                // Its turn goes on when there is a permit.
                return self.ring.push_front(at);
            }
            let cost = self.start(now, at);
            let Some(lane) = self.lanes[at].as_mut() else {
                return;
            };
            lane.deficit = lane.deficit.saturating_sub(cost);
            if lane.deficit == 0 {
                return self.ring.push_back(at);
            }
        }
    }

    fn sit_out(&mut self, at: usize, blocked: Blocked) {
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        lane.in_ring = false;
        lane.deficit = 0;
        match blocked {
            Blocked::Waiting => {}
            Blocked::Until(time) => self.wakes.push(std::cmp::Reverse((time, at))),
            Blocked::NoClient if lane.client == Client::Absent => {
                lane.client = Client::Connecting;
                let destination = Arc::clone(&lane.destination);
                self.effects.push_back(Effect::Connect {
                    lane: at,
                    destination,
                });
            }
            Blocked::NoClient => {}
        }
    }

    /// Starts one attempt; says what it cost.
    fn start(&mut self, now: Now, at: usize) -> usize {
        let Some(Some((items, cost))) = self.with_lane(at, Lane::next_call) else {
            return 0;
        };
        let Some(lane) = self.lanes[at].as_mut() else {
            return 0;
        };
        self.next_flight += 1;
        let number = self.next_flight;
        let batch: Batch = items.iter().map(|item| Arc::clone(&item.record)).collect();
        let timeout = lane
            .destination
            .timeout_ms
            .map_or(self.kind.timeout_default, |ms| {
                Duration::from_millis(ms.into()).min(self.kind.timeout_max)
            });
        let flown = Flown {
            number,
            started: now.instant,
            started_at_us: now.wall_ms * 1_000,
            items,
            cost,
            overdue: false,
        };
        let destination = Arc::clone(&lane.destination);
        lane.started(flown, now.instant);
        self.active += 1;
        self.active_cost += cost;
        self.effects.push_back(Effect::Start(Start {
            flight: Flight { lane: at, number },
            destination,
            batch,
            timeout,
        }));
        cost
    }

    /// Looks after what happens by itself. To be called some ten times a second.
    pub fn tick(&mut self, now: Now) {
        if let Some(last) = self.ticked_at.replace(now.instant) {
            let elapsed = now.instant.duration_since(last);
            self.partitions
                .values_mut()
                .for_each(|p| p.measure(elapsed));
        }
        for at in 0..self.lanes.len() {
            self.look_after(now, at);
        }
    }

    fn look_after(&mut self, now: Now, at: usize) {
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        let overdue_after = lane.overdue_after(&self.limits);
        for flown in lane.flights.iter_mut().filter(|f| !f.overdue) {
            if now.instant.duration_since(flown.started) >= overdue_after
                && self.overdue < self.limits.overdue_max
                && self.overdue_cost < self.limits.overdue_bytes_max
            {
                flown.overdue = true;
                self.active -= 1;
                self.active_cost -= flown.cost;
                self.overdue += 1;
                self.overdue_cost += flown.cost;
            }
        }
        if lane.is_stalled(now.instant, &self.limits) {
            self.spill(now, at, Duration::ZERO, Cause::Stalled);
        } else if !lane.is_idle() {
            lane.idle_since = now.instant;
        } else if lane.breaker.is_closed()
            && now.instant.duration_since(lane.idle_since) >= self.limits.lane_idle_max
            || now.instant.duration_since(lane.idle_since) >= FORGET_AFTER
        {
            self.forget_lane(at);
        }
    }

    /// When [`Core::pump`] has something to do by itself.
    pub fn next_wake(&self) -> Option<Instant> {
        let wake = self.wakes.peek().map(|std::cmp::Reverse((time, _))| *time);
        let due = self.dues.peek().map(|std::cmp::Reverse(due)| due.at);
        wake.into_iter().chain(due).min()
    }
}

/// A lane whose breaker is not closed is remembered longer, so that its pause is not forgotten with it.
const FORGET_AFTER: Duration = Duration::from_secs(600);
