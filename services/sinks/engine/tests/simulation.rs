//! The engine's core in a world that is made of a seed: a log, a group's commits, retry tiers, destinations of every
//! temper, crashes, hand-overs and clock jumps. The code that decides is the real one; only I/O and time are made up.
//!
//! A failing seed is printed; `SIMULATION_SEED=n` runs that one alone, `SIMULATION_SEEDS=n` sets how many are run.

#[path = "simulation/batches.rs"]
mod batches;
#[path = "simulation/world.rs"]
mod world;

use std::time::Duration;

use world::{Temper, World};

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(20),
    }
}

/// Runs a world on every seed and names the seed where it fails.
fn on_every_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    on_seeds(seeds(), run);
}

fn on_seeds(seeds: impl Iterator<Item = u64>, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed} failed: SIMULATION_SEED={seed} runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

fn mixed(seed: u64) -> World {
    mixed_of(World::new(seed, 4))
}

fn mixed_of(mut world: World) -> World {
    for n in 0..20 {
        let temper = match n % 10 {
            0 => Temper::Hang,
            1 => Temper::Fail,
            2 => Temper::Flaky,
            3 => Temper::Refuse,
            4 => Temper::Slow,
            5 => Temper::Gone,
            6 => Temper::Throttle,
            _ => Temper::Well,
        };
        world.destination(temper);
    }
    world
}

#[test]
fn nothing_is_lost_and_nothing_repeated_without_a_crash() {
    on_every_seed(|seed| {
        let mut world = mixed(seed);
        world.publish_evenly(2_000, Duration::from_secs(10));
        world.run(Duration::from_secs(40));
        world.heal();
        world.run_until_settled(Duration::from_secs(4 * 3_600));
        world.assert_conserved();
        world.assert_no_duplicates();
    });
}

#[test]
fn crashes_at_any_moment_lose_nothing() {
    on_every_seed(|seed| {
        let mut world = mixed(seed);
        world.publish_evenly(1_500, Duration::from_secs(10));
        for _ in 0..10 {
            world.run_for_some_time(Duration::from_secs(3));
            world.crash();
        }
        world.heal();
        world.run_until_settled(Duration::from_secs(4 * 3_600));
        world.assert_conserved();
        world.assert_duplicates_were_under_way_at_a_crash();
    });
}

#[test]
fn nothing_waits_for_a_destination_that_wants_nothing() {
    on_every_seed(|seed| {
        let mut world = World::new(seed, 4);
        let gone = world.destination(Temper::Gone);
        world.destination(Temper::Well);
        world.flood(gone, 500, Duration::from_millis(200));
        world.publish_evenly(500, Duration::from_secs(3));
        // Sooner than a suspended destination is tried again, and than what was put off so long would come back.
        world.run(Duration::from_secs(30));
        assert_eq!(world.owed(), 0);
        world.assert_no_duplicates();
    });
}

#[test]
fn planned_hand_overs_repeat_nothing() {
    on_every_seed(|seed| {
        let mut world = World::new(seed, 4);
        for _ in 0..10 {
            world.destination(Temper::Well);
        }
        world.destination(Temper::Slow);
        world.publish_evenly(2_000, Duration::from_secs(10));
        for _ in 0..8 {
            world.run_for_some_time(Duration::from_secs(2));
            world.hand_over();
        }
        world.run_until_settled(Duration::from_secs(3_600));
        world.assert_conserved();
        world.assert_no_duplicates();
    });
}

#[test]
fn a_jump_of_the_wall_clock_loses_nothing() {
    on_every_seed(|seed| {
        let mut world = mixed(seed);
        world.publish_evenly(800, Duration::from_secs(5));
        for jump_ms in [3_600_000, -7_200_000, 90_000, -1_000] {
            world.run_for_some_time(Duration::from_secs(3));
            world.jump_clock(jump_ms);
        }
        world.heal();
        world.run_until_settled(Duration::from_secs(8 * 3_600));
        world.assert_conserved();
    });
}

#[test]
fn hanging_and_failing_neighbours_do_not_delay_a_healthy_destination() {
    on_every_seed(|seed| {
        let mut world = World::new(seed, 1);
        for n in 0..100 {
            let dark = [Temper::Hang, Temper::Fail, Temper::Slow];
            world.destination(if n % 10 < 3 {
                dark[n % 3]
            } else {
                Temper::Well
            });
        }
        world.publish_evenly(20_000, Duration::from_secs(40));
        world.run(Duration::from_secs(45));
        let worst = world.worst_wait_of_the_healthy();
        assert!(
            worst <= Duration::from_millis(120),
            "a healthy destination's record waited {worst:?}"
        );
        assert_eq!(world.deferrals_of_the_healthy(), 0);
    });
}

#[test]
fn a_flood_to_one_slow_destination_does_not_delay_the_others() {
    on_every_seed(|seed| {
        let mut world = World::new(seed, 1);
        let slow = world.destination(Temper::Slow);
        for _ in 0..20 {
            world.destination(Temper::Well);
        }
        world.publish_evenly(2_000, Duration::from_secs(10));
        world.flood(slow, 30_000, Duration::from_secs(5));
        world.run(Duration::from_secs(12));
        let worst = world.worst_wait_of_the_healthy();
        assert!(
            worst <= Duration::from_millis(120),
            "a healthy destination's record waited {worst:?}"
        );
        world.run_until_settled(Duration::from_secs(4 * 3_600));
        world.assert_conserved();
    });
}

#[test]
fn an_even_backlog_is_worked_off_without_being_put_off() {
    on_every_seed(|seed| {
        for destinations in [1, 3, 10, 100] {
            let mut world = World::new(seed, 2);
            for _ in 0..destinations {
                world.destination(Temper::Well);
            }
            world.publish_evenly(30_000, Duration::ZERO);
            world.run_until_settled(Duration::from_secs(600));
            world.assert_conserved();
            world.assert_no_duplicates();
            assert_eq!(
                world.deferrals_of_the_healthy(),
                0,
                "{destinations} destinations"
            );
        }
    });
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    on_every_seed(|seed| {
        let mut world = mixed(seed);
        world.publish_evenly(60_000, Duration::from_secs(2));
        world.run(Duration::from_secs(30));
        let limits = pushrail_sink_engine::Limits::default();
        assert!(
            world.peak.queued <= limits.queued_records_max,
            "{:?}",
            world.peak
        );
        assert!(world.peak.active <= limits.active_max, "{:?}", world.peak);
        assert!(world.peak.overdue <= limits.overdue_max, "{:?}", world.peak);
    });
}
