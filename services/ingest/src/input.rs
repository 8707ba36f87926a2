//! The canonical event as a vendor sends it: reading it from JSON, and the rules that hold wherever it comes in.
//!
//! HTTP and direct publishing share [`rules`]: an event that one of them refuses is refused by the other, in the same
//! words. What is read borrows from the request, and payload and metadata stay the bytes that were sent.
//! Neither id, time of acceptance nor tenant is ever taken from what a vendor wrote.

pub mod names;
pub mod rules;
pub mod time;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::json::{self, Kind, Scanner, SyntaxError, Value};
use names::Name;
use rules::{Limits, Rejection, Rules};

/// An event that passed every rule and waits for its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<'a> {
    pub event_type: Cow<'a, str>,
    pub customer_external_id: Cow<'a, str>,
    /// Microseconds since the Unix epoch; `None` takes the time of acceptance.
    pub occurred_at_us: Option<i64>,
    pub idempotency_key: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    /// A JSON object, as it was sent.
    pub payload: &'a [u8],
    /// A flat JSON object of strings, as it was sent, or `{}`.
    pub metadata: &'a [u8],
    /// Whom it is about.
    pub subject: Option<Cow<'a, str>>,
}

/// What is written where no metadata was sent.
pub const NO_METADATA: &[u8] = b"{}";

/// Reads the event that starts where `scanner` stands. A syntax error concerns the whole document, a rejection only this
/// event: the scanner stands behind it then.
pub fn read<'a>(
    scanner: &mut Scanner<'a>,
    limits: &Limits,
    now_us: i64,
) -> Result<Result<Draft<'a>, Rejection>, SyntaxError> {
    let mut rules = Rules::new(limits, now_us);
    if scanner.peek() != Some(b'{') {
        let value = scanner.value()?;
        let problem = format!("must be a JSON object, not {}", value.kind.named());
        rules.refuse("event", problem);
        return Ok(Err(rules.rejection()));
    }
    let mut sent: [Option<Value<'a>>; Name::COUNT] = Default::default();
    scanner.members::<SyntaxError>(|scanner, key| {
        let value = scanner.value()?;
        let Some(decoded) = key.decode() else {
            rules.refuse(
                "event",
                "has a field whose name holds half a surrogate pair",
            );
            return Ok(());
        };
        match Name::of(&decoded) {
            Ok(name) if sent[name as usize].is_some() => {
                rules.refuse(name.as_str(), "is there twice: send it once");
            }
            Ok(name) => sent[name as usize] = Some(value),
            Err(problem) => rules.refuse(json::shown(&decoded), problem),
        }
        Ok(())
    })?;
    Ok(draft(sent, rules))
}

fn draft<'a>(
    mut sent: [Option<Value<'a>>; Name::COUNT],
    mut rules: Rules<'_>,
) -> Result<Draft<'a>, Rejection> {
    // null is how many serialisers write what is not there.
    let mut take = |name: Name| {
        sent[name as usize]
            .take()
            .filter(|value| value.kind != Kind::Null)
    };
    let event_type = text(take(Name::EventType), Name::EventType, &mut rules);
    let customer = text(
        take(Name::CustomerExternalId),
        Name::CustomerExternalId,
        &mut rules,
    );
    let payload = take(Name::Payload);
    let occurred_at = text(take(Name::OccurredAt), Name::OccurredAt, &mut rules);
    let idempotency_key = text(take(Name::IdempotencyKey), Name::IdempotencyKey, &mut rules);
    let source = text(take(Name::Source), Name::Source, &mut rules);
    let metadata = take(Name::Metadata);
    let subject = text(take(Name::Subject), Name::Subject, &mut rules);

    rules.event_type(event_type.as_deref());
    rules.customer_external_id(customer.as_deref());
    rules.payload(payload.as_ref());
    let occurred_at_us = occurred_at.and_then(|text| rules.occurred_at_text(&text));
    rules.idempotency_key(idempotency_key.as_deref());
    rules.source(source.as_deref());
    rules.metadata(metadata.as_ref());
    rules.subject(subject.as_deref());
    let (Some(event_type), Some(customer_external_id), Some(payload)) =
        (event_type, customer, payload)
    else {
        return Err(rules.rejection());
    };
    rules.passed(Draft {
        event_type,
        customer_external_id,
        occurred_at_us,
        idempotency_key,
        source,
        payload: payload.raw.as_bytes(),
        metadata: metadata.map_or(NO_METADATA, |value| value.raw.as_bytes()),
        subject,
    })
}

/// The text of a field that has to be a string.
fn text<'a>(value: Option<Value<'a>>, name: Name, rules: &mut Rules<'_>) -> Option<Cow<'a, str>> {
    let value = value?;
    let text = value.text();
    if text.is_none() {
        rules.refuse(
            name.as_str(),
            match value.flaw {
                Some(flaw) if value.kind == Kind::String => flaw.to_string(),
                _ => format!("must be a string, not {}", value.kind.named()),
            },
        );
        rules.seen(name);
    }
    text
}
