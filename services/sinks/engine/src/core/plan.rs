//! What follows from a verdict.
//!
//! Delays double with each attempt and are drawn at random between nothing and that (full jitter), so that a thousand
//! deliveries that failed together do not come back together. A destination that names a time (`Retry-After`) is asked
//! no earlier, with a little jitter on top for the same reason. Attempts and age end it.

use std::time::Duration;

use pushrail_schemas::config::RetryPolicy;
use rand::Rng;

use super::item::{Next, Now};

/// How a delivery stands after the attempt that just failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Attempts made, this one included.
    pub(super) attempt: u32,
    /// Unix milliseconds.
    pub(super) first_attempt_at_ms: i64,
}

/// Plans the next attempt, or says that there is none.
pub(super) fn after_failure(
    policy: &RetryPolicy,
    standing: Standing,
    asked: Option<Duration>,
    now: Now,
    rng: &mut impl Rng,
) -> Next {
    let dead = Next::Dead {
        reason: "transient",
    };
    if standing.attempt >= policy.max_attempts {
        return dead;
    }
    let backoff = jittered(
        policy.initial_delay_ms,
        policy.max_delay_ms,
        standing.attempt,
        rng,
    );
    let delay_ms = match asked {
        // Honoured up to the cap on delays, so that nobody can park a delivery for a year.
        Some(asked) => {
            let asked_ms = u64::try_from(asked.as_millis())
                .unwrap_or(u64::MAX)
                .min(RetryPolicy::MAX_DELAY_MS);
            (asked_ms + rng.random_range(0..=asked_ms / 10)).max(backoff)
        }
        None => backoff,
    };
    let not_before_ms = now.wall_ms.saturating_add(delay_ms as i64);
    if not_before_ms.saturating_sub(standing.first_attempt_at_ms) > policy.max_age_ms as i64 {
        return dead;
    }
    Next::Retry { not_before_ms }
}

/// When a record that was not attempted comes back, in Unix milliseconds: soon the first time, later each time, and no
/// earlier than `at_least`. A destination that wants its retries soon has no use for records that wait much longer without
/// one; but each round costs two writes, so there is a least that the wait may grow to.
pub(super) fn deferral(
    policy: Option<&RetryPolicy>,
    deferrals: u32,
    at_least: Duration,
    now: Now,
    rng: &mut impl Rng,
) -> i64 {
    const FIRST_MS: u64 = 1_000;
    const GROWS_TO_MS: std::ops::RangeInclusive<u64> = 30_000..=10 * 60_000;
    let most = policy.map_or(*GROWS_TO_MS.end(), |p| {
        p.max_delay_ms
            .clamp(*GROWS_TO_MS.start(), *GROWS_TO_MS.end())
    });
    let bound = (FIRST_MS << deferrals.min(16)).min(most);
    // Half fixed and half random: it must not come back at once, nor all together.
    let delay_ms = bound / 2 + rng.random_range(0..=bound / 2);
    let at_least_ms = u64::try_from(at_least.as_millis()).unwrap_or(u64::MAX);
    let spread = rng.random_range(0..=at_least_ms / 10 + 100);
    let delay_ms = delay_ms.max(at_least_ms.saturating_add(spread));
    now.wall_ms
        .saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX))
}

fn jittered(initial_ms: u64, max_ms: u64, attempt: u32, rng: &mut impl Rng) -> u64 {
    let bound = initial_ms
        .saturating_mul(1 << (attempt - 1).min(40))
        .min(max_ms);
    rng.random_range(0..=bound)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn now() -> Now {
        Now {
            instant: tokio::time::Instant::now(),
            wall_ms: 1_000_000,
        }
    }

    fn plan(
        policy: &RetryPolicy,
        attempt: u32,
        first_ms: i64,
        asked: Option<Duration>,
        seed: u64,
    ) -> Next {
        let standing = Standing {
            attempt,
            first_attempt_at_ms: first_ms,
        };
        after_failure(
            policy,
            standing,
            asked,
            now(),
            &mut SmallRng::seed_from_u64(seed),
        )
    }

    #[test]
    fn delays_are_spread_over_the_whole_range_and_never_beyond() {
        let policy = RetryPolicy::default();
        let delays: Vec<i64> = (0..2_000)
            .map(|seed| match plan(&policy, 4, 1_000_000, None, seed) {
                Next::Retry { not_before_ms } => not_before_ms - 1_000_000,
                other => panic!("{other:?}"),
            })
            .collect();
        let bound = 2_000 * 8;
        assert!(delays.iter().all(|d| (0..=bound).contains(d)));
        assert!(
            delays.iter().filter(|d| **d < bound / 4).count() > 300,
            "the early quarter is used"
        );
        assert!(
            delays.iter().filter(|d| **d > bound * 3 / 4).count() > 300,
            "the late quarter is used"
        );
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_cap() {
        let policy = RetryPolicy::default();
        for seed in 0..100 {
            let Next::Retry { not_before_ms } =
                plan(&policy, 1, 1_000_000, Some(Duration::from_secs(90)), seed)
            else {
                panic!("no retry")
            };
            assert!((90_000..=99_000).contains(&(not_before_ms - 1_000_000)));
        }
        let Next::Retry { not_before_ms } = plan(&policy, 1, 1_000_000, Some(Duration::MAX), 1)
        else {
            panic!("no retry")
        };
        assert!(not_before_ms - 1_000_000 <= RetryPolicy::MAX_DELAY_MS as i64 * 11 / 10);
    }

    #[test]
    fn attempts_and_age_end_it() {
        let policy = RetryPolicy {
            max_attempts: 3,
            ..RetryPolicy::default()
        };
        assert_eq!(
            plan(&policy, 3, 1_000_000, None, 1),
            Next::Dead {
                reason: "transient"
            }
        );
        let old = 1_000_000 - policy.max_age_ms as i64 - 1;
        assert_eq!(
            plan(&policy, 1, old, None, 1),
            Next::Dead {
                reason: "transient"
            }
        );
    }

    #[test]
    fn deferrals_grow_and_wait_at_least_as_long_as_asked() {
        let mut rng = SmallRng::seed_from_u64(1);
        let delay = |at_ms| at_ms - 1_000_000;
        for deferrals in 0..30 {
            let delay = delay(deferral(None, deferrals, Duration::ZERO, now(), &mut rng));
            assert!((500..=600_000).contains(&delay), "{delay}");
        }
        let asked = Duration::from_secs(60);
        assert!(delay(deferral(None, 0, asked, now(), &mut rng)) >= 60_000);
    }

    #[test]
    fn a_destination_that_wants_its_retries_soon_has_its_deferrals_soon() {
        let mut rng = SmallRng::seed_from_u64(1);
        let hasty = RetryPolicy {
            max_delay_ms: 8_000,
            ..RetryPolicy::default()
        };
        for deferrals in 0..30 {
            let at_ms = deferral(Some(&hasty), deferrals, Duration::ZERO, now(), &mut rng);
            assert!(at_ms - 1_000_000 <= 30_000);
        }
    }
}
