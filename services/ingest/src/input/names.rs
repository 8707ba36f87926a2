//! The names of an event's fields, and what to say about any other.

use std::borrow::Cow;

/// A field that a vendor may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    EventType,
    CustomerExternalId,
    Payload,
    OccurredAt,
    IdempotencyKey,
    Source,
    Metadata,
    Subject,
}

const NAMES: [Name; Name::COUNT] = [
    Name::EventType,
    Name::CustomerExternalId,
    Name::Payload,
    Name::OccurredAt,
    Name::IdempotencyKey,
    Name::Source,
    Name::Metadata,
    Name::Subject,
];

/// What other products call our fields, without case and punctuation.
const ALIASES: [(&str, Name); 18] = [
    ("type", Name::EventType),
    ("event", Name::EventType),
    ("eventname", Name::EventType),
    ("name", Name::EventType),
    ("topic", Name::EventType),
    ("customer", Name::CustomerExternalId),
    ("customerid", Name::CustomerExternalId),
    ("externalid", Name::CustomerExternalId),
    ("userid", Name::CustomerExternalId),
    ("data", Name::Payload),
    ("body", Name::Payload),
    ("properties", Name::Payload),
    ("timestamp", Name::OccurredAt),
    ("time", Name::OccurredAt),
    ("createdat", Name::OccurredAt),
    ("deduplicationid", Name::IdempotencyKey),
    ("meta", Name::Metadata),
    ("tags", Name::Metadata),
];

impl Name {
    pub const COUNT: usize = 8;

    pub fn as_str(self) -> &'static str {
        match self {
            Name::EventType => "eventType",
            Name::CustomerExternalId => "customerExternalId",
            Name::Payload => "payload",
            Name::OccurredAt => "occurredAt",
            Name::IdempotencyKey => "idempotencyKey",
            Name::Source => "source",
            Name::Metadata => "metadata",
            Name::Subject => "subject",
        }
    }

    /// The field called `name`, else why there is none such.
    pub fn of(name: &str) -> Result<Self, Cow<'static, str>> {
        Ok(match name {
            "eventType" => Name::EventType,
            "customerExternalId" => Name::CustomerExternalId,
            "payload" => Name::Payload,
            "occurredAt" => Name::OccurredAt,
            "idempotencyKey" => Name::IdempotencyKey,
            "source" => Name::Source,
            "metadata" => Name::Metadata,
            "subject" => Name::Subject,
            other => return Err(foreign(other)),
        })
    }
}

/// What to say about a field that nobody may send.
fn foreign(name: &str) -> Cow<'static, str> {
    match plain(name).as_str() {
        "eventid" | "id" => "is given by Pushrail on acceptance and never taken from a request: remove it, and send `idempotencyKey` to make repeats recognisable".into(),
        "receivedat" => "is the time of acceptance and never taken from a request: remove it, and send `occurredAt` for the time it happened".into(),
        "tenant" | "tenantid" => "follows from the API key or the topic and is never taken from what was sent: remove it".into(),
        plain => match nearest(plain) {
            Some(name) => format!("is no field of an event: did you mean `{}`?", name.as_str()).into(),
            None => {
                let known: Vec<_> = NAMES.iter().map(|name| name.as_str()).collect();
                format!("is no field of an event: the fields are {}; anything else belongs into `payload` or `metadata`", known.join(", ")).into()
            }
        },
    }
}

fn nearest(name: &str) -> Option<Name> {
    if let Some((_, alias)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*alias);
    }
    let near = NAMES.map(|known| (distance(name, &plain(known.as_str())), known));
    let (distance, known) = near.into_iter().min_by_key(|(distance, _)| *distance)?;
    (distance <= known.as_str().len() / 3).then_some(known)
}

/// Without case and punctuation, and not longer than any name worth comparing.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.take(40).flat_map(char::to_lowercase).collect()
}

/// Letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
