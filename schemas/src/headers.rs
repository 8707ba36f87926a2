//! The Kafka headers that carry delivery state.
//!
//! A record's value never changes on its way; where it stands is in its headers, as UTF-8 text, so that any Kafka tool
//! can read it. Times are Unix milliseconds.

use std::fmt::Write as _;

use uuid::Uuid;

pub const DELIVERY_ID: &str = "delivery_id";
pub const EVENT_ID: &str = "event_id";
pub const EVENT_TYPE: &str = "event_type";
pub const TENANT_ID: &str = "tenant_id";
pub const CUSTOMER_ID: &str = "customer_id";
pub const DESTINATION_ID: &str = "destination_id";
/// Destination type; says which `deliver.<kind>` a retried record goes back to.
pub const KIND: &str = "kind";
/// Attempts made so far.
pub const ATTEMPT: &str = "attempt";
/// Times it was put off without an attempt (lane full, breaker open, paused); reset by an attempt.
pub const DEFERRALS: &str = "deferrals";
pub const FIRST_ATTEMPT_AT: &str = "first_attempt_at";
pub const NOT_BEFORE: &str = "not_before";
/// `live`, `replay` or `test`; on `events`: `http` or `direct`.
pub const ORIGIN: &str = "origin";
pub const REPLAY_ID: &str = "replay_id";
pub const TRACEPARENT: &str = "traceparent";
/// `1` when the event's id is derived, so that a repeat can be recognised within the deduplication window.
pub const DEDUPLICATE: &str = "deduplicate";

/// On a dead letter: why. `permanent`, `transient`, `suspended`, `disabled`, `removed`, `undecodable`, `foreign`, `poison`,
/// `erased`.
pub const FAILURE_REASON: &str = "failure_reason";
pub const FAILURE_CODE: &str = "failure_code";
pub const FAILURE_DETAIL: &str = "failure_detail";
pub const FAILED_AT: &str = "failed_at";
/// On a dead letter: topic, partition and offset that it was read from, as `topic/partition/offset`.
pub const FAILURE_SOURCE: &str = "failure_source";

/// Where a delivery came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Live,
    Replay,
    Test,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Live => "live",
            Origin::Replay => "replay",
            Origin::Test => "test",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Origin::Live),
            "replay" => Some(Origin::Replay),
            "test" => Some(Origin::Test),
            _ => None,
        }
    }
}

/// What a delivery carries in its headers, on `deliver.*`, `retry.*` and `dlq.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub tenant_id: Box<str>,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
    /// Attempts made so far: 0 on a record that the router wrote.
    pub attempt: u32,
    pub deferrals: u32,
    /// Unix milliseconds; `None` before the first attempt.
    pub first_attempt_at_ms: Option<i64>,
    /// Unix milliseconds before which the record must not be attempted.
    pub not_before_ms: Option<i64>,
    pub origin: Origin,
    pub replay_id: Option<Uuid>,
    pub traceparent: Option<Box<str>>,
}

/// A header that is missing or unreadable. Names the header, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {header} is {problem}")]
pub struct HeaderError {
    pub header: &'static str,
    pub problem: &'static str,
}

impl Delivery {
    /// Reads a delivery from `(name, value)` pairs in any order. Unknown headers are passed over.
    pub fn parse<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeaderError> {
        let (mut delivery_id, mut event_id, mut customer_id, mut destination_id) =
            (None, None, None, None);
        let (mut tenant_id, mut attempt, mut deferrals) = (None, 0, 0);
        let (mut first_attempt_at_ms, mut not_before_ms) = (None, None);
        let (mut origin, mut replay_id, mut traceparent) = (Origin::Live, None, None);
        for (name, value) in headers {
            match name {
                DELIVERY_ID => delivery_id = Some(parse_uuid(DELIVERY_ID, value)?),
                EVENT_ID => event_id = Some(parse_uuid(EVENT_ID, value)?),
                CUSTOMER_ID => customer_id = Some(parse_uuid(CUSTOMER_ID, value)?),
                DESTINATION_ID => destination_id = Some(parse_uuid(DESTINATION_ID, value)?),
                TENANT_ID => tenant_id = Some(Box::from(parse_text(TENANT_ID, value)?)),
                ATTEMPT => attempt = parse_number(ATTEMPT, value)?,
                DEFERRALS => deferrals = parse_number(DEFERRALS, value)?,
                FIRST_ATTEMPT_AT => {
                    first_attempt_at_ms = Some(parse_number(FIRST_ATTEMPT_AT, value)?)
                }
                NOT_BEFORE => not_before_ms = Some(parse_number(NOT_BEFORE, value)?),
                ORIGIN => {
                    origin = Origin::parse(parse_text(ORIGIN, value)?).ok_or(HeaderError {
                        header: ORIGIN,
                        problem: "not live, replay or test",
                    })?;
                }
                REPLAY_ID => replay_id = Some(parse_uuid(REPLAY_ID, value)?),
                TRACEPARENT => traceparent = Some(Box::from(parse_text(TRACEPARENT, value)?)),
                _ => {}
            }
        }
        let missing = |header| HeaderError {
            header,
            problem: "missing",
        };
        Ok(Delivery {
            delivery_id: delivery_id.ok_or(missing(DELIVERY_ID))?,
            event_id: event_id.ok_or(missing(EVENT_ID))?,
            tenant_id: tenant_id.ok_or(missing(TENANT_ID))?,
            customer_id: customer_id.ok_or(missing(CUSTOMER_ID))?,
            destination_id: destination_id.ok_or(missing(DESTINATION_ID))?,
            attempt,
            deferrals,
            first_attempt_at_ms,
            not_before_ms,
            origin,
            replay_id,
            traceparent,
        })
    }

    /// Hands every header to `put` as text. `scratch` is reused between calls and records. `kind` is for records on their
    /// way to a topic that does not name it, as retry tiers.
    pub fn write(
        &self,
        kind: Option<&str>,
        scratch: &mut String,
        mut put: impl FnMut(&'static str, &str),
    ) {
        let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
        put(
            DELIVERY_ID,
            self.delivery_id.hyphenated().encode_lower(&mut text),
        );
        put(EVENT_ID, self.event_id.hyphenated().encode_lower(&mut text));
        put(TENANT_ID, &self.tenant_id);
        put(
            CUSTOMER_ID,
            self.customer_id.hyphenated().encode_lower(&mut text),
        );
        put(
            DESTINATION_ID,
            self.destination_id.hyphenated().encode_lower(&mut text),
        );
        if let Some(kind) = kind {
            put(KIND, kind);
        }
        let mut number = |name, value: i64| {
            scratch.clear();
            let _ = write!(scratch, "{value}");
            put(name, scratch);
        };
        number(ATTEMPT, self.attempt.into());
        if self.deferrals > 0 {
            number(DEFERRALS, self.deferrals.into());
        }
        if let Some(at) = self.first_attempt_at_ms {
            number(FIRST_ATTEMPT_AT, at);
        }
        if let Some(at) = self.not_before_ms {
            number(NOT_BEFORE, at);
        }
        put(ORIGIN, self.origin.as_str());
        if let Some(id) = self.replay_id {
            put(REPLAY_ID, id.hyphenated().encode_lower(&mut text));
        }
        if let Some(trace) = &self.traceparent {
            put(TRACEPARENT, trace);
        }
    }
}

/// Reads a header's value as UTF-8.
pub fn parse_text<'a>(header: &'static str, value: &'a [u8]) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(value).map_err(|_| HeaderError {
        header,
        problem: "not UTF-8",
    })
}

/// Reads a header's value as a UUID in text form.
pub fn parse_uuid(header: &'static str, value: &[u8]) -> Result<Uuid, HeaderError> {
    Uuid::try_parse_ascii(value).map_err(|_| HeaderError {
        header,
        problem: "not a UUID",
    })
}

/// Reads a header's value as a decimal number.
pub fn parse_number<T: std::str::FromStr>(
    header: &'static str,
    value: &[u8],
) -> Result<T, HeaderError> {
    parse_text(header, value)?.parse().map_err(|_| HeaderError {
        header,
        problem: "not a number",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Delivery {
        Delivery {
            delivery_id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(2),
            tenant_id: "acme".into(),
            customer_id: Uuid::from_u128(3),
            destination_id: Uuid::from_u128(4),
            attempt: 2,
            deferrals: 1,
            first_attempt_at_ms: Some(1_700_000_000_000),
            not_before_ms: Some(1_700_000_001_000),
            origin: Origin::Replay,
            replay_id: Some(Uuid::from_u128(5)),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        }
    }

    fn written(delivery: &Delivery) -> Vec<(String, Vec<u8>)> {
        let mut pairs = Vec::new();
        delivery.write(Some("webhook"), &mut String::new(), |name, value| {
            pairs.push((name.to_owned(), value.as_bytes().to_vec()));
        });
        pairs
    }

    #[test]
    fn what_is_written_reads_back() {
        let pairs = written(&sample());
        let read = Delivery::parse(pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice()))).unwrap();
        assert_eq!(read, sample());
    }

    #[test]
    fn each_required_header_is_named_when_missing_or_garbled() {
        let pairs = written(&sample());
        for required in [
            DELIVERY_ID,
            EVENT_ID,
            TENANT_ID,
            CUSTOMER_ID,
            DESTINATION_ID,
        ] {
            let without = pairs
                .iter()
                .filter(|(n, _)| n != required)
                .map(|(n, v)| (n.as_str(), v.as_slice()));
            assert_eq!(
                Delivery::parse(without).unwrap_err(),
                HeaderError {
                    header: required,
                    problem: "missing"
                }
            );
        }
        for garbled in [DELIVERY_ID, ATTEMPT, NOT_BEFORE, ORIGIN] {
            let broken = pairs
                .iter()
                .map(|(n, v)| (n.as_str(), if n == garbled { b"?".as_slice() } else { v }));
            assert_eq!(Delivery::parse(broken).unwrap_err().header, garbled);
        }
    }
}
