//! Judges conservation: every accepted event, times every destination that should get it, must have been delivered, be a
//! dead letter, be suspended, or still be owed. And it explains what was delivered more than once.
//!
//! The oracle trusts nobody. What should happen follows from what the generator got a 202 for; what did happen, from what
//! the receivers answered 2xx to and from what lies on the topics. It shares the derivation of ids with Pushrail, and
//! nothing else.

mod duplicates;
mod evidence;

/// Consumer groups, as the services name them.
pub(crate) mod groups {
    pub(crate) const ROUTER: &str = "pushrail-router";
    pub(crate) const RETRY: &str = "pushrail-retry";

    /// The sink of a kind.
    pub(crate) fn sink(kind: &str) -> String {
        format!("pushrail-sink-{kind}")
    }
}

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use uuid::Uuid;

pub use duplicates::{Cause, Kill};
pub use evidence::{Evidence, Fate};

/// One delivery: an event and the number of a destination.
pub type Pair = (u128, u32);

/// What should happen.
#[derive(Debug, Default)]
pub struct Expected {
    /// Destinations of each accepted event, by number.
    pub deliveries: HashSet<Pair>,
    /// Deliveries of events whose request was given up: they may or may not be accepted.
    pub possible: HashSet<Pair>,
}

/// What did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    pub expected: usize,
    pub delivered: usize,
    pub dead: usize,
    pub suspended: usize,
    pub owed: usize,
    /// None of these: the one number that must be 0.
    pub lost: usize,
    /// A few of the lost, for whoever has to find out why.
    pub lost_examples: Vec<String>,
    /// Both delivered and dead: a dead letter whose attempt had got through.
    pub delivered_and_dead: usize,
    /// Deliveries that nobody asked for.
    pub uncalled: usize,
    /// Arrivals whose body did not belong to their `webhook-id`.
    pub mixed_up: usize,
    /// Deliveries beyond the first, by cause.
    pub duplicates: Vec<(String, usize)>,
    pub duplicate_total: usize,
    pub unexplained: usize,
    /// A few deliveries that arrived twice and nobody knows why, with all that is known of them.
    pub unexplained_examples: Vec<String>,
    /// Share of delivered pairs that arrived more than once.
    pub duplicate_share: f64,
}

/// Judges. `ids` are the destinations by number.
pub fn judge(expected: &Expected, evidence: &Evidence, ids: &[Uuid], kills: &[Kill]) -> Verdict {
    let mut verdict = Verdict {
        expected: expected.deliveries.len(),
        ..Verdict::default()
    };
    for pair in &expected.deliveries {
        let delivered = evidence.delivered.contains_key(pair);
        let fate = evidence.fates.get(pair);
        match (delivered, fate) {
            (true, Some(Fate::Dead | Fate::Suspended)) => {
                verdict.delivered += 1;
                verdict.delivered_and_dead += 1;
            }
            (true, _) => verdict.delivered += 1,
            (false, Some(Fate::Dead)) => verdict.dead += 1,
            (false, Some(Fate::Suspended)) => verdict.suspended += 1,
            (false, Some(Fate::Owed)) => verdict.owed += 1,
            (false, None) => {
                verdict.lost += 1;
                if verdict.lost_examples.len() < 10 {
                    let id = ids.get(pair.1 as usize).copied().unwrap_or_default();
                    verdict.lost_examples.push(format!(
                        "event {} to {id} (number {})",
                        Uuid::from_u128(pair.0),
                        pair.1
                    ));
                }
            }
        }
    }
    let uncalled =
        |pair: &&Pair| !expected.deliveries.contains(*pair) && !expected.possible.contains(*pair);
    verdict.uncalled = evidence.delivered.keys().filter(uncalled).count();
    verdict.mixed_up = evidence.mixed_up;
    count_duplicates(&mut verdict, evidence, ids, kills);
    verdict
}

fn count_duplicates(verdict: &mut Verdict, evidence: &Evidence, ids: &[Uuid], kills: &[Kill]) {
    let mut counts: HashMap<Cause, usize> = HashMap::new();
    let mut repeated = 0;
    for (pair, arrivals) in evidence
        .delivered
        .iter()
        .filter(|(_, arrivals)| arrivals.len() > 1)
    {
        repeated += 1;
        let id = ids.get(pair.1 as usize).copied().unwrap_or_default();
        let causes = duplicates::causes(*pair, id, arrivals, evidence, kills);
        if causes.contains(&Cause::Unexplained) && verdict.unexplained_examples.len() < 10 {
            let copies = evidence.copies.get(pair);
            verdict.unexplained_examples.push(format!(
                "event {} to number {}: arrived {arrivals:?}, {copies:?}",
                Uuid::from_u128(pair.0),
                pair.1
            ));
        }
        for cause in causes {
            *counts.entry(cause).or_default() += 1;
        }
    }
    verdict.unexplained = counts.get(&Cause::Unexplained).copied().unwrap_or(0);
    verdict.duplicate_total = counts.values().sum();
    verdict.duplicate_share = repeated as f64 / evidence.delivered.len().max(1) as f64;
    let mut sorted: Vec<_> = counts
        .into_iter()
        .map(|(cause, n)| (cause.describe(), n))
        .collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    verdict.duplicates = sorted;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Kind;

    fn expected(pairs: &[Pair]) -> Expected {
        Expected {
            deliveries: pairs.iter().copied().collect(),
            ..Expected::default()
        }
    }

    #[test]
    fn what_is_nowhere_is_lost() {
        let mut evidence = Evidence::default();
        evidence.delivered.insert((1, 0), vec![10]);
        evidence.fates.insert((2, 0), Fate::Dead);
        evidence.fates.insert((3, 0), Fate::Owed);
        evidence.fates.insert((4, 0), Fate::Suspended);
        let all = expected(&[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        let verdict = judge(&all, &evidence, &[Uuid::nil()], &[]);
        assert_eq!(
            (
                verdict.delivered,
                verdict.dead,
                verdict.owed,
                verdict.suspended
            ),
            (1, 1, 1, 1)
        );
        assert_eq!(verdict.lost, 1);
        assert!(verdict.lost_examples[0].contains("00000005"));
    }

    #[test]
    fn a_delivery_to_the_wrong_destination_is_uncalled() {
        let mut evidence = Evidence::default();
        evidence.delivered.insert((1, 1), vec![10]);
        let verdict = judge(&expected(&[(1, 0)]), &evidence, &[Uuid::nil(); 2], &[]);
        assert_eq!((verdict.uncalled, verdict.lost), (1, 1));
    }

    #[test]
    fn a_duplicate_without_a_reason_is_unexplained() {
        let mut evidence = Evidence::default();
        evidence
            .delivered
            .insert((1, 0), vec![10_000_000, 20_000_000]);
        let all = expected(&[(1, 0)]);
        assert_eq!(judge(&all, &evidence, &[Uuid::nil()], &[]).unexplained, 1);
        let kills = [Kill {
            at_us: 15_000_000,
            what: Some(Kind::Sink),
        }];
        let verdict = judge(&all, &evidence, &[Uuid::nil()], &kills);
        assert_eq!((verdict.unexplained, verdict.duplicate_total), (0, 1));
    }
}
