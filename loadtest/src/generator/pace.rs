//! When which event is due.

use std::time::Duration;

use tokio::time::Instant;

/// A schedule: event `n` is due `n / rate` after the start; without a rate, everything is due at once.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    started: Instant,
    started_us: i64,
    per_second: Option<f64>,
}

impl Pace {
    /// Starts now.
    pub fn start(per_second: Option<f64>) -> Self {
        Pace {
            started: Instant::now(),
            started_us: pushrail_clock::now_us(),
            per_second,
        }
    }

    /// When event `n` is due, after the start.
    fn offset(&self, n: u64) -> Option<Duration> {
        self.per_second
            .map(|rate| Duration::from_secs_f64(n as f64 / rate))
    }

    /// Waits until event `n` is due. Returns the wall time at which it was, in Unix microseconds.
    pub async fn due(&self, n: u64) -> i64 {
        match self.offset(n) {
            None => pushrail_clock::now_us(),
            Some(offset) => {
                let due = self.started + offset;
                if due > Instant::now() {
                    tokio::time::sleep_until(due).await;
                }
                self.started_us + offset.as_micros() as i64
            }
        }
    }

    /// How many events are due by now; `None` without a rate.
    pub fn due_now(&self) -> Option<u64> {
        self.per_second
            .map(|rate| (self.started.elapsed().as_secs_f64() * rate) as u64)
    }

    /// The wall time at which event `n` is due, in Unix microseconds; now without a rate.
    pub fn wall_us(&self, n: u64) -> i64 {
        self.offset(n).map_or_else(pushrail_clock::now_us, |o| {
            self.started_us + o.as_micros() as i64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_late_event_keeps_the_time_at_which_it_was_due() {
        let pace = Pace::start(Some(100.0));
        tokio::time::advance(Duration::from_secs(10)).await;
        let due = pace.due(100).await;
        assert_eq!(due - pace.started_us, 1_000_000);
        assert_eq!(pace.due_now(), Some(1_000));
    }
}
