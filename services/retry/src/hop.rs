//! Where a record goes whose tier has been waited for.
//!
//! A record knows when it may be attempted (`not_before`), and a tier knows one delay. So a long wait is made of several:
//! each time the largest tier that fits what is left, give or take [`SLACK_MS`]. Without the slack a wait of one minute,
//! made of 30 s and then, after a move, 29.99 s, would end in ten small hops instead of one. A wait of up to an hour takes
//! 10 hops on average, one of up to a day 15.

use pushrail_topology::{TIERS, Tier};

/// The next place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Its time has come: `deliver.<kind>`.
    Deliver,
    Tier(&'static Tier),
}

/// How much too early a record may be delivered, or too late (the moves themselves take their time too): half the smallest
/// tier, which is as exact as tiers can be.
pub const SLACK_MS: i64 = TIERS[0].delay_ms as i64 / 2;

/// Decides at `now_ms` for a record that must not be attempted before `not_before_ms`. Both in Unix milliseconds.
pub fn next_hop(now_ms: i64, not_before_ms: i64) -> Hop {
    let left_ms = not_before_ms.saturating_sub(now_ms);
    if left_ms <= SLACK_MS {
        return Hop::Deliver;
    }
    Hop::Tier(Tier::for_delay(left_ms.saturating_add(SLACK_MS) as u64))
}

/// When a record of `tier` has waited long enough.
///
/// A timestamp in the future beyond any plausible difference of clocks is a clock that was wrong: such a record is due at
/// once, which costs it a hop and nothing else, because [`next_hop`] looks at `not_before` again. Waiting for it would
/// stop everything behind it.
pub fn due_ms(now_ms: i64, timestamp_ms: Option<i64>, tier: &Tier) -> i64 {
    match timestamp_ms {
        Some(timestamp_ms) if timestamp_ms <= now_ms.saturating_add(SKEW_MS_MAX) => {
            timestamp_ms.saturating_add(tier.delay_ms as i64)
        }
        _ => now_ms,
    }
}

/// How far another process's clock may be ahead and still be believed.
const SKEW_MS_MAX: i64 = 2_000;

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
