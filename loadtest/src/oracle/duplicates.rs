//! Why was something delivered twice? At-least-once delivery has a short list of honest reasons; all else is a defect.

use uuid::Uuid;

use super::Pair;
use super::evidence::Evidence;
use crate::services::Kind;

/// A kill and when it happened; `what` is `None` for Kafka itself.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Kill {
    pub at_us: i64,
    pub what: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Two copies of the event were on `events`, and the router's window did not catch the second.
    AcceptedTwice,
    /// The router put the delivery on `deliver.*` twice: killed between producing and committing.
    RoutedTwice,
    /// The retry mover put the same attempt back twice.
    MovedTwice,
    /// The sink put the same attempt on a retry tier twice.
    SpilledTwice,
    /// The receiver answered 2xx, but the sink had given up waiting, and said so in the audit record.
    AnsweredTooLate,
    /// The attempt was finished when the sink was killed; its record or its commit was lost.
    SinkKilled,
    /// The attempt was finished when Kafka was killed; its record or its commit was lost.
    KafkaKilled,
    Unexplained,
}

impl Cause {
    pub fn describe(self) -> String {
        let text = match self {
            Cause::AcceptedTwice => "accepted twice: two copies on events",
            Cause::RoutedTwice => "routed twice: router killed between copy and commit",
            Cause::MovedTwice => "moved back twice: retry killed between copy and commit",
            Cause::SpilledTwice => "spilled twice: sink killed between copy and commit",
            Cause::AnsweredTooLate => "answered 2xx after the sink had given up",
            Cause::SinkKilled => "in flight when the sink was killed",
            Cause::KafkaKilled => "in flight when Kafka was killed",
            Cause::Unexplained => "UNEXPLAINED",
        };
        text.to_owned()
    }
}

/// Longest from an answer to the commit that covers it: a commit interval, the batch of the audit record, and the time
/// that a busy machine takes for both.
const COMMIT_LAG_US: i64 = 10_000_000;

/// The cause of each delivery of `pair` after the first. `arrivals` are in order, in Unix microseconds.
pub(super) fn causes(
    pair: Pair,
    destination: Uuid,
    arrivals: &[i64],
    evidence: &Evidence,
    kills: &[Kill],
) -> Vec<Cause> {
    // A written copy too many explains one repetition each; which one does not matter.
    let copies = evidence.copies.get(&pair);
    let extra = |n: u32| n.saturating_sub(1) as usize;
    let accepted = evidence.accepted.get(&pair.0).map_or(0, |n| extra(*n));
    let routed = copies
        .map_or(0, |copies| extra(copies.routed))
        .saturating_sub(accepted);
    let delivery = pushrail_schemas::identity::delivery_id(Uuid::from_u128(pair.0), destination);
    let late = evidence
        .given_up
        .get(&delivery.as_u128())
        .copied()
        .unwrap_or(0) as usize;
    let spilled = copies.map_or(0, |c| c.spilled_again as usize);
    let moved = copies
        .map_or(0, |c| c.moved_again as usize)
        .saturating_sub(spilled);
    // In the order in which they are believed: what is certain first.
    let mut written: Vec<Cause> = [
        (Cause::AcceptedTwice, accepted),
        (Cause::RoutedTwice, routed),
        (Cause::MovedTwice, moved),
        (Cause::SpilledTwice, spilled),
        (Cause::AnsweredTooLate, late),
    ]
    .into_iter()
    .flat_map(|(cause, times)| std::iter::repeat_n(cause, times))
    .collect();
    written.reverse();
    let explain = |times: &[i64]| {
        let (first, second) = (times[0], times[1]);
        let near = |what| {
            let mut killed = kills.iter().filter(|kill| kill.what == what);
            killed.any(|kill| {
                kill.at_us > first - 1_000_000 && kill.at_us < second.min(first + COMMIT_LAG_US)
            })
        };
        if near(Some(Kind::Sink)) {
            Cause::SinkKilled
        } else if near(None) {
            Cause::KafkaKilled
        } else {
            written.pop().unwrap_or(Cause::Unexplained)
        }
    };
    arrivals.windows(2).map(explain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::evidence::Copies;

    #[test]
    fn a_copy_written_twice_explains_one_repetition_and_no_more() {
        let mut evidence = Evidence::default();
        evidence.copies.insert(
            (1, 0),
            Copies {
                routed: 2,
                ..Copies::default()
            },
        );
        let causes = causes((1, 0), Uuid::nil(), &[1, 2, 3], &evidence, &[]);
        assert_eq!(causes, [Cause::RoutedTwice, Cause::Unexplained]);
    }

    #[test]
    fn a_kill_long_after_the_answer_explains_nothing() {
        let kills = [Kill {
            at_us: 60_000_000,
            what: Some(Kind::Sink),
        }];
        let causes = causes(
            (1, 0),
            Uuid::nil(),
            &[1_000_000, 90_000_000],
            &Evidence::default(),
            &kills,
        );
        assert_eq!(causes, [Cause::Unexplained]);
    }
}
