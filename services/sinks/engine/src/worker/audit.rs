//! From a conclusion to its audit record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pushrail_clock as clock;
use pushrail_privacy::{Privacy, Shown};
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_shred::{PayloadKey, part};
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

/// How much of a delivery is shown.
#[derive(Clone, Copy)]
pub(super) struct Showing<'a> {
    pub(super) privacy: &'a Privacy,
    /// Of an event that is sealed, where it is there.
    pub(super) key: Option<&'a PayloadKey>,
}

/// Appends the record to `out`, as far as it may be shown; sealed where the event is.
pub(super) fn write(
    conclusion: &Conclusion,
    outcome: Outcome,
    showing: Showing<'_>,
    kind: &str,
    schema_id: u32,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) {
    let (record, delivery) = (&conclusion.item.record, &conclusion.item.record.delivery);
    let Showing { privacy, key } = showing;
    let made = conclusion.attempt.as_ref();
    let evidence = made.map(|m| &m.evidence);
    // What waits is shown when it is tried. Sealing costs several times what delivering does, so it is done once: an
    // earlier attempt has it on record.
    let shown = outcome != Outcome::Queued && !(privacy.seals() && delivery.attempt > 0);
    let sealing = record.event.sealing();
    let shown = match (shown, sealing) {
        (true, None) => privacy.payload(record.event.payload()),
        (true, Some(_)) => privacy.sealed(record.event.payload(), key),
        (false, _) => Shown::OMITTED,
    };
    let headers = privacy.response(evidence.and_then(|e| e.headers.as_deref()));
    let excerpt = privacy.response(evidence.map(|e| &*e.excerpt).filter(|e| !e.is_empty()));
    let fault = conclusion.fault.as_ref();
    // What was answered, and what was put together of it, may repeat what was sent.
    let (sealed_headers, sealed_excerpt) = match sealing {
        None => (None, None),
        Some(_) => (
            headers.and_then(|text| {
                let sealed = key?.sealed(part::RESPONSE_HEADERS, text.as_bytes());
                Some(STANDARD.encode(sealed.ok()?))
            }),
            excerpt.and_then(|bytes| key?.sealed(part::RESPONSE_EXCERPT, bytes).ok()),
        ),
    };
    let (headers, excerpt, error) = match sealing {
        None => (
            headers,
            excerpt,
            fault.and_then(|f| privacy.error(&f.detail)),
        ),
        Some(_) => (
            sealed_headers.as_deref(),
            sealed_excerpt.as_deref(),
            fault.and_then(|f| Privacy::OFF.error(&f.detail)),
        ),
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
        error,
        response_headers: headers,
        response_excerpt: excerpt,
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
        subject_id: record.event.subject_id(),
        sealing,
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
