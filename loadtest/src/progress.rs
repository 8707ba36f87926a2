//! Lines on standard error that say how far a long job is, at most one every two seconds.

use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Progress {
    what: String,
    total: u64,
    done: u64,
    started: Instant,
    next: Instant,
}

impl Progress {
    pub(crate) fn new(what: impl Into<String>, total: u64) -> Self {
        let now = Instant::now();
        Progress {
            what: what.into(),
            total,
            done: 0,
            started: now,
            next: now + EVERY,
        }
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.set(self.done + by);
    }

    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        // Looking at the clock costs more than most steps do.
        if (done.is_multiple_of(1024) || self.total < 100_000) && Instant::now() >= self.next {
            self.print();
        }
    }

    /// As [`Progress::set`], whatever the number.
    pub(crate) fn note(&mut self, done: u64) {
        self.done = done;
        if Instant::now() >= self.next {
            self.print();
        }
    }

    fn print(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds.max(0.001);
        eprintln!(
            "  {}: {} of {} after {seconds:.0} s ({rate:.0}/s)",
            self.what, self.done, self.total
        );
        self.next = Instant::now() + EVERY;
    }
}
