//! What happens to a record when it arrives: it waits in its lane, or is put off, or is set aside.

use std::sync::Arc;
use std::time::Duration;

use pushrail_schemas::config::{Destination, PayloadMode, State};
use pushrail_sink_core::{Fault, Record};

use super::item::{Cause, Conclusion, Effect, Item, Next, Now, Weight};
use super::lane::{Full, Share};
use super::{Core, plan};

/// Times that a record waits for a destination, or a key, that nobody knows: its configuration may be on its way. Some 20 s in all.
const UNKNOWN_DEFERRALS_MAX: u32 = 5;

impl Core {
    /// What decides about the batch of a record, which must be in clear. Where a call carries one record nothing does.
    pub fn weigh(&self, record: &Record) -> Weight {
        if self.kind.is_single() {
            return Weight::default();
        }
        let batching = &self.kind.batching;
        Weight {
            group: (batching.group)(record),
            bytes: (batching.weigh)(record),
        }
    }

    /// Takes a record that [`Core::admit`] let in. `destination` is what the configuration says of it now.
    pub fn receive(&mut self, now: Now, item: Item, destination: Option<&Arc<Destination>>) {
        self.place(now, item, destination);
    }

    pub(super) fn place(&mut self, now: Now, item: Item, destination: Option<&Arc<Destination>>) {
        let Some(destination) = destination else {
            return self.unknown(now, item);
        };
        match destination.state {
            State::Active => {}
            State::Paused => return self.defer(now, item, Duration::ZERO, Cause::Paused),
            State::Disabled => {
                let fault = Fault::destination(
                    "disabled",
                    "The destination was disabled before this could be delivered.",
                );
                let payload_mode = destination.payload_mode.clone();
                return self.set_aside(item, "disabled", fault, payload_mode);
            }
        }
        let delivery = &item.record.delivery;
        if let Some(wait_ms) = delivery
            .not_before_ms
            .map(|at| at - now.wall_ms)
            .filter(|wait| *wait > EARLY_MS_MAX)
        {
            return self.defer(
                now,
                item,
                Duration::from_millis(wait_ms as u64),
                Cause::Early,
            );
        }
        let age_ms = delivery
            .first_attempt_at_ms
            .map_or(0, |first| now.wall_ms.saturating_sub(first));
        if age_ms > destination.retry.max_age_ms as i64 {
            let fault = Fault::destination(
                "expired",
                "It could not be delivered within the destination's maximum age.",
            );
            let payload_mode = destination.payload_mode.clone();
            return self.set_aside(item, "transient", fault, payload_mode);
        }
        let at = self.lane(destination, now.instant);
        let share = self.share();
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        match lane.admits(now.instant, &self.limits, share) {
            Ok(()) => self.enqueue(at, item),
            Err(Full::Suspended) => self.suspended(item, destination.payload_mode.clone()),
            Err(full) => {
                let (at_least, cause) = match full {
                    Full::Shut { until } => {
                        (until.saturating_duration_since(now.instant), Cause::Shut)
                    }
                    Full::Crowded | Full::Suspended => (Duration::ZERO, Cause::Crowded),
                };
                self.defer(now, item, at_least, cause);
            }
        }
    }

    /// How many records one lane may hold: most of the whole, because records come in runs from one partition after the
    /// other, but never all of it, unless it is alone.
    fn share(&self) -> Share {
        let alone = self.by_destination.len() == 1;
        let share = |max: usize| if alone { max } else { max / 5 * 3 };
        Share {
            at_most: share(self.limits.queued_records_max),
            cost_at_most: share(self.limits.queued_bytes_max),
            alone,
        }
    }

    fn enqueue(&mut self, at: usize, item: Item) {
        if self.kind.is_single() {
            self.with_lane(at, |lane| lane.push(item));
            return self.ring_up(at);
        }
        self.next_batch += 1;
        let number = self.next_batch;
        let (group, received_at) = (item.weight.group, item.received_at);
        let added = self.with_lane(at, |lane| {
            let opened = lane.batches.push(item, &lane.limits, number);
            // A lane without a closed breaker does not wait for company.
            let may_start = lane.batches.next_len().is_some() || !lane.breaker.is_closed();
            (opened.then(|| received_at + lane.limits.age), may_start)
        });
        let Some((due, may_start)) = added else {
            return;
        };
        if let Some(due) = due {
            self.due_at(due, number, at, group);
        }
        if may_start {
            self.ring_up(at);
        }
    }

    fn unknown(&mut self, now: Now, item: Item) {
        if item.record.delivery.deferrals < UNKNOWN_DEFERRALS_MAX {
            return self.defer(now, item, Duration::ZERO, Cause::Unknown);
        }
        let fault = Fault::destination("removed", "The destination no longer exists.");
        self.set_aside(item, "removed", fault, PayloadMode::Off);
    }

    /// A record whose key was destroyed: nobody can deliver it any more.
    pub fn erased(&mut self, item: Item) {
        let fault = Fault::record("erased", "The event was erased before it was delivered.");
        self.set_aside(item, "erased", fault, PayloadMode::Off);
    }

    /// A record whose key nobody has told us of: it may be on its way, or was given up long ago.
    pub fn keyless(&mut self, now: Now, item: Item) {
        if item.record.delivery.deferrals < UNKNOWN_DEFERRALS_MAX {
            return self.defer(now, item, Duration::ZERO, Cause::Unknown);
        }
        let fault = Fault::us(
            "key_unknown",
            "What the event is sealed with is not known: its key was given up with its age, or the key ring lacks one.",
        );
        self.set_aside(item, "erased", fault, PayloadMode::Off);
    }

    pub(super) fn defer(&mut self, now: Now, item: Item, at_least: Duration, cause: Cause) {
        let delivery = &item.record.delivery;
        let lane = self.by_destination.get(&delivery.destination_id);
        let lane = lane.and_then(|at| self.lanes[*at].as_ref());
        let policy = lane.map(|lane| &lane.destination.retry);
        let not_before_ms =
            plan::deferral(policy, delivery.deferrals, at_least, now, &mut self.rng);
        // The age of what could have been tried counts from here; what its owner paused does not age.
        let first = delivery
            .first_attempt_at_ms
            .or(cause.counts_as_tried().then_some(now.wall_ms));
        let next = Next::Defer {
            not_before_ms,
            cause,
        };
        self.conclude(item, next, None, PayloadMode::Full, first);
    }

    fn suspended(&mut self, item: Item, payload_mode: PayloadMode) {
        let fault = Fault::destination(
            "suspended",
            "The destination is suspended until its configuration is mended.",
        );
        self.set_aside(item, "suspended", fault, payload_mode);
    }

    /// What waits in the lane of a destination that has just been suspended shares the fate of what comes after it.
    pub(super) fn set_waiting_aside(&mut self, at: usize) {
        let taken = self.with_lane(at, |lane| {
            let payload_mode = lane.destination.payload_mode.clone();
            (lane.take_all(), payload_mode)
        });
        let (items, payload_mode) = taken.unwrap_or_default();
        for item in items {
            self.suspended(item, payload_mode.clone());
        }
    }

    /// To the dead letters without an attempt.
    fn set_aside(
        &mut self,
        item: Item,
        reason: &'static str,
        fault: Fault,
        payload_mode: PayloadMode,
    ) {
        let first = item.record.delivery.first_attempt_at_ms;
        self.conclude(
            item,
            Next::Dead { reason },
            Some(fault),
            payload_mode,
            first,
        );
    }

    fn conclude(
        &mut self,
        item: Item,
        next: Next,
        fault: Option<Fault>,
        payload_mode: PayloadMode,
        first_attempt_at_ms: Option<i64>,
    ) {
        let conclusion = Conclusion {
            item,
            next,
            attempt: None,
            fault,
            payload_mode,
            first_attempt_at_ms,
        };
        self.effects
            .push_back(Effect::Conclude(Box::new(conclusion)));
    }

    /// Puts off everything that waits in a lane.
    pub(super) fn spill(&mut self, now: Now, at: usize, at_least: Duration, cause: Cause) {
        for item in self.take_waiting(at) {
            self.defer(now, item, at_least, cause);
        }
    }
}

/// A record that comes this much before its time is taken all the same: the retry tiers are that exact.
const EARLY_MS_MAX: i64 = 600;
