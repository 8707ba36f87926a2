//! Wall time that does not jump.
//!
//! Services compare wall times that other processes wrote (`not_before`, `first_attempt_at`) with their own. The system
//! clock may be stepped under them, by an operator, by NTP after a long sleep, by a hypervisor: forward by an hour, and
//! every retry would be due at once; backward, and none would be due for an hour. So our time is anchored once to the
//! system clock and then advances with the monotonic clock. A difference between the two is made up slowly: for each
//! second that passes, ours gains or loses at most [`SLEW_PPM`] millionths, so it never stands still and never runs
//! backward. Ordinary drift of a quartz clock (under 100 ppm) is followed completely. A step that nobody has taken back
//! within [`BELIEVED_AFTER`] is believed, and made up at [`SLEW_BELIEVED_PPM`]: a machine whose clock was wrong when we
//! started must not sign with wrong times for weeks.
//!
//! While a machine sleeps the monotonic clock stands still, and the time that passed is real: it is added at once.
//!
//! A difference is looked at when somebody asks for the time and the last look is [`LOOK_EVERY`] ago, so there is no
//! thread or timer. Monotonic time is tokio's, so a test that pauses time pauses this clock too; such a test takes a
//! [`Clock`] of its own, because the process's clock would see the pauses of all tests.

use std::sync::{Arc, OnceLock};

mod anchor;

use anchor::Anchored;

/// How much faster or slower than real time the clock may run to make up a difference: 500 ppm, as NTP slews. One second
/// of difference takes 33 minutes.
pub const SLEW_PPM: i64 = 500;

/// The same for a difference of more than a second that has lasted [`BELIEVED_AFTER`]: 10 %.
pub const SLEW_BELIEVED_PPM: i64 = 100_000;

/// How long a step of the system clock may be an accident.
pub const BELIEVED_AFTER: std::time::Duration = std::time::Duration::from_secs(600);

/// How often the system clock is looked at.
pub const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Microseconds since the Unix epoch, now, by the process's clock.
pub fn now_us() -> i64 {
    process().now_us()
}

/// Milliseconds since the Unix epoch, now, by the process's clock.
pub fn now_ms() -> i64 {
    process().now_ms()
}

fn process() -> &'static Clock {
    static PROCESS: OnceLock<Clock> = OnceLock::new();
    PROCESS.get_or_init(Clock::system)
}

/// A clock to hand to what must be testable. Copies are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Anchored>);

impl Clock {
    /// Follows the system clock as the module says.
    pub fn system() -> Self {
        Clock(Arc::new(Anchored::new(None)))
    }

    /// The clock behind [`now_us`] and [`now_ms`].
    pub fn process() -> Self {
        process().clone()
    }

    /// For tests: starts at `start_us` and advances with tokio's time, so with `tokio::time::pause` only when told.
    pub fn starting_at_us(start_us: i64) -> Self {
        Clock(Arc::new(Anchored::new(Some(start_us))))
    }

    /// For tests: what the system clock shows from now on is off by `by_us` more. [`Clock::now_us`] must not jump by it.
    pub fn step_system(&self, by_us: i64) {
        self.0.step_system(by_us);
    }

    /// For tests: the machine has slept for `by_us`, in which the monotonic clock stood still.
    pub fn sleep_machine(&self, by_us: i64) {
        self.0.sleep_machine(by_us);
    }

    /// For tests: jumps to `now_us` at once, without slewing.
    pub fn set_us(&self, now_us: i64) {
        self.0.set(now_us);
    }

    /// Microseconds since the Unix epoch.
    pub fn now_us(&self) -> i64 {
        self.0.now_us()
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1_000)
    }

    /// How far the system clock is ahead of this one, in microseconds, at the last look. Far from zero for long means
    /// that one of them is wrong: worth a metric.
    pub fn behind_us(&self) -> i64 {
        self.0.behind_us()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::process()
    }
}

/// RFC 3339 in UTC with microseconds, as `2026-01-31T12:00:00.000001Z`; `None` outside the years that it can say.
pub fn rfc3339(unix_us: i64) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(unix_us).ok()?;
    Some(format!("{time:.6}"))
}
