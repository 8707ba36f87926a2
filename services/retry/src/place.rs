//! Where a record goes, and where instead when Kafka won't have it there.
//!
//! A tier must never stop for one record, and no record may be lost. So each has a row of places: the one it should go to,
//! the dead letters of its kind, the dead letters of events, and at last the tier that it came from, which has had it
//! before and will have it again; there it waits for somebody to mend what is wrong.

use pushrail_schemas::headers::{self, HeaderError};
use pushrail_topology::{Tier, topics};

use crate::hop::{Hop, next_hop};

/// Refusals before a topic that Kafka does not know counts as missing: just after a broker's start it may not know any.
/// The relay lets 1, 2 and 4 seconds pass between them.
pub(crate) const UNKNOWN_MAX: u32 = 4;

/// Why a record goes to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

/// What the mover reads of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    /// `None` when the record does not say.
    pub(crate) kind: Option<&'a str>,
    /// Unix milliseconds.
    pub(crate) not_before_ms: Result<i64, HeaderError>,
}

impl<'a> Wish<'a> {
    /// Reads the two headers that matter. A record without `not_before` may be attempted at any time.
    pub(crate) fn read(pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut wish = Wish {
            kind: None,
            not_before_ms: Ok(i64::MIN),
        };
        for (name, value) in pairs {
            match name {
                headers::KIND => {
                    let text = headers::parse_text(headers::KIND, value).ok();
                    wish.kind = text.filter(|kind| topics::is_kind(kind));
                }
                headers::NOT_BEFORE => {
                    wish.not_before_ms = headers::parse_number(headers::NOT_BEFORE, value);
                }
                _ => {}
            }
        }
        wish
    }

    fn failure(&self) -> Option<Failure> {
        let failure = |code, detail| Failure {
            reason: "undecodable",
            code,
            detail,
        };
        match (self.kind, &self.not_before_ms) {
            (Some(_), Ok(_)) => None,
            (None, _) => Some(failure(
                "kind_unreadable",
                "header kind is missing or names no destination type".to_owned(),
            )),
            (_, Err(error)) => Some(failure("not_before_unreadable", error.to_string())),
        }
    }
}

/// Kafka's answer to the last try with this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There was none, or one that says nothing about the record.
    None,
    /// The topic does not exist; so many times.
    Unknown(u32),
    /// The topic won't have this record; so many times.
    Never(u32),
}

/// Where a record goes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Deliver(String),
    Tier(&'static str),
    Dead(String, Failure),
}

/// Chooses. `is_missing` says of a topic that Kafka does not have it.
pub(crate) fn place(
    now_ms: i64,
    wish: &Wish<'_>,
    from: &'static Tier,
    answer: Answer,
    is_missing: impl Fn(&str) -> bool,
) -> Place {
    let mut row = Vec::with_capacity(4);
    let mut failure = wish.failure();
    if let (None, Some(kind), Ok(not_before_ms)) = (&failure, wish.kind, &wish.not_before_ms) {
        match next_hop(now_ms, *not_before_ms) {
            Hop::Tier(tier) if answer == Answer::None => return Place::Tier(tier.topic),
            Hop::Tier(tier) => row.push(tier.topic.to_owned()),
            Hop::Deliver => {
                let topic = topics::deliver(kind);
                if answer == Answer::None && !is_missing(&topic) {
                    return Place::Deliver(topic);
                }
                row.push(topic);
            }
        }
        failure = refusal(answer, &row[0]);
    }
    let intended = row.len();
    row.extend(wish.kind.map(topics::dlq));
    row.push(topics::DLQ_EVENTS.to_owned());
    let tried = match answer {
        Answer::None => 0,
        Answer::Unknown(times) => (times + 1).saturating_sub(UNKNOWN_MAX),
        Answer::Never(times) => times,
    };
    let left = row.into_iter().enumerate().skip(tried as usize);
    let mut left = left.filter(|(_, topic)| !is_missing(topic));
    match (left.next(), failure) {
        (Some((at, topic)), _) if at < intended => match Tier::of_topic(&topic) {
            Some(tier) => Place::Tier(tier.topic),
            None => Place::Deliver(topic),
        },
        (Some((_, topic)), Some(failure)) => Place::Dead(topic, failure),
        _ => Place::Tier(from.topic),
    }
}

fn refusal(answer: Answer, topic: &str) -> Option<Failure> {
    let (code, detail) = match answer {
        Answer::Never(_) => (
            "refused_by_topic",
            format!("{topic} does not take this record"),
        ),
        _ => ("topic_missing", format!("{topic} does not exist")),
    };
    Some(Failure {
        reason: "permanent",
        code,
        detail,
    })
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
