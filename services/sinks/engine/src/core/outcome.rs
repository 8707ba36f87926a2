//! What follows when an attempt ends, or a client could not be made.

use std::sync::Arc;
use std::time::Duration;

use pushrail_schemas::config::Destination;
use pushrail_sink_core::{Blame, Evidence, Fault, Outcome, Verdict};

use super::item::{Cause, Conclusion, Effect, Flight, Item, Made, Next, Now, Target};
use super::lane::{Client, Flown, Lane};
use super::plan::{self, Standing};
use super::{BreakerState, Core};

impl Core {
    /// Whether a lane waits for this client.
    pub fn expects(&self, at: usize, to: Target) -> bool {
        let lane = self.lanes.get(at).and_then(Option::as_ref);
        lane.is_some_and(|l| l.client == Client::Connecting && Target::of(&l.destination) == to)
    }

    /// A client was made for this version of the destination, or could not be. One that is not expected changes nothing.
    pub fn connected(&mut self, now: Now, at: usize, to: Target, result: Result<(), Fault>) {
        if !self.expects(at, to) {
            return;
        }
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        match result {
            Ok(()) => {
                lane.client = Client::Ready;
                self.ring_up(at);
            }
            Err(fault) => {
                lane.client = Client::Absent;
                // The first record tells its owner why; the others wait for a better time.
                let Some(Some(item)) = self.with_lane(at, Lane::pop) else {
                    return;
                };
                let flown = Flown {
                    number: 0,
                    started: now.instant,
                    started_at_us: now.wall_ms * 1_000,
                    items: [item].into(),
                    cost: 0,
                    overdue: false,
                };
                let verdict = match fault.blame {
                    Blame::Destination => Verdict::Suspend { fault },
                    Blame::Record | Blame::Us => Verdict::Retry { fault, after: None },
                };
                let outcome = Outcome {
                    verdicts: [verdict].into(),
                    evidence: Evidence::default(),
                };
                self.judge(now, at, flown, outcome);
                let spread = rand::Rng::random(&mut self.rng);
                if let Some(lane) = self.lanes[at].as_mut().filter(|l| l.breaker.is_closed()) {
                    lane.failed(now.instant, Some(CONNECT_PAUSE), spread);
                }
                self.spill(now, at, CONNECT_PAUSE, Cause::Shut);
            }
        }
    }

    /// An attempt has ended.
    pub fn finished(&mut self, now: Now, flight: Flight, outcome: Outcome) {
        let Some(lane) = self.lanes.get_mut(flight.lane).and_then(Option::as_mut) else {
            return;
        };
        let Some(flown) = lane.take_flight(flight.number) else {
            return;
        };
        if flown.overdue {
            self.overdue -= 1;
            self.overdue_cost -= flown.cost;
        } else {
            self.active -= 1;
            self.active_cost -= flown.cost;
        }
        self.judge(now, flight.lane, flown, outcome);
        self.ring_up(flight.lane);
    }

    fn judge(&mut self, now: Now, at: usize, flown: Flown, outcome: Outcome) {
        let Some(lane) = self.lanes[at].as_mut() else {
            return;
        };
        let latency = now.instant.duration_since(flown.started);
        let was_closed = lane.breaker.is_closed();
        match Mood::of(&outcome) {
            Mood::Answered { after } => {
                lane.answered(now.instant, latency, &self.limits);
                if let Some(after) = after {
                    lane.hold(now.instant, after);
                }
            }
            Mood::Failed { after } => {
                lane.failed(now.instant, after, rand::Rng::random(&mut self.rng))
            }
            Mood::Suspended => {
                lane.probe = None;
                lane.breaker.suspend(now.instant);
            }
            Mood::Nothing => {
                if lane.probe.take_if(|probe| *probe == flown.number).is_some() {
                    lane.breaker.probe_lost(now.instant);
                }
            }
        }
        let destination = Arc::clone(&lane.destination);
        let state = lane.breaker.state();
        let made = Made {
            evidence: Arc::new(of_all(outcome.evidence, &flown.items)),
            started_at_us: flown.started_at_us,
            latency,
        };
        let missing = flown.items.len().saturating_sub(outcome.verdicts.len());
        let verdicts = outcome
            .verdicts
            .into_iter()
            .chain(std::iter::repeat_n(unjudged(), missing));
        for (item, verdict) in flown.items.into_iter().zip(verdicts) {
            self.conclude_attempt(now, item, verdict, made.clone(), &destination);
        }
        // What waits behind a breaker that has just opened would wait for nothing.
        match state {
            BreakerState::Open { until } => {
                let at_least = if was_closed {
                    until.saturating_duration_since(now.instant)
                } else {
                    Duration::ZERO
                };
                self.spill(now, at, at_least, Cause::Shut);
            }
            BreakerState::Suspended { .. } => self.set_waiting_aside(at),
            BreakerState::Closed | BreakerState::HalfOpen => {}
        }
    }

    fn conclude_attempt(
        &mut self,
        now: Now,
        item: Item,
        verdict: Verdict,
        made: Made,
        to: &Destination,
    ) {
        let first = item.record.delivery.first_attempt_at_ms;
        let first_attempt_at_ms = first.unwrap_or(made.started_at_us / 1_000);
        let standing = Standing {
            attempt: item.record.attempt,
            first_attempt_at_ms,
        };
        let (next, fault) = match verdict {
            Verdict::Delivered => (Next::Delivered, None),
            Verdict::Retry { fault, after } => (
                plan::after_failure(&to.retry, standing, after, now, &mut self.rng),
                Some(fault),
            ),
            Verdict::Reject { fault } => (
                Next::Dead {
                    reason: "permanent",
                },
                Some(fault),
            ),
            Verdict::Suspend { fault } => (
                Next::Dead {
                    reason: "suspended",
                },
                Some(fault),
            ),
        };
        let conclusion = Conclusion {
            item,
            next,
            attempt: Some(made),
            fault,
            payload_mode: to.payload_mode.clone(),
            first_attempt_at_ms: Some(first_attempt_at_ms),
        };
        self.effects
            .push_back(Effect::Conclude(Box::new(conclusion)));
    }
}

/// How long a destination is left alone after no client could be made for it.
const CONNECT_PAUSE: Duration = Duration::from_secs(5);

/// A record that the adapter forgot to judge: a defect of ours, and the record is owed.
fn unjudged() -> Verdict {
    Verdict::Retry {
        fault: Fault::us("no_verdict", "The adapter gave no verdict for this record."),
        after: None,
    }
}

/// What is kept of the answer to a call. One to several records may quote any of them and is kept beside each, so that it
/// could not be erased with one: where one of them is sealed, only the status is kept.
fn of_all(evidence: Evidence, items: &[Item]) -> Evidence {
    let is_sealed = |item: &Item| item.record.event.sealing().is_some();
    match items.len() > 1 && items.iter().any(is_sealed) {
        true => Evidence {
            status_code: evidence.status_code,
            ..Evidence::default()
        },
        false => evidence,
    }
}

/// What an attempt says of its destination.
enum Mood {
    /// It is there: it took something, or refused a record. It may want what it did not take later.
    Answered {
        after: Option<Duration>,
    },
    Failed {
        after: Option<Duration>,
    },
    Suspended,
    /// Nothing: the trouble was ours.
    Nothing,
}

impl Mood {
    fn of(outcome: &Outcome) -> Mood {
        let mut mood = Mood::Nothing;
        for verdict in &outcome.verdicts {
            match verdict {
                Verdict::Suspend { .. } => return Mood::Suspended,
                Verdict::Delivered | Verdict::Reject { .. } => match mood {
                    Mood::Nothing => mood = Mood::Answered { after: None },
                    // Of what it did not take it has said when to come back.
                    Mood::Failed { after } => mood = Mood::Answered { after },
                    Mood::Answered { .. } | Mood::Suspended => {}
                },
                Verdict::Retry { fault, after } if fault.blame == Blame::Destination => {
                    match &mut mood {
                        Mood::Nothing => mood = Mood::Failed { after: *after },
                        Mood::Failed { after: known } | Mood::Answered { after: known } => {
                            *known = (*known).max(*after);
                        }
                        Mood::Suspended => {}
                    }
                }
                Verdict::Retry { .. } => {}
            }
        }
        mood
    }
}
