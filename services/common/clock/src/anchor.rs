//! A reading of the system clock, carried forward by the monotonic one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::{BELIEVED_AFTER, LOOK_EVERY, SLEW_BELIEVED_PPM, SLEW_PPM};

/// A difference that a person or a step has made, and no quartz.
const STEP_US: i64 = 1_000_000;

/// The arithmetic is integers in microseconds. `state` is held for some tens of nanoseconds.
#[derive(Debug)]
pub(crate) struct Anchored {
    /// What stands for the system clock in a test: its value at `origin`, advancing with tokio's time.
    simulated: Option<(i64, Instant)>,
    /// What a test has added to the system clock.
    stepped_us: AtomicI64,
    /// How long a test's machine has slept.
    simulated_sleep_us: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Our time at `at`.
    base_us: i64,
    at: Instant,
    /// Millionths by which our time runs fast (or slow) until the next look.
    rate_ppm: i64,
    /// System clock minus ours at the last look.
    behind_us: i64,
    /// Since when the difference has been a step.
    stepped_at: Option<Instant>,
    /// How long the machine had slept since its start, at the last look.
    slept_us: i64,
}

impl Anchored {
    pub(crate) fn new(start_us: Option<i64>) -> Self {
        let at = Instant::now();
        let anchored = Anchored {
            simulated: start_us.map(|start| (start, at)),
            stepped_us: AtomicI64::new(0),
            simulated_sleep_us: AtomicI64::new(0),
            state: Mutex::new(State::new(start_us.unwrap_or_else(read_system_us), at, 0)),
        };
        anchored.lock().slept_us = anchored.slept_us();
        anchored
    }

    pub(crate) fn now_us(&self) -> i64 {
        let now = Instant::now();
        let mut state = self.lock();
        let ours = state.at(now);
        if now.saturating_duration_since(state.at) < LOOK_EVERY {
            return ours;
        }
        let slept_us = self.slept_us();
        let ours = ours + (slept_us - state.slept_us).max(0);
        let behind_us = self.system_us(now) - ours;
        let stepped_at = (behind_us.abs() > STEP_US).then(|| state.stepped_at.unwrap_or(now));
        let believed = stepped_at.is_some_and(|at| now - at >= BELIEVED_AFTER);
        let limit_ppm = if believed {
            SLEW_BELIEVED_PPM
        } else {
            SLEW_PPM
        };
        let window_us = LOOK_EVERY.as_micros() as i64;
        let rate_ppm =
            (behind_us.saturating_mul(1_000_000) / window_us).clamp(-limit_ppm, limit_ppm);
        // The new state starts at the time that the old one ends with: time is continuous across the look.
        *state = State {
            rate_ppm,
            behind_us,
            stepped_at,
            ..State::new(ours, now, slept_us)
        };
        ours
    }

    pub(crate) fn behind_us(&self) -> i64 {
        self.lock().behind_us
    }

    pub(crate) fn step_system(&self, by_us: i64) {
        self.stepped_us.fetch_add(by_us, Ordering::Relaxed);
    }

    pub(crate) fn sleep_machine(&self, by_us: i64) {
        self.simulated_sleep_us.fetch_add(by_us, Ordering::Relaxed);
        self.step_system(by_us);
    }

    pub(crate) fn set(&self, now_us: i64) {
        let now = Instant::now();
        let system_us = self.system_us(now);
        self.stepped_us
            .fetch_add(now_us - system_us, Ordering::Relaxed);
        *self.lock() = State::new(now_us, now, self.slept_us());
    }

    fn system_us(&self, now: Instant) -> i64 {
        let system_us = match self.simulated {
            Some((start_us, origin)) => start_us + elapsed_us(origin, now),
            None => read_system_us(),
        };
        system_us + self.stepped_us.load(Ordering::Relaxed)
    }

    fn slept_us(&self) -> i64 {
        let real_us = if self.simulated.is_some() {
            0
        } else {
            read_slept_us()
        };
        real_us + self.simulated_sleep_us.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn new(base_us: i64, at: Instant, slept_us: i64) -> Self {
        State {
            base_us,
            at,
            rate_ppm: 0,
            behind_us: 0,
            stepped_at: None,
            slept_us,
        }
    }

    fn at(&self, now: Instant) -> i64 {
        let elapsed_us = elapsed_us(self.at, now);
        // The rate was computed for one look's time; it must not overshoot when nobody asks for longer.
        let slewed_us = elapsed_us.min(LOOK_EVERY.as_micros() as i64) * self.rate_ppm / 1_000_000;
        self.base_us + elapsed_us + slewed_us
    }
}

fn elapsed_us(from: Instant, to: Instant) -> i64 {
    to.saturating_duration_since(from).as_micros() as i64
}

/// Time that the machine has spent asleep since it was started: Linux counts it in one clock and not in the other.
/// Rounded, because the two are not read at the same moment.
#[cfg(target_os = "linux")]
fn read_slept_us() -> i64 {
    use nix::time::{ClockId, clock_gettime};
    let read = |id: ClockId| {
        clock_gettime(id).map_or(0, |time| time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000)
    };
    let slept_us = read(ClockId::CLOCK_BOOTTIME) - read(ClockId::CLOCK_MONOTONIC);
    slept_us / STEP_US * STEP_US
}

/// Elsewhere a sleep counts as a step of the system clock.
#[cfg(not(target_os = "linux"))]
fn read_slept_us() -> i64 {
    0
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the system clock"
)]
fn read_system_us() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64)
}

#[cfg(test)]
#[path = "anchor_tests.rs"]
mod tests;
