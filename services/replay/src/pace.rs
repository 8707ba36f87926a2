//! How fast a job goes.
//!
//! A replay must cost live traffic nothing that its users notice, so each job has a rate and never makes up for time in
//! which it stood still. Two things slow it down further. A destination with a rate limit of its own keeps half of it for
//! what is live. And a destination that has failed several times in a row, as the log knows it, gets one record a second:
//! enough to see that it works again, which the first success does.

use std::time::Duration;

use pushrail_schemas::config::Destination;
use tokio::time::{Instant, sleep_until};

/// Failures in a row from which on a destination is tried carefully.
pub(crate) const FAILURES: i32 = 5;
const CAREFUL_PER_SECOND: f64 = 1.0;
/// Of a destination's own limit.
const SHARE: f64 = 0.5;
/// Rounds a second. Small ones, so that a lane of the sink sees a stream and no bursts.
const ROUNDS: f64 = 5.0;
/// Copies of a round.
const ROUND_MAX: f64 = 200.0;

/// Copies a second that a destination is sent now.
pub(crate) fn rate(asked: i32, destination: &Destination, failures: i32) -> f64 {
    let mut rate = f64::from(asked.max(1));
    if let Some(limit) = &destination.rate_limit {
        rate = rate.min(limit.per_second * SHARE);
    }
    if failures >= FAILURES {
        rate = rate.min(CAREFUL_PER_SECOND);
    }
    rate
}

/// Copies that are made at once.
pub(crate) fn round(rate: f64) -> usize {
    (rate / ROUNDS).clamp(1.0, ROUND_MAX) as usize
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            next: Instant::now(),
        }
    }

    /// Notes that so many were done, and returns when the next may be; never later than `longest` from now.
    pub(crate) fn spend(&mut self, count: usize, rate: f64) -> Instant {
        let took = Duration::from_secs_f64((count as f64 / rate).min(86_400.0));
        self.next = self.next.max(Instant::now() - took) + took;
        self.next
    }

    pub(crate) async fn wait(until: Instant) {
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(more: &str) -> Destination {
        let text = format!(
            r#"{{"destinationId": "{id}", "tenantId": "acme", "customerId": "{id}", "customerExternalId": "c",
                "kind": "webhook", "name": "n", "version": 1, "config": {{}}, "eventTypes": ["*"]{more}}}"#,
            id = uuid::Uuid::nil()
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn live_traffic_keeps_half_of_a_limit_and_a_failing_destination_is_tried_carefully() {
        let plain = destination("");
        let limited = destination(r#", "rateLimit": {"perSecond": 20}"#);
        assert_eq!(rate(100, &plain, 0), 100.0);
        assert_eq!(rate(100, &limited, 0), 10.0);
        assert_eq!(rate(5, &limited, 0), 5.0);
        assert_eq!(rate(100, &plain, FAILURES), 1.0);
        assert_eq!((round(100.0), round(0.5), round(1e6)), (20, 1, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_was_lost_is_not_made_up_for() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        for _ in 0..10 {
            Pace::wait(pace.spend(20, 100.0)).await;
        }
        assert_eq!(start.elapsed().as_millis().div_ceil(10), 200);
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..10 {
            Pace::wait(pace.spend(20, 100.0)).await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(1_790),
            "{:?}",
            start.elapsed()
        );
    }
}
