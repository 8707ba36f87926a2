//! From a conclusion to its audit record.

use pushrail_clock as clock;
use pushrail_privacy::{Privacy, Shown};
use pushrail_schemas::attempt::{Attempt, Outcome};
use rand::Rng;
use uuid::Uuid;

use crate::core::{Conclusion, Next};

/// What the audit says of a conclusion. A deferral is no attempt; the first of a delivery that has not been tried is in it
/// all the same, so that whoever asks sees that it waits, and why. What has been tried is known to be retried.
pub(super) fn outcome(conclusion: &Conclusion) -> Option<Outcome> {
    match conclusion.next {
        Next::Delivered => Some(Outcome::Delivered),
        Next::Retry { .. } => Some(Outcome::Retrying),
        Next::Dead {
            reason: "suspended",
        } => Some(Outcome::Suspended),
        Next::Dead { .. } => Some(Outcome::Dead),
        Next::Defer { .. } => {
            let delivery = &conclusion.item.record.delivery;
            let first = delivery.attempt == 0 && delivery.deferrals == 0;
            first.then_some(Outcome::Queued)
        }
    }
}

/// Appends the record to `out`, as far as `privacy` shows it.
pub(super) fn write(
    conclusion: &Conclusion,
    outcome: Outcome,
    privacy: &Privacy,
    kind: &str,
    schema_id: u32,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) {
    let (record, delivery) = (&conclusion.item.record, &conclusion.item.record.delivery);
    let made = conclusion.attempt.as_ref();
    let evidence = made.map(|m| &m.evidence);
    // What waits is shown when it is tried. Sealing costs several times what delivering does, so it is done once: an
    // earlier attempt has it on record.
    let shown = outcome != Outcome::Queued && !(privacy.seals() && delivery.attempt > 0);
    let shown = match shown {
        true => privacy.payload(record.event.payload()),
        false => Shown::OMITTED,
    };
    Attempt {
        attempt_id: uuid::Builder::from_random_bytes(rng.random()).into_uuid(),
        tenant_id: &delivery.tenant_id,
        customer_id: delivery.customer_id,
        event_id: delivery.event_id,
        event_type: record.event.event_type(),
        delivery_id: Some(delivery.delivery_id),
        destination_id: Some(delivery.destination_id),
        kind: Some(kind),
        attempt: if made.is_some() { record.attempt } else { 0 },
        outcome,
        class: class(conclusion),
        code: conclusion.fault.as_ref().map(|f| &*f.code),
        status_code: evidence.and_then(|e| e.status_code),
        started_at_us: made.map_or_else(clock::now_us, |m| m.started_at_us),
        latency_us: made.map_or(0, |m| {
            i64::try_from(m.latency.as_micros()).unwrap_or(i64::MAX)
        }),
        error: conclusion
            .fault
            .as_ref()
            .and_then(|f| privacy.error(&f.detail)),
        response_headers: privacy.response(evidence.and_then(|e| e.headers.as_deref())),
        response_excerpt: privacy.response(evidence.map(|e| &*e.excerpt).filter(|e| !e.is_empty())),
        payload: shown.payload.as_deref(),
        payload_form: shown.form,
        next_attempt_at_us: match conclusion.next {
            Next::Retry { not_before_ms } | Next::Defer { not_before_ms, .. } => {
                Some(not_before_ms * 1_000)
            }
            _ => None,
        },
        first_attempt_at_us: conclusion.first_attempt_at_ms.map(|ms| ms * 1_000),
        origin: delivery.origin.as_str(),
        replay_id: delivery.replay_id,
        traceparent: delivery.traceparent.as_deref(),
        received_at_us: Some(record.event.received_at_us()),
    }
    .encode(schema_id, out);
}

fn class(conclusion: &Conclusion) -> &'static str {
    match conclusion.next {
        Next::Delivered => "delivered",
        Next::Retry { .. } => "transient",
        Next::Defer { cause, .. } => cause.as_str(),
        Next::Dead { reason } => reason,
    }
}

/// The key of an audit record: what concerns one destination shares a partition.
pub(super) fn key(destination_id: Uuid, text: &mut [u8; uuid::fmt::Hyphenated::LENGTH]) -> &[u8] {
    destination_id.hyphenated().encode_lower(text).as_bytes()
}
