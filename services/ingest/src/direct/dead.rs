//! A record that cannot become an event: as it was, with the reason in headers.

use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::relay::{Incoming, Outbox, Refusal};
use pushrail_schemas::headers;
use pushrail_topology::topics;

use crate::event::header;
use crate::input::rules::{Cause, Rejection};
use crate::metrics::Reason;

/// Bytes of key, value and headers that a copy may have: what a topic takes, less room for the reason and for framing.
/// A vendor's record can be larger, as brokers measure it compressed; it is cut then, for an unwritable copy would stop
/// the partition for ever.
const COPY_LEN_MAX: usize = 2_000_000;

/// What a copy may have at least, however often it was refused.
const COPY_LEN_MIN: usize = 4_096;

/// Bytes of the explanation.
const DETAIL_LEN_MAX: usize = 1_024;

/// Why a record is dead.
#[derive(Debug)]
pub(super) struct Death {
    /// The header `failure_reason`: `undecodable`, `invalid` or `foreign`.
    pub(super) reason: &'static str,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) counted: Reason,
}

impl Death {
    pub(super) fn foreign(code: &'static str, detail: String) -> Self {
        Death {
            reason: "foreign",
            code,
            detail,
            counted: Reason::Foreign,
        }
    }

    pub(super) fn undecodable(code: &'static str, detail: impl Into<String>) -> Self {
        Death {
            reason: "undecodable",
            code,
            detail: detail.into(),
            counted: Reason::Malformed,
        }
    }
}

/// Whether Kafka will never take the record, or what was made of it, because of what it is.
pub(super) fn refused(record: &Incoming<'_>) -> Option<Death> {
    let refusal = record.refused.filter(Refusal::is_final)?;
    // A topic that is not there is for the operator to mend.
    (!refusal.is_topic_unknown()).then(|| Death {
        reason: "invalid",
        code: "refused_by_kafka",
        detail: format!("Kafka does not take the event: {}", refusal.code),
        counted: Reason::TooLarge,
    })
}

impl From<Rejection> for Death {
    fn from(rejection: Rejection) -> Self {
        let errors = rejection.errors.iter();
        let lines: Vec<_> = errors
            .map(|error| format!("{} {}", error.field, error.message))
            .collect();
        let code = match rejection.cause {
            Cause::Invalid => "invalid_event",
            Cause::TooLarge => "too_large",
            Cause::Schema => "schema_not_satisfied",
            Cause::Uncatalogued => "event_type_unknown",
            // Never: the partition is held instead.
            Cause::NotNow => "not_now",
        };
        Death {
            reason: "invalid",
            code,
            detail: lines.join("; "),
            counted: rejection.cause.into(),
        }
    }
}

/// Bytes that a copy may have after the record has been refused `times`: the first refusal may have been of the event.
fn copy_len_max(times: u32) -> usize {
    let shift = times.saturating_sub(1).saturating_mul(3).min(31);
    (COPY_LEN_MAX >> shift).max(COPY_LEN_MIN)
}

/// Writes `record` to `dlq.direct`.
pub(super) fn bury(record: &Incoming<'_>, death: &Death, now_ms: i64, out: &mut Outbox) {
    let key = record.key.unwrap_or_default();
    let value = record.value.unwrap_or_default();
    // Nobody but us says why a record is dead.
    let kept = || {
        let ours = |name: &str| name.starts_with("failure_") || name == headers::FAILED_AT;
        record.headers().filter(move |(name, _)| !ours(name))
    };
    let headers_len: usize = kept().map(|(name, value)| name.len() + value.len()).sum();
    let len_max = copy_len_max(record.refused.map_or(0, |refusal| refusal.times));
    let whole = key.len() + value.len() + headers_len <= len_max;
    let mut copy = OwnedHeaders::new();
    let (mut key_len, mut value_len) = (key.len(), value.len());
    let mut detail = cut(&death.detail, DETAIL_LEN_MAX).to_owned();
    if whole {
        for (name, value) in kept() {
            copy = copy.insert(Header {
                key: name,
                value: Some(value),
            });
        }
    } else {
        key_len = key_len.min(len_max / 2);
        value_len = value_len.min(len_max - key_len);
        detail.push_str(&format!(
            " (too large to be kept whole: key {} bytes, value {} bytes, headers {headers_len} bytes)",
            key.len(),
            value.len(),
        ));
    }
    let source = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    for (name, text) in [
        (headers::FAILURE_REASON, death.reason),
        (headers::FAILURE_CODE, death.code),
        (headers::FAILURE_DETAIL, &detail),
        (headers::FAILURE_SOURCE, &source),
        (headers::FAILED_AT, &now_ms.to_string()),
    ] {
        copy = copy.insert(header(name, text));
    }
    let value = record.value.map(|value| &value[..value_len]);
    out.send(topics::DLQ_DIRECT, &key[..key_len], value, copy);
}

/// The beginning of `text`, at most `len_max` bytes, ending at a character's end.
fn cut(text: &str, len_max: usize) -> &str {
    match text.len() <= len_max {
        true => text,
        false => &text[..text.floor_char_boundary(len_max)],
    }
}
