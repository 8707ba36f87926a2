//! The breaker of one lane: whether its destination is worth trying.
//!
//! Closed, everything passes. It opens after a row of failures, or when most of a window's attempts fail; it stays open for
//! a while that doubles each time, up to a bound; then it is half open and lets one attempt through. If that passes the
//! breaker closes, otherwise it opens again for longer. Only failures that are the destination's count: a record that is
//! refused says nothing about its neighbours. While it is open, records are put off through a retry tier, so that nothing
//! waits in memory and no attempt is spent.
//!
//! A suspended destination is one that said it will not take anything as configured: it stays shut for much longer, and
//! what comes meanwhile goes to the dead letters, where its owner finds it.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const ROW: u32 = 5;
/// Attempts in a window that are needed for its rate to count, and the rate of failures that opens it.
const WINDOW_MIN: u32 = 20;
const WINDOW_RATE: f64 = 0.5;
const WINDOW: Duration = Duration::from_secs(30);
const OPEN_FIRST: Duration = Duration::from_secs(2);
const OPEN_MAX: Duration = Duration::from_secs(120);
/// How long a suspended destination is left alone before one attempt finds out whether its owner has mended it.
const SUSPENDED: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Nothing passes before this time.
    Open {
        until: Instant,
    },
    /// One attempt is under way, and decides.
    HalfOpen,
    Suspended {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    row: u32,
    /// Times it has opened since it last closed.
    opened: u32,
    window_start: Instant,
    window: (u32, u32),
    /// Whether the next probe decides about a suspension.
    was_suspended: bool,
}

/// Whether an attempt may start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// One attempt may start, and no other until it has ended.
    Probe,
    /// Not before this time.
    Shut {
        until: Instant,
    },
    /// Refuse what comes.
    Suspended,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Breaker {
            state: State::Closed,
            row: 0,
            opened: 0,
            window_start: now,
            window: (0, 0),
            was_suspended: false,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.state, State::Suspended { .. })
    }

    pub(super) fn gate(&self, now: Instant) -> Gate {
        match self.state {
            State::Closed => Gate::Open,
            State::Open { until } | State::Suspended { until } if now >= until => Gate::Probe,
            State::Open { until } => Gate::Shut { until },
            State::Suspended { .. } => Gate::Suspended,
            State::HalfOpen if self.was_suspended => Gate::Suspended,
            // Until the probe has ended; asked again soon.
            State::HalfOpen => Gate::Shut {
                until: now + OPEN_FIRST,
            },
        }
    }

    /// The attempt that [`Gate::Probe`] allowed has started.
    pub(super) fn probing(&mut self) {
        self.was_suspended = matches!(self.state, State::Suspended { .. });
        self.state = State::HalfOpen;
    }

    /// The probe ended without an answer about the destination.
    pub(super) fn probe_lost(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.row = 0;
        match self.state {
            State::Closed => self.count(now, false),
            // A late answer from before it opened is good news, but not a probe's.
            State::Open { .. } | State::Suspended { .. } => {}
            State::HalfOpen => *self = Breaker::new(now),
        }
    }

    /// The destination failed. `spread` in 0..1 keeps breakers that opened together from probing together.
    pub(super) fn failed(&mut self, now: Instant, spread: f64) {
        self.row += 1;
        match self.state {
            State::Closed => {
                self.count(now, true);
                let (all, failed) = self.window;
                if self.row >= ROW
                    || all >= WINDOW_MIN && f64::from(failed) >= WINDOW_RATE * f64::from(all)
                {
                    self.open(now, spread);
                }
            }
            State::HalfOpen => self.open(now, spread),
            State::Open { .. } | State::Suspended { .. } => {}
        }
    }

    pub(super) fn suspend(&mut self, now: Instant) {
        self.state = State::Suspended {
            until: now + SUSPENDED,
        };
    }

    fn open(&mut self, now: Instant, spread: f64) {
        let length = OPEN_FIRST
            .saturating_mul(1 << self.opened.min(10))
            .min(OPEN_MAX);
        self.opened += 1;
        self.window = (0, 0);
        self.state = State::Open {
            until: now + length.mul_f64(0.75 + spread / 2.0),
        };
    }

    fn count(&mut self, now: Instant, failed: bool) {
        if now.duration_since(self.window_start) > WINDOW {
            self.window_start = now;
            self.window = (0, 0);
        }
        self.window.0 += 1;
        self.window.1 += u32::from(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: f64 = 0.5;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(now);
        for _ in 0..ROW {
            breaker.failed(now, SPREAD);
        }
        breaker
    }

    #[test]
    fn a_row_of_failures_opens_it_and_one_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(
            breaker.gate(now),
            Gate::Shut {
                until: now + OPEN_FIRST
            }
        );
        let later = now + OPEN_FIRST;
        assert_eq!(breaker.gate(later), Gate::Probe);
        breaker.probing();
        assert!(
            matches!(breaker.gate(later), Gate::Shut { .. }),
            "one probe at a time"
        );
        breaker.succeeded(later);
        assert_eq!(breaker.gate(later), Gate::Open);
    }

    #[test]
    fn each_failed_probe_shuts_it_for_longer_up_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut lengths = Vec::new();
        for _ in 0..10 {
            let State::Open { until } = breaker.state() else {
                panic!("not open")
            };
            lengths.push(until - now);
            now = until;
            breaker.probing();
            breaker.failed(now, SPREAD);
        }
        assert!(lengths.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(*lengths.last().unwrap(), OPEN_MAX);
    }

    #[test]
    fn a_destination_that_fails_every_other_time_is_shut_by_its_rate() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..WINDOW_MIN {
            breaker.succeeded(now);
            breaker.failed(now, SPREAD);
        }
        assert!(!breaker.is_closed());
    }

    #[test]
    fn a_late_success_does_not_end_the_pause() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.succeeded(now);
        assert!(matches!(breaker.gate(now), Gate::Shut { .. }));
    }

    #[test]
    fn a_suspended_destination_refuses_until_one_attempt_passes() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        breaker.suspend(now);
        assert_eq!(breaker.gate(now), Gate::Suspended);
        let later = now + SUSPENDED;
        assert_eq!(breaker.gate(later), Gate::Probe);
        breaker.probing();
        assert_eq!(breaker.gate(later), Gate::Suspended);
        breaker.succeeded(later);
        assert_eq!(breaker.gate(later), Gate::Open);
    }
}
