//! How a destination is, by its attempts.
//!
//! | health | when |
//! | --- | --- |
//! | suspended | the newest attempt was refused because of how the destination is set up, and is not made again until that is mended |
//! | failing | the last 10 attempts failed; or of at least 10 in the last five minutes fewer than half passed |
//! | degraded | the last 3 attempts failed; or of at least 10 in the last five minutes fewer than 95 % passed |
//! | healthy | everything else |
//!
//! One attempt that passes ends a row of failures; so a destination that was mended is failing no longer with its first
//! success, and degraded until its last five minutes look well. It leaves degraded at 97 %, not at 95 %, so that one near
//! the line does not go to and fro; or when it has had no failure for five minutes. A destination that is failing or
//! suspended and has had no attempt stays what it is: nothing says that it is mended.
//!
//! What failed is every attempt that did not deliver, whatever for. Tests are not counted, nor is what was not tried. Time is
//! that of the attempts, so that an index that was behind comes to the same.

use std::collections::VecDeque;

use pushrail_schemas::attempt::Outcome;
use pushrail_store::log::{MINUTE_US, Micros};

/// Minutes that are looked at.
pub const WINDOW_MINUTES: i64 = 5;
/// Attempts below which a share says nothing.
const ENOUGH: u32 = 10;
const FAILING_IN_A_ROW: u32 = 10;
const DEGRADED_IN_A_ROW: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Healthy,
    Degraded,
    Failing,
    Suspended,
}

impl State {
    pub const ALL: [State; 4] = [
        State::Healthy,
        State::Degraded,
        State::Failing,
        State::Suspended,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Failing => "failing",
            State::Suspended => "suspended",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// What a destination did in the last minutes, and what follows.
#[derive(Clone, Debug)]
pub struct Patient {
    pub state: State,
    pub in_a_row: u32,
    /// By minute, oldest first: attempts that passed and that failed.
    window: VecDeque<(i64, u32, u32)>,
}

impl Default for Patient {
    fn default() -> Self {
        Patient::new(State::Healthy, 0)
    }
}

impl Patient {
    pub fn new(state: State, in_a_row: u32) -> Self {
        Patient {
            state,
            in_a_row,
            window: VecDeque::new(),
        }
    }

    /// What is known of an earlier minute.
    pub fn remember(&mut self, at: Micros, passed: u32, failed: u32) {
        let minute = at.0.div_euclid(MINUTE_US);
        let place = self.window.partition_point(|slot| slot.0 < minute);
        match self.window.get_mut(place) {
            Some(slot) if slot.0 == minute => {
                slot.1 += passed;
                slot.2 += failed;
            }
            _ => self.window.insert(place, (minute, passed, failed)),
        }
    }

    /// Takes an attempt, and says what the destination was before when that has changed.
    pub fn saw(&mut self, at: Micros, outcome: Outcome) -> Option<State> {
        let passed = outcome == Outcome::Delivered;
        self.remember(at, u32::from(passed), u32::from(!passed));
        self.in_a_row = match passed {
            true => 0,
            false => self.in_a_row.saturating_add(1),
        };
        let suspended = outcome == Outcome::Suspended;
        self.judge(at, suspended)
    }

    fn judge(&mut self, now: Micros, suspended: bool) -> Option<State> {
        let oldest = now.0.div_euclid(MINUTE_US) - WINDOW_MINUTES;
        while self.window.front().is_some_and(|slot| slot.0 <= oldest) {
            self.window.pop_front();
        }
        let (passed, failed) = self
            .window
            .iter()
            .fold((0, 0), |sum, slot| (sum.0 + slot.1, sum.1 + slot.2));
        let all = passed + failed;
        // In percent, of attempts that are enough to say so.
        let below = |percent: u32| all >= ENOUGH && passed * 100 < all * percent;
        let was = self.state;
        let well_from = match was {
            State::Healthy => 95,
            _ => 97,
        };
        self.state = if suspended || (was == State::Suspended && self.in_a_row > 0) {
            State::Suspended
        } else if self.in_a_row >= FAILING_IN_A_ROW || (self.in_a_row > 0 && below(50)) {
            State::Failing
        } else if self.in_a_row >= DEGRADED_IN_A_ROW || below(well_from) {
            State::Degraded
        } else if failed > 0 && all < ENOUGH && was != State::Healthy && self.in_a_row > 0 {
            // Too few to say that it is any better.
            was
        } else {
            State::Healthy
        };
        (was != self.state).then_some(was)
    }

    /// Why it is what it is, for people.
    pub fn reason(&self) -> String {
        let (passed, failed) = self
            .window
            .iter()
            .fold((0, 0), |sum, slot| (sum.0 + slot.1, sum.1 + slot.2));
        let share = || {
            format!(
                "{passed} of {} attempts passed in the last {WINDOW_MINUTES} minutes",
                passed + failed
            )
        };
        match self.state {
            State::Healthy => String::new(),
            State::Suspended => {
                "It refused an attempt because of how it is set up, and is left alone until that is mended".to_owned()
            }
            _ if self.in_a_row >= DEGRADED_IN_A_ROW => {
                format!("The last {} attempts failed", self.in_a_row)
            }
            _ => share(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Dead, Delivered, Retrying, Suspended};

    const START: i64 = 1_700_000_000_000_000;

    struct Story {
        patient: Patient,
        now_us: i64,
    }

    impl Story {
        fn new() -> Self {
            Story {
                patient: Patient::default(),
                now_us: START,
            }
        }

        /// That many attempts, a second apart.
        fn then(&mut self, times: usize, outcome: Outcome) -> State {
            for _ in 0..times {
                self.now_us += 1_000_000;
                self.patient.saw(Micros(self.now_us), outcome);
            }
            self.patient.state
        }

        fn minutes_later(&mut self, minutes: i64) -> &mut Self {
            self.now_us += minutes * MINUTE_US;
            self
        }
    }

    #[test]
    fn failures_in_a_row_degrade_and_then_fail() {
        let mut story = Story::new();
        assert_eq!(story.then(100, Delivered), State::Healthy);
        assert_eq!(story.then(2, Retrying), State::Healthy);
        assert_eq!(story.then(1, Dead), State::Degraded);
        assert_eq!(story.then(6, Retrying), State::Degraded);
        assert_eq!(story.then(1, Retrying), State::Failing);
    }

    #[test]
    fn a_success_ends_failing_and_five_good_minutes_end_degraded() {
        let mut story = Story::new();
        story.then(20, Retrying);
        assert_eq!(story.patient.state, State::Failing);
        assert_eq!(story.then(1, Delivered), State::Degraded);
        assert_eq!(story.then(10, Delivered), State::Degraded);
        assert_eq!(story.minutes_later(6).then(1, Delivered), State::Healthy);
    }

    #[test]
    fn a_share_counts_only_where_there_is_enough_of_it() {
        let mut story = Story::new();
        story.then(5, Delivered);
        assert_eq!(
            story.then(1, Retrying),
            State::Healthy,
            "1 of 6 says nothing"
        );
        story.then(5, Delivered);
        assert_eq!(
            story.patient.state,
            State::Degraded,
            "10 of 11 is below 95 %"
        );
    }

    #[test]
    fn every_other_attempt_that_fails_is_failing_while_it_fails() {
        let mut story = Story::new();
        for _ in 0..10 {
            story.then(2, Retrying);
            story.then(1, Delivered);
        }
        assert_eq!(story.patient.state, State::Degraded);
        assert_eq!(story.then(1, Retrying), State::Failing);
    }

    #[test]
    fn near_the_line_it_does_not_go_to_and_fro() {
        let mut story = Story::new();
        story.then(93, Delivered);
        story.then(2, Retrying);
        story.then(4, Delivered);
        assert_eq!(story.patient.state, State::Healthy, "97 of 99");
        for _ in 0..4 {
            story.then(1, Retrying);
            story.then(1, Delivered);
        }
        let mut changes = 0;
        let mut last = story.patient.state;
        for n in 0..100 {
            story.then(1, if n % 20 == 0 { Retrying } else { Delivered });
            changes += usize::from(story.patient.state != last);
            last = story.patient.state;
        }
        assert!(changes <= 1, "{changes}");
    }

    #[test]
    fn what_is_suspended_stays_so_until_an_attempt_passes() {
        let mut story = Story::new();
        assert_eq!(story.then(1, Suspended), State::Suspended);
        assert_eq!(story.minutes_later(30).then(1, Retrying), State::Suspended);
        assert_eq!(story.then(1, Delivered), State::Healthy);
    }

    #[test]
    fn what_is_remembered_counts_like_what_was_seen() {
        let mut seen = Story::new();
        seen.then(12, Delivered);
        seen.then(1, Retrying);
        let mut remembered = Patient::new(seen.patient.state, seen.patient.in_a_row);
        remembered.remember(Micros(START), 12, 1);
        assert_eq!(
            remembered.saw(Micros(seen.now_us), Retrying),
            seen.patient.saw(Micros(seen.now_us), Retrying)
        );
        assert_eq!(remembered.state, seen.patient.state);
    }
}
