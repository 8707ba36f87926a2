//! What each record's fate means. Pure: tested as a table.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict};
use rdkafka_sys::rd_kafka_resp_err_t as Native;

use crate::failure::Failure;

/// Partitions that the evidence names.
const PARTITIONS_MAX: usize = 16;

/// What one call came to.
#[derive(Clone, Debug)]
pub struct Reply {
    /// One a record: where it is, or why it is not there.
    pub(crate) fates: Vec<Result<Place, Failure>>,
    pub(crate) of: Arc<Names>,
}

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What a message to the owner names.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) topic: Box<str>,
    /// As `kafka-acls` names a principal; `None` where only the broker knows.
    pub(crate) user: Option<Box<str>>,
}

/// Whom an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The same bytes may pass.
    Moment,
    Record,
    Destination,
}

pub(crate) fn classify(reply: &Reply, sent: usize) -> Outcome {
    debug_assert_eq!(reply.fates.len(), sent);
    let verdict = |fate: &Result<Place, Failure>| match fate {
        Ok(_) => Verdict::Delivered,
        Err(failure) => verdict(failure, &reply.of),
    };
    Outcome {
        verdicts: reply.fates.iter().map(verdict).collect(),
        evidence: Evidence {
            excerpt: places(&reply.fates).into(),
            ..Evidence::default()
        },
    }
}

/// `partition 0: offsets 12 to 40`, a line each.
fn places(fates: &[Result<Place, Failure>]) -> String {
    let mut found: Vec<(i32, i64, i64)> = Vec::new();
    for Place { partition, offset } in fates.iter().flatten() {
        match found.iter_mut().find(|(known, ..)| known == partition) {
            Some((_, first, last)) => {
                *first = *offset.min(first);
                *last = *offset.max(last);
            }
            None => found.push((*partition, *offset, *offset)),
        }
    }
    found.sort_unstable();
    let mut text = String::new();
    for (partition, first, last) in found.iter().take(PARTITIONS_MAX) {
        let _ = match first == last {
            true => writeln!(text, "partition {partition}: offset {first}"),
            false => writeln!(text, "partition {partition}: offsets {first} to {last}"),
        };
    }
    if found.len() > PARTITIONS_MAX {
        let more = found.len() - PARTITIONS_MAX;
        let _ = writeln!(text, "and {more} further partitions");
    }
    text
}

fn verdict(failure: &Failure, of: &Names) -> Verdict {
    if let Failure::Network(failure) = failure {
        return failure.verdict();
    }
    let (code, about) = said_of(failure);
    let detail = detail(failure, code, of);
    match (about, failure) {
        (_, Failure::Local(_)) => Verdict::Retry {
            fault: Fault::us(code, detail),
            after: None,
        },
        (About::Moment, _) => Verdict::Retry {
            fault: Fault::destination(code, detail),
            after: None,
        },
        (About::Record, _) => Verdict::Reject {
            fault: Fault::record(code, detail),
        },
        (About::Destination, _) => Verdict::Suspend {
            fault: Fault::destination(code, detail),
        },
    }
}

/// The code under which a failure is declared, and whom it is about.
fn said_of(failure: &Failure) -> (&'static str, About) {
    use About::{Destination, Moment};
    match failure {
        Failure::Timeout => ("timeout", Moment),
        Failure::Network(failure) => match failure {
            pushrail_egress::Failure::AddressBlocked => (failure.code(), Destination),
            _ => (failure.code(), Moment),
        },
        Failure::Closed => ("connection_closed", Moment),
        Failure::Authentication => ("authentication_rejected", Destination),
        Failure::TokenRefused(_) => ("token_refused", Destination),
        Failure::TokenUnavailable(_) => ("token_unavailable", Moment),
        Failure::TokenInvalid(_) => ("token_invalid", Moment),
        Failure::Undecided => ("undecided", Moment),
        Failure::Fatal => ("producer_lost", Moment),
        Failure::Local(_) => ("internal", Moment),
        Failure::Record(code) => of_record(*code),
    }
}

#[cfg(test)]
pub(crate) fn said(failure: &Failure) -> (&'static str, bool) {
    let (code, about) = said_of(failure);
    (code, about == About::Destination)
}

/// Kafka's numbers are its protocol's, those below zero librdkafka's.
fn of_record(code: i32) -> (&'static str, About) {
    use About::{Destination, Moment, Record};
    let is = |native: Native| code == native as i32;
    match code {
        3 => ("topic_missing", Destination),
        7 => ("timeout", Moment),
        // Message too large, record list too large.
        10 | 18 => ("too_large", Record),
        17 => ("topic_refused", Destination),
        19 | 20 => ("not_enough_replicas", Moment),
        29 => ("topic_denied", Destination),
        31 => ("idempotence_denied", Destination),
        33 | 34 | 58 => ("authentication_rejected", Destination),
        // Corrupt or invalid record, timestamp, policy.
        87 | 32 | 44 => ("record_refused", Record),
        // Leader not available, not the leader, broker or replica not available, network, storage, coordinator.
        5 | 6 | 8 | 9 | 13 | 14 | 15 | 16 | 56 | 72 | 74 | 75 | 76 => {
            ("broker_unavailable", Moment)
        }
        // Out of order, duplicate, epoch, transaction, unknown producer id.
        45..=53 | 59 | 90 => ("producer_lost", Moment),
        89 => ("throttled", Moment),
        _ if is(Native::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
            || is(Native::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) =>
        {
            ("topic_missing", Destination)
        }
        _ if is(Native::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)
            || is(Native::RD_KAFKA_RESP_ERR__TIMED_OUT) =>
        {
            ("timeout", Moment)
        }
        _ if is(Native::RD_KAFKA_RESP_ERR__AUTHENTICATION) => {
            ("authentication_rejected", Destination)
        }
        _ if is(Native::RD_KAFKA_RESP_ERR__FATAL)
            || is(Native::RD_KAFKA_RESP_ERR__INCONSISTENT)
            || is(Native::RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE) =>
        {
            ("producer_lost", Moment)
        }
        _ if is(Native::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
            || is(Native::RD_KAFKA_RESP_ERR__PURGE_QUEUE)
            || is(Native::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD) =>
        {
            ("undecided", Moment)
        }
        _ if is(Native::RD_KAFKA_RESP_ERR__QUEUE_FULL) => ("internal", Moment),
        _ => ("kafka_error", Moment),
    }
}

/// The batch of this record was refused, and not necessarily for this record.
pub(crate) fn is_of_batch(code: i32) -> bool {
    matches!(of_record(code), ("too_large" | "record_refused", _))
        || code == Native::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD as i32
}

/// The batch, or the record where it was alone.
pub(crate) fn is_too_large(code: i32) -> bool {
    matches!(of_record(code), ("too_large", _))
}

fn detail(failure: &Failure, code: &'static str, of: &Names) -> Cow<'static, str> {
    let topic = &of.topic;
    // Where a certificate says who we are, only the broker knows the name that it reads there.
    let principal = match &of.user {
        Some(user) => format!("User:{}", user.replace('\'', "'\\''")),
        None => "User:<the name that the brokers know Pushrail by>".to_owned(),
    };
    let acls = "kafka-acls --bootstrap-server <broker> --add";
    match code {
        "topic_denied" => format!(
            "the user may not write to the topic; run: {acls} --allow-principal '{principal}' --operation Write --operation Describe --topic '{topic}'"
        )
        .into(),
        "idempotence_denied" => format!(
            "the user may not write idempotently; run: {acls} --allow-principal '{principal}' --operation IdempotentWrite --cluster"
        )
        .into(),
        "topic_missing" => format!(
            "there is no topic {topic} that this user may see; Pushrail makes none"
        )
        .into(),
        "kafka_error" => match failure {
            Failure::Record(number) => format!("the brokers answered with error {number}").into(),
            _ => "the brokers answered with an error".into(),
        },
        _ => match failure {
            Failure::TokenRefused(detail) | Failure::TokenUnavailable(detail) => {
                detail.to_string().into()
            }
            Failure::TokenInvalid(detail) | Failure::Local(detail) => (*detail).into(),
            _ => sentence(code).into(),
        },
    }
}

/// What is the same for everybody.
fn sentence(code: &'static str) -> &'static str {
    match code {
        "timeout" => "the brokers did not acknowledge the record before the deadline",
        "connection_closed" => "the broker closed the connection before it was let in",
        "authentication_rejected" => "the brokers refuse this user, password, token or mechanism",
        "topic_refused" => "the brokers take nothing for this topic",
        "too_large" => "the record is larger than the topic takes (`max.message.bytes`)",
        "record_refused" => "the brokers refuse this record",
        "not_enough_replicas" => "fewer replicas are in sync than the topic wants",
        "throttled" => "the brokers ask for less",
        "broker_unavailable" => "the partition has no leader now, or its broker cannot write",
        "producer_lost" => {
            "the brokers do not know this producer any more; the next call makes a new one"
        }
        "undecided" => "the call ended before it was clear what became of this record",
        "internal" => "the queue to the brokers is full",
        _ => "the brokers answered with an error",
    }
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Class;

    use super::*;
    use crate::failure::FAILURES;

    fn names() -> Names {
        Names {
            topic: "events".into(),
            user: Some("o'hara".into()),
        }
    }

    fn class(failure: Failure) -> (Class, Fault) {
        let verdict = verdict(&failure, &names());
        (verdict.class(), verdict.fault().unwrap().clone())
    }

    #[test]
    fn every_number_has_its_meaning() {
        use Class::{Permanent, Suspended, Transient};
        let table: &[(i32, &str, Class)] = &[
            (3, "topic_missing", Suspended),
            (-188, "topic_missing", Suspended),
            (-190, "topic_missing", Suspended),
            (29, "topic_denied", Suspended),
            (31, "idempotence_denied", Suspended),
            (17, "topic_refused", Suspended),
            (58, "authentication_rejected", Suspended),
            (10, "too_large", Permanent),
            (18, "too_large", Permanent),
            (87, "record_refused", Permanent),
            (32, "record_refused", Permanent),
            (44, "record_refused", Permanent),
            (19, "not_enough_replicas", Transient),
            (20, "not_enough_replicas", Transient),
            (89, "throttled", Transient),
            (7, "timeout", Transient),
            (-192, "timeout", Transient),
            (5, "broker_unavailable", Transient),
            (6, "broker_unavailable", Transient),
            (56, "broker_unavailable", Transient),
            (45, "producer_lost", Transient),
            (47, "producer_lost", Transient),
            (59, "producer_lost", Transient),
            (-150, "producer_lost", Transient),
            (-151, "undecided", Transient),
            (-152, "undecided", Transient),
            (-184, "internal", Transient),
            (9999, "kafka_error", Transient),
            (-1, "kafka_error", Transient),
        ];
        for (code, expected, of) in table {
            let (class, fault) = class(Failure::Record(*code));
            assert_eq!((&*fault.code, class), (*expected, *of), "{code}");
        }
    }

    #[test]
    fn every_failure_is_declared_with_its_class() {
        let network = pushrail_egress::Failure::AddressBlocked;
        let mut all = vec![
            Failure::Timeout,
            Failure::Network(network),
            Failure::Closed,
            Failure::Authentication,
            Failure::TokenRefused("x".into()),
            Failure::TokenUnavailable("x".into()),
            Failure::TokenInvalid("x"),
            Failure::Undecided,
            Failure::Fatal,
            Failure::Local("x"),
        ];
        all.extend((-200..200).map(Failure::Record));
        for failure in all {
            let (class, fault) = class(failure.clone());
            let declared = FAILURES.iter().find(|f| f.code == fault.code);
            let declared = declared.unwrap_or_else(|| panic!("{failure:?}"));
            assert_eq!(declared.class, class, "{failure:?}");
            assert!(!fault.detail.is_empty());
        }
    }

    #[test]
    fn what_mends_a_missing_right_can_be_pasted() {
        let (_, fault) = class(Failure::Record(29));
        assert!(
            fault.detail.contains("--allow-principal 'User:o'\\''hara' --operation Write --operation Describe --topic 'events'"),
            "{fault}"
        );
    }

    #[test]
    fn evidence_says_where_records_are_and_stays_short() {
        let at = |partition, offset| Ok(Place { partition, offset });
        let fates = [
            at(1, 7),
            at(0, 3),
            at(1, 9),
            Err(Failure::Timeout),
            at(1, 8),
        ];
        assert_eq!(
            places(&fates),
            "partition 0: offset 3\npartition 1: offsets 7 to 9\n"
        );
        let many: Vec<_> = (0..2_000).map(|n| at(n, i64::MAX - i64::from(n))).collect();
        let text = places(&many);
        assert!(text.len() <= Evidence::EXCERPT_LEN_MAX, "{}", text.len());
        assert!(text.ends_with("and 1984 further partitions\n"));
    }
}
