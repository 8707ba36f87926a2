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
    /// The sink put it on a retry tier, and read and sent it once more all the same.
    SpilledAndSent,
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
            Cause::SpilledAndSent => {
                "spilled, then read again and sent: sink killed between copy and commit"
            }
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
    let delivery = pushrail_schemas::identity::delivery_id(Uuid::from_u128(pair.0), destination);
    let late = evidence
        .given_up
        .get(&delivery.as_u128())
        .copied()
        .unwrap_or(0) as usize;
    let mut written = written_twice(pair, evidence, kills);
    written.extend(std::iter::repeat_n(Cause::AnsweredTooLate, late));
    written.reverse();
    let explain = |times: &[i64]| {
        let (first, second) = (times[0], times[1].min(times[0] + COMMIT_LAG_US));
        if killed(kills, Some(Kind::Sink), first, second) {
            Cause::SinkKilled
        } else if killed(kills, None, first, second) {
            Cause::KafkaKilled
        } else {
            written.pop().unwrap_or(Cause::Unexplained)
        }
    };
    arrivals.windows(2).map(explain).collect()
}

/// Copies that were written twice, each with the kill that made it so: one that has none explains nothing.
fn written_twice(pair: Pair, evidence: &Evidence, kills: &[Kill]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut take = |cause, copies: &[(i64, i64)], by: &[Kind]| {
        for (first, second) in copies {
            let mut writers = by.iter().map(|kind| Some(*kind)).chain([None]);
            if writers.any(|what| killed(kills, what, *first, *second + 1_000)) {
                causes.push(cause);
            }
        }
    };
    let accepted = evidence
        .accepted
        .get(&pair.0)
        .map_or(&[][..], Vec::as_slice);
    let accepted: Vec<(i64, i64)> = accepted
        .windows(2)
        .map(|times| (times[0], times[1]))
        .collect();
    // A second copy of an event is no repetition unless the router, which knows it by its id, was interrupted too.
    take(
        Cause::AcceptedTwice,
        &accepted,
        &[Kind::Ingest, Kind::Router],
    );
    if let Some(copies) = evidence.copies.get(&pair) {
        take(Cause::RoutedTwice, &copies.routed, &[Kind::Router]);
        take(Cause::MovedTwice, &copies.moved, &[Kind::Retry, Kind::Sink]);
        take(Cause::SpilledTwice, &copies.spilled, &[Kind::Sink]);
        let uncommitted: Vec<(i64, i64)> = copies
            .spills
            .iter()
            .map(|written| (*written, *written + COMMIT_LAG_US))
            .collect();
        take(Cause::SpilledAndSent, &uncommitted, &[Kind::Sink]);
    }
    causes
}

/// Whether `what` was killed between two times. What had been written a second before may not have been committed.
fn killed(kills: &[Kill], what: Option<Kind>, from_us: i64, to_us: i64) -> bool {
    let mut kills = kills.iter().filter(|kill| kill.what == what);
    kills.any(|kill| kill.at_us > from_us - 1_000_000 && kill.at_us < to_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::evidence::Copies;

    #[test]
    fn a_copy_written_twice_explains_one_repetition_and_no_more() {
        let mut evidence = Evidence::default();
        let copies = Copies {
            routed: vec![(1_000_000, 9_000_000)],
            ..Copies::default()
        };
        evidence.copies.insert((1, 0), copies);
        let kills = [Kill {
            at_us: 3_000_000,
            what: Some(Kind::Router),
        }];
        let arrivals = [2_000_000, 10_000_000, 20_000_000];
        let found = causes((1, 0), Uuid::nil(), &arrivals, &evidence, &kills);
        assert_eq!(found, [Cause::RoutedTwice, Cause::Unexplained]);
        let found = causes((1, 0), Uuid::nil(), &arrivals, &evidence, &[]);
        assert_eq!(
            found,
            [Cause::Unexplained; 2],
            "nobody was killed, so a copy too many is a defect"
        );
    }

    #[test]
    fn what_was_spilled_and_sent_needs_a_kill_before_the_commit() {
        let mut evidence = Evidence::default();
        let copies = Copies {
            spills: vec![1_000_000],
            ..Copies::default()
        };
        evidence.copies.insert((1, 0), copies);
        let kill = |at_us| Kill {
            at_us,
            what: Some(Kind::Sink),
        };
        let arrivals = [5_000_000, 30_000_000];
        let cause_with = |at_us| {
            let kills = [kill(at_us)];
            causes((1, 0), Uuid::nil(), &arrivals, &evidence, &kills)[0]
        };
        assert_eq!(cause_with(1_500_000), Cause::SpilledAndSent);
        assert_eq!(cause_with(20_000_000), Cause::Unexplained);
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
