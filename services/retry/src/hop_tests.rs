use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const NOW: i64 = 1_700_000_000_000;

fn hop(left_ms: i64) -> &'static str {
    match next_hop(NOW, NOW + left_ms) {
        Hop::Deliver => "deliver",
        Hop::Tier(tier) => tier.name,
    }
}

/// Hops until delivery, when each tier takes its delay and `move_ms`; and the time of delivery.
fn walk(wait_ms: i64, move_ms: i64) -> (usize, i64) {
    let (mut now, mut hops) = (NOW, 0);
    while let Hop::Tier(tier) = next_hop(now, NOW + wait_ms) {
        now += tier.delay_ms as i64 + move_ms;
        hops += 1;
    }
    (hops, now - NOW)
}

#[test]
fn the_largest_tier_that_fits_is_taken() {
    for (left_ms, expected) in [
        (i64::MIN + NOW, "deliver"),
        (-1, "deliver"),
        (0, "deliver"),
        (500, "deliver"),
        (501, "1s"),
        (999, "1s"),
        (1_000, "1s"),
        (4_499, "1s"),
        (4_500, "5s"),
        (5_000, "5s"),
        (29_499, "5s"),
        (30_000, "30s"),
        (119_499, "30s"),
        (120_000, "2m"),
        (600_000, "10m"),
        (HOUR - 501, "10m"),
        (HOUR, "1h"),
        (6 * HOUR, "6h"),
        (24 * HOUR, "6h"),
        (i64::MAX - NOW, "6h"),
    ] {
        assert_eq!(hop(left_ms), expected, "{left_ms}");
    }
    assert_eq!(next_hop(i64::MIN, i64::MAX), Hop::Tier(&TIERS[6]));
    assert_eq!(next_hop(i64::MAX, i64::MIN), Hop::Deliver);
}

#[test]
fn a_long_wait_does_not_become_endless_traffic() {
    let seconds = |s: i64| walk(s * SECOND, 5).0;
    // What the moves take off does not break whole waits into small ones.
    for (wait_s, hops) in [(60, 2), (300, 4), (3_600, 1), (24 * 3_600, 4)] {
        assert_eq!(seconds(wait_s), hops, "{wait_s} s");
    }
    let mean = |up_to_s: i64| (1..=up_to_s).map(seconds).sum::<usize>() as f64 / up_to_s as f64;
    assert!(mean(60) < 6.0, "{}", mean(60));
    assert!(mean(3_600) < 11.0, "{}", mean(3_600));
    assert!(mean(24 * 3_600) < 15.0, "{}", mean(24 * 3_600));
    let worst = (0..=24 * 3_600).map(|s| walk(s * SECOND, 0).0).max();
    assert_eq!(worst, Some(29), "23:59:59 is the worst there is in a day");
}

#[test]
fn a_wrong_clock_stops_nobody() {
    let tier = &TIERS[2];
    assert_eq!(due_ms(NOW, Some(NOW - 7), tier), NOW + 29_993);
    assert_eq!(due_ms(NOW, Some(NOW + 1_500), tier), NOW + 31_500);
    for absurd in [None, Some(NOW + 3 * HOUR), Some(i64::MAX)] {
        assert_eq!(due_ms(NOW, absurd, tier), NOW, "{absurd:?}");
    }
    assert!(due_ms(NOW, Some(i64::MIN), tier) < NOW);
}

proptest! {
    #[test]
    fn nothing_is_delivered_much_too_early_or_too_late(
        wait_ms in 0..24 * HOUR,
        move_ms in 0..200i64,
    ) {
        let (hops, waited) = walk(wait_ms, move_ms);
        prop_assert!(hops <= 30, "{} hops", hops);
        prop_assert!(waited >= wait_ms - SLACK_MS);
        let moving = hops as i64 * move_ms;
        prop_assert!(waited <= wait_ms + SLACK_MS + moving, "late by {}", waited - wait_ms);
    }

    #[test]
    fn any_time_has_a_hop(now in any::<i64>(), not_before in any::<i64>()) {
        let early = not_before.saturating_sub(now) > SLACK_MS;
        prop_assert_eq!(next_hop(now, not_before) != Hop::Deliver, early);
    }
}
