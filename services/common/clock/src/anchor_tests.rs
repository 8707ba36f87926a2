use std::time::Duration;

use crate::{Clock, SLEW_PPM};

const START_US: i64 = 1_700_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;
const SECOND: Duration = Duration::from_secs(1);

async fn pass(clock: &Clock, seconds: u64) {
    for _ in 0..seconds {
        tokio::time::advance(SECOND).await;
        clock.now_us();
    }
}

#[tokio::test(start_paused = true)]
async fn time_passes_with_tokio_and_not_otherwise() {
    let clock = Clock::starting_at_us(START_US);
    assert_eq!(clock.now_us(), START_US);
    tokio::time::advance(Duration::from_micros(1_500)).await;
    assert_eq!(
        (clock.now_us(), clock.now_ms()),
        (START_US + 1_500, START_US / 1_000 + 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_forward_makes_nothing_due_at_once() {
    let clock = Clock::starting_at_us(START_US);
    clock.step_system(HOUR_US);
    pass(&clock, 500).await;
    let gained = clock.now_us() - START_US - 500_000_000;
    assert!(
        (0..=500 * SLEW_PPM).contains(&gained),
        "gained {gained} us in 500 s"
    );
    assert!(
        gained > 490 * SLEW_PPM,
        "it must make up the difference, and gained {gained} us"
    );
    assert!((clock.behind_us() - (HOUR_US - gained)).abs() <= SLEW_PPM);
}

#[tokio::test(start_paused = true)]
async fn a_step_back_never_stops_or_turns_time() {
    let clock = Clock::starting_at_us(START_US);
    clock.step_system(-HOUR_US);
    let mut last = clock.now_us();
    for _ in 0..100 {
        tokio::time::advance(Duration::from_millis(300)).await;
        let now = clock.now_us();
        assert!(
            now - last >= 299_000,
            "time advanced only {} us in 300 ms",
            now - last
        );
        last = now;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_started_wrong_is_right_within_hours_and_not_weeks() {
    let clock = Clock::starting_at_us(START_US);
    clock.step_system(-HOUR_US);
    pass(&clock, 600).await;
    assert!(clock.behind_us() < -HOUR_US + 400_000, "not believed yet");
    let mut last = clock.now_us();
    for _ in 0..11 * 3_600 {
        pass(&clock, 1).await;
        assert!((899_999..=1_100_001).contains(&(clock.now_us() - last)));
        last = clock.now_us();
    }
    assert!(
        clock.behind_us().abs() < 1_000,
        "still {} us off",
        clock.behind_us()
    );
}

#[tokio::test(start_paused = true)]
async fn a_laptop_that_slept_wakes_at_the_right_time() {
    let clock = Clock::starting_at_us(START_US);
    clock.sleep_machine(8 * HOUR_US);
    pass(&clock, 1).await;
    assert_eq!(clock.now_us(), START_US + 8 * HOUR_US + 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_small_difference_is_made_up_and_not_overshot() {
    let clock = Clock::starting_at_us(START_US);
    clock.step_system(10_000);
    pass(&clock, 30).await;
    assert_eq!(clock.now_us(), START_US + 30_000_000 + 10_000);
    clock.step_system(300);
    pass(&clock, 1).await;
    // Nobody asks for an hour: the last rate must not go on for all of it.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(clock.now_us(), START_US + 3_631_000_000 + 10_300);
}

#[tokio::test(start_paused = true)]
async fn a_test_sets_the_time_at_once() {
    let clock = Clock::starting_at_us(START_US);
    clock.set_us(5_000_000);
    assert_eq!(clock.now_us(), 5_000_000);
    pass(&clock, 5).await;
    assert_eq!(clock.now_us(), 10_000_000);
}

#[tokio::test]
async fn it_starts_at_the_system_time_and_never_runs_backward() {
    assert!(crate::now_ms() > 1_700_000_000_000);
    let mut last = crate::now_us();
    for _ in 0..10_000 {
        let now = crate::now_us();
        assert!(now >= last);
        last = now;
    }
}

#[test]
fn times_are_written_for_people() {
    assert_eq!(
        crate::rfc3339(1_700_000_000_000_001).unwrap(),
        "2023-11-14T22:13:20.000001Z"
    );
    assert_eq!(crate::rfc3339(i64::MAX), None);
}
