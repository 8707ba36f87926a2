//! Whose turn it is: permits, rounds and timers.

use std::sync::Arc;
use std::time::Duration;

use pushrail_sink_core::Batch;

use smallvec::SmallVec;

use super::Core;
use super::item::{Cause, Effect, Flight, Item, Now, Start};
use super::lane::{Blocked, Client, Flown, Lane};
use tokio::time::Instant;

/// What a lane may send in its turn, in bytes: a few records, so that a round is short.
const QUANTUM: usize = 8 * 1024;

impl Core {
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
        while self.active < self.limits.active_max {
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
            match self.lanes[at]
                .as_mut()
                .and_then(|lane| self.kind.ready(lane, now.instant))
            {
                None => {}
                Some(blocked) => return self.sit_out(at, blocked),
            }
            if self.active >= self.limits.active_max {
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
        let Some(lane) = self.lanes[at].as_mut() else {
            return 0;
        };
        let (mut items, mut cost) = (SmallVec::<[Item; 1]>::new(), 0);
        while let Some(next) = lane.queue.front() {
            let fits = items.len() < self.kind.batch.records
                && (items.is_empty() || cost + next.cost() <= self.kind.batch.bytes);
            if !fits {
                break;
            }
            cost += next.cost();
            items.extend(lane.pop());
        }
        self.queued -= items.len();
        self.queued_cost -= cost;
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
            overdue: false,
        };
        let destination = Arc::clone(&lane.destination);
        lane.started(flown, now.instant);
        self.active += 1;
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
            {
                flown.overdue = true;
                self.active -= 1;
                self.overdue += 1;
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
        self.wakes.peek().map(|std::cmp::Reverse((time, _))| *time)
    }
}

/// A lane whose breaker is not closed is remembered longer, so that its pause is not forgotten with it.
const FORGET_AFTER: Duration = Duration::from_secs(600);

impl super::Kind {
    /// Whether the lane can start an attempt: `None` when it can.
    fn ready(&self, lane: &mut Lane, now: Instant) -> Option<Blocked> {
        if let Some(blocked) = lane.blocked(now) {
            return Some(blocked);
        }
        let batch = &self.batch;
        if batch.records <= 1
            || lane.queue.len() >= batch.records
            || lane.queued_cost >= batch.bytes
        {
            return None;
        }
        let oldest = lane.queue.front().map_or(now, |item| item.received_at);
        let due = oldest + batch.age;
        (due > now).then_some(Blocked::Until(due))
    }
}
