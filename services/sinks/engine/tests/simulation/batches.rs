//! Kinds that send several records in one call.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pushrail_sink_core::BatchLimits;

use super::world::{Temper, World, batching};
use super::{mixed_of, on_every_seed, on_seeds, seeds};

const SECOND: Duration = Duration::from_secs(1);

const SMALL: BatchLimits = BatchLimits {
    records: 10,
    bytes: 2_000,
    age: Duration::from_millis(100),
};
const FILES: BatchLimits = BatchLimits {
    records: 1_000,
    bytes: 1_000_000,
    age: Duration::from_secs(60),
};

#[test]
fn batches_lose_and_repeat_nothing_without_a_crash() {
    on_every_seed(|seed| {
        for limits in [SMALL, FILES] {
            let mut world = mixed_of(World::of(batching(limits), seed, 4));
            world.publish_evenly(2_000, 10 * SECOND);
            world.run(40 * SECOND);
            world.heal();
            world.run_until_settled(4 * 3_600 * SECOND);
            world.assert_conserved();
            world.assert_no_duplicates();
        }
    });
}

#[test]
fn crashes_in_the_middle_of_batches_lose_nothing() {
    on_every_seed(|seed| {
        for limits in [SMALL, FILES] {
            let mut world = mixed_of(World::of(batching(limits), seed, 4));
            world.publish_evenly(1_500, 10 * SECOND);
            for _ in 0..10 {
                world.run_for_some_time(3 * SECOND);
                world.crash();
            }
            world.heal();
            world.run_until_settled(4 * 3_600 * SECOND);
            world.assert_conserved();
            world.assert_duplicates_were_under_way_at_a_crash();
        }
    });
}

#[test]
fn a_waiting_batch_is_sent_at_a_hand_over_and_nothing_twice() {
    on_every_seed(|seed| {
        // One group: a destination that has proved nothing yet starts one call at a time.
        let mut kind = batching(FILES);
        kind.batching.group = |_| 0;
        let mut world = World::of(kind, seed, 4);
        for _ in 0..10 {
            world.destination(Temper::Well);
        }
        world.publish_evenly(500, 10 * SECOND);
        for _ in 0..8 {
            world.run_for_some_time(2 * SECOND);
            world.hand_over();
        }
        world.run(10 * SECOND);
        world.hand_over();
        world.run(SECOND);
        assert_eq!(world.owed(), 0, "nobody waits for the age of a batch");
        world.run_until_settled(3_600 * SECOND);
        world.assert_conserved();
        world.assert_no_duplicates();
    });
}

#[test]
fn a_slow_destination_keeps_no_hand_over_waiting_for_its_batches() {
    on_every_seed(|seed| {
        let mut world = World::of(batching(SMALL), seed, 2);
        world.destination(Temper::Slow);
        world.destination(Temper::Hang);
        world.publish_evenly(2_000, 5 * SECOND);
        for _ in 0..4 {
            world.run_for_some_time(5 * SECOND);
            world.hand_over();
        }
        world.heal();
        world.run_until_settled(4 * 3_600 * SECOND);
        world.assert_conserved();
    });
}

#[test]
fn a_poison_record_does_not_fail_its_neighbours() {
    on_every_seed(|seed| {
        let mut world = World::of(batching(SMALL), seed, 1);
        let picky = world.destination(Temper::Refuse);
        world.flood(picky, 2_000, 10 * SECOND);
        world.run_until_settled(60 * SECOND);
        world.assert_conserved();
        world.assert_no_duplicates();
        let (mut dead, mut well) = (0, 0);
        for (_, attempts, is_dead) in world.ends() {
            assert_eq!(attempts, 1, "no breaker opened and nothing was tried again");
            dead += usize::from(is_dead);
            well += usize::from(!is_dead);
        }
        assert!(dead > 500 && well > 1_000, "{dead} and {well}");
    });
}

#[test]
fn what_a_throttling_destination_took_is_not_sent_again() {
    on_every_seed(|seed| {
        let mut world = World::of(batching(SMALL), seed, 1);
        let busy = world.destination(Temper::Throttle);
        world.flood(busy, 1_000, 5 * SECOND);
        world.run_until_settled(3_600 * SECOND);
        world.assert_conserved();
        world.assert_no_duplicates();
    });
}

#[test]
fn nobody_waits_longer_than_the_age_of_a_batch_beside_neighbours_that_hang() {
    on_every_seed(|seed| {
        let mut world = World::of(batching(SMALL), seed, 1);
        for n in 0..100 {
            let dark = [Temper::Hang, Temper::Fail, Temper::Slow];
            world.destination(if n % 10 < 3 {
                dark[n % 3]
            } else {
                Temper::Well
            });
        }
        world.publish_evenly(20_000, 40 * SECOND);
        world.run(45 * SECOND);
        let worst = world.worst_wait_of_the_healthy();
        assert!(
            worst <= SMALL.age + Duration::from_millis(120),
            "a healthy destination's record waited {worst:?}"
        );
        assert_eq!(world.deferrals_of_the_healthy(), 0);
    });
}

#[test]
fn thousands_that_wait_for_company_stop_no_partition() {
    on_seeds(seeds().take(2), |seed| {
        let mut world = World::of(batching(FILES), seed, 2);
        for _ in 0..3_000 {
            world.destination(Temper::Well);
        }
        // Some 40,000 records would wait within the age of a batch, and 16,000 may.
        world.publish_evenly(60_000, 90 * SECOND);
        world.run(90 * SECOND + FILES.age + SECOND);
        assert_eq!((world.owed(), world.pauses), (0, 0));
        let limits = pushrail_sink_engine::Limits::default();
        assert!(
            world.peak.queued <= limits.queued_records_max / 2 + 1_000,
            "{:?}",
            world.peak
        );
        let worst = world.worst_wait_of_the_healthy();
        assert!(worst <= FILES.age + SECOND, "{worst:?}");
        assert_eq!(world.deferrals_of_the_healthy(), 0);
    });
}

#[test]
fn memory_of_batches_stays_bounded_whatever_comes() {
    on_every_seed(|seed| {
        let mut world = mixed_of(World::of(batching(FILES), seed, 4));
        world.publish_evenly(60_000, 2 * SECOND);
        world.run(30 * SECOND);
        let limits = pushrail_sink_engine::Limits::default();
        let peak = world.peak;
        assert!(peak.queued <= limits.queued_records_max, "{peak:?}");
        assert!(peak.queued_bytes <= limits.queued_bytes_max, "{peak:?}");
        let most = limits.active_bytes_max + limits.overdue_bytes_max;
        assert!(peak.in_flight_bytes <= most, "{peak:?}");
    });
}

#[test]
fn the_same_records_read_again_make_the_same_batches() {
    on_every_seed(|seed| {
        let limits = BatchLimits {
            age: 3_600 * SECOND,
            ..SMALL
        };
        let mut world = World::of(batching(limits), seed, 1);
        world.acks_together = true;
        let file = world.destination(Temper::Well);
        world.flood(file, 4_000, 10 * SECOND);
        for _ in 0..20 {
            world.run_for_some_time(SECOND);
            world.crash();
        }
        world.run(20 * SECOND);
        let mut batch_of = HashMap::new();
        for call in &world.calls {
            for id in call {
                let batches: &mut HashSet<_> = batch_of.entry(*id).or_default();
                batches.insert(call.clone());
            }
        }
        assert!(batch_of.len() > 3_900);
        for (id, batches) in batch_of {
            assert_eq!(batches.len(), 1, "{id} was in different batches");
        }
    });
}
