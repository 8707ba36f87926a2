//! A token bucket: records per second to one destination, with a burst.

use std::time::Duration;

use pushrail_schemas::config::RateLimit;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        let burst = limit.burst.map_or(limit.per_second, f64::from).max(1.0);
        // A bucket starts with one token and not with a burst: lanes come and go, and a burst each time would be no limit.
        Bucket {
            per_second: limit.per_second.max(0.001),
            burst,
            tokens: 1.0,
            filled_at: now,
        }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Most records that one call may carry.
    pub(super) fn burst(limit: RateLimit) -> usize {
        limit.burst.map_or(limit.per_second, f64::from).max(1.0) as usize
    }

    /// When the next attempt may start with so many records, if not now. What is more than a burst waits for a whole one.
    pub(super) fn shut_until(&mut self, now: Instant, records: usize) -> Option<Instant> {
        self.fill(now);
        let needed = (records as f64).min(self.burst);
        (self.tokens < needed)
            .then(|| now + Duration::from_secs_f64((needed - self.tokens) / self.per_second))
    }

    pub(super) fn take(&mut self, now: Instant, records: usize) {
        self.fill(now);
        self.tokens -= records as f64;
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_and_one_burst_ever_pass() {
        let start = Instant::now();
        let mut bucket = Bucket::new(
            RateLimit {
                per_second: 10.0,
                burst: Some(5),
            },
            start,
        );
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match bucket.shut_until(now, 1) {
                None => {
                    bucket.take(now, 1);
                    passed += 1;
                }
                Some(until) => now = until.max(now + Duration::from_nanos(1)),
            }
        }
        assert!((99..=105).contains(&passed), "{passed}");
    }

    #[test]
    fn a_batch_counts_for_all_its_records() {
        let start = Instant::now();
        let limit = RateLimit {
            per_second: 10.0,
            burst: Some(20),
        };
        let mut bucket = Bucket::new(limit, start);
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match bucket.shut_until(now, 15) {
                None => {
                    bucket.take(now, 15);
                    passed += 15;
                }
                Some(until) => now = until.max(now + Duration::from_nanos(1)),
            }
        }
        assert!((90..=105).contains(&passed), "{passed}");
        assert_eq!(Bucket::burst(limit), 20);
    }
}
