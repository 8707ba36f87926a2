//! A record of Kafka, kept until its batch is written.

use std::borrow::Cow;

use pushrail_schemas::attempt::Attempt;
use pushrail_schemas::event::Event;
use pushrail_schemas::headers::{self, Delivery};
use pushrail_schemas::wire::DecodeError;
use pushrail_store::log::Micros;
use pushrail_store::log::write::DeadLetter;

/// A record of `audit.attempts`.
#[derive(Debug)]
pub(crate) struct Audited(Vec<u8>);

impl Audited {
    /// Takes a value that can be read.
    pub(crate) fn new(value: &[u8]) -> Result<Self, DecodeError> {
        let attempt = Attempt::parse(value)?;
        let texts = [
            Some(attempt.event_type),
            attempt.error,
            attempt.response_headers,
            attempt.code,
        ];
        if !texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Ok(Audited(value.to_vec()));
        }
        // PostgreSQL keeps every character but this one.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let (event_type, error) = (clean(attempt.event_type), attempt.error.map(clean));
        let (headers, code) = (attempt.response_headers.map(clean), attempt.code.map(clean));
        let attempt = Attempt {
            event_type: &event_type,
            error: error.as_deref(),
            response_headers: headers.as_deref(),
            code: code.as_deref(),
            ..attempt
        };
        let mut value = Vec::new();
        attempt.encode(0, &mut value);
        Ok(Audited(value))
    }

    /// `None` never: it has been read before.
    pub(crate) fn attempt(&self) -> Option<Attempt<'_>> {
        Attempt::parse(&self.0).ok()
    }
}

/// Where a dead letter lies.
pub(crate) struct Place<'a> {
    pub(crate) kind: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Kafka's own time of the record.
    pub(crate) timestamp_ms: i64,
}

/// Reads a record of `dlq.<kind>`; says what is wrong with one that is nobody's.
pub(crate) fn dead_letter(
    place: &Place<'_>,
    value: &[u8],
    pairs: &[(&str, &[u8])],
) -> Result<DeadLetter, String> {
    let delivery = Delivery::parse(pairs.iter().copied()).map_err(|problem| problem.to_string())?;
    let event = Event::parse(value.to_vec().into()).map_err(|problem| problem.to_string())?;
    let text = |name: &str| {
        let value = pairs.iter().find(|(key, _)| *key == name);
        let text = value.map_or(Cow::Borrowed(""), |(_, value)| {
            String::from_utf8_lossy(value)
        });
        text.replace('\0', "\u{fffd}")
    };
    let failed_at_ms = text(headers::FAILED_AT)
        .parse()
        .unwrap_or(place.timestamp_ms);
    Ok(DeadLetter {
        kind: place.kind.to_owned(),
        partition: place.partition,
        offset: place.offset,
        tenant_id: delivery.tenant_id.to_string(),
        customer_id: delivery.customer_id,
        destination_id: delivery.destination_id,
        delivery_id: delivery.delivery_id,
        event_id: delivery.event_id,
        event_type: event.event_type().replace('\0', "\u{fffd}"),
        received_at: Micros(event.received_at_us()),
        dead_at: Micros(failed_at_ms * 1_000),
        attempts: delivery.attempt,
        reason: text(headers::FAILURE_REASON),
        code: text(headers::FAILURE_CODE),
        detail: text(headers::FAILURE_DETAIL),
        value_len: value.len(),
        subject_id: event.subject_id(),
        sealed: event.sealing().is_some(),
    })
}

#[cfg(test)]
mod tests {
    use pushrail_schemas::attempt::Outcome;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_the_database_cannot_keep_is_replaced() {
        let attempt = Attempt {
            attempt_id: Uuid::nil(),
            tenant_id: "acme",
            customer_id: Uuid::nil(),
            event_id: Uuid::nil(),
            event_type: "order.completed",
            delivery_id: None,
            destination_id: None,
            kind: None,
            attempt: 1,
            outcome: Outcome::Dead,
            class: "permanent",
            code: Some("http_400"),
            status_code: Some(400),
            started_at_us: 1,
            latency_us: 2,
            error: Some("a\0b"),
            response_headers: Some("x: \0"),
            response_excerpt: Some(b"\0"),
            payload: Some(b"\0"),
            payload_form: "json",
            next_attempt_at_us: None,
            first_attempt_at_us: None,
            origin: "live",
            replay_id: None,
            traceparent: None,
            received_at_us: None,
            subject_id: None,
            sealing: None,
        };
        let mut value = Vec::new();
        attempt.encode(7, &mut value);
        let kept = Audited::new(&value).unwrap();
        let kept = kept.attempt().unwrap();
        assert_eq!(
            (kept.error, kept.response_headers, kept.payload),
            (Some("a\u{fffd}b"), Some("x: \u{fffd}"), attempt.payload)
        );
    }
}
