//! From a body to records: every event judged on its own, nothing written yet.

use pushrail_http::Problem;
use pushrail_schemas::config::Tenant;
use uuid::Uuid;

use super::media::Media;
use crate::catalogue::Catalogue;
use crate::event::{Batch, Envelope, Id};
use crate::input::rules::{Limits, Rejection};
use crate::input::{self, Draft, names::Name};
use crate::json::{Scanner, SyntaxError, Text, shown};
use crate::seals::Seals;

/// What became of each event, in the order they were sent, and the records of those that passed.
pub(super) struct Digest {
    pub(super) results: Vec<Result<Uuid, Rejection>>,
    pub(super) batch: Batch,
    pub(super) rejected: usize,
    /// Errors that are kept.
    errors: usize,
}

/// Errors of one batch beyond which each further event keeps one: the answer must not outgrow the request.
const ERRORS_MAX: usize = 500;

/// How to judge and to write events.
pub(super) struct Context<'a> {
    pub(super) envelope: Envelope<'a>,
    pub(super) limits: &'a Limits,
    pub(super) tenant: &'a Tenant,
    pub(super) catalogue: &'a Catalogue,
    pub(super) seals: &'a Seals,
    pub(super) events_max: usize,
}

/// Why nothing of a body can be taken.
enum Refused {
    Syntax(SyntaxError),
    TooMany,
    Field { field: String, message: String },
}

impl From<SyntaxError> for Refused {
    fn from(error: SyntaxError) -> Self {
        Refused::Syntax(error)
    }
}

/// Reads the one event of a body. `key` is the idempotency key from the head.
pub(super) fn event(
    body: &[u8],
    key: Option<&str>,
    context: &Context<'_>,
) -> Result<Digest, Problem> {
    let text = utf8(body).map_err(malformed)?;
    let mut digest = Digest::new(1, body.len());
    let mut scanner = Scanner::new(text);
    if scanner.peek() == Some(b'[') {
        digest.reject(Rejection::of(
            "event",
            "must be a JSON object, not an array: post several events at once to /v1/events/batch",
        ));
        return Ok(digest);
    }
    let read = digest.read(&mut scanner, key, context);
    read.and_then(|()| scanner.end())
        .map_err(|error| malformed(error.to_string()))?;
    Ok(digest)
}

/// Reads the events of a batch: an array, an object with `events`, or one event a line.
pub(super) fn batch(body: &[u8], media: Media, context: &Context<'_>) -> Result<Digest, Problem> {
    // Few events are smaller than this; a wrong guess costs one more allocation.
    let expected = (body.len() / 128).clamp(1, context.events_max);
    let mut digest = Digest::new(expected, body.len());
    let read = match media {
        Media::Lines => lines(body, &mut digest, context),
        Media::Json => {
            let text = utf8(body).map_err(malformed)?;
            document(text, &mut digest, context)
        }
    };
    match read {
        Ok(()) if digest.results.is_empty() => {
            Err(invalid_batch("events", "must hold at least one event"))
        }
        Ok(()) => Ok(digest),
        Err(Refused::Syntax(error)) => {
            let index = digest.results.len();
            Err(malformed(format!("{error}, near event {index}")))
        }
        Err(Refused::TooMany) => Err(too_many(context.events_max)),
        Err(Refused::Field { field, message }) => Err(invalid_batch(field, message)),
    }
}

fn document(text: &str, digest: &mut Digest, context: &Context<'_>) -> Result<(), Refused> {
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        Some(b'[') => array(&mut scanner, digest, context)?,
        Some(b'{') => {
            let mut found = false;
            scanner.members(|scanner, key| {
                if key.decode().as_deref() != Some("events") {
                    return Err(foreign(&key));
                }
                if std::mem::replace(&mut found, true) {
                    return Err(refused("events", "is there twice: send it once"));
                }
                if scanner.peek() != Some(b'[') {
                    let kind = scanner.value()?.kind.named();
                    return Err(refused("events", &format!("must be an array, not {kind}")));
                }
                array(scanner, digest, context)
            })?;
            if !found {
                return Err(refused("events", "is required: an array of events"));
            }
        }
        _ => {
            let kind = scanner.value()?.kind.named();
            let message =
                format!("must be an array of events, or an object with `events`, not {kind}");
            return Err(refused("body", &message));
        }
    }
    Ok(scanner.end()?)
}

fn array<'a>(
    scanner: &mut Scanner<'a>,
    digest: &mut Digest,
    context: &Context<'_>,
) -> Result<(), Refused> {
    scanner.elements(|scanner| {
        if digest.results.len() == context.events_max {
            return Err(Refused::TooMany);
        }
        Ok(digest.read(scanner, None, context)?)
    })
}

/// Each line stands for itself: one that is no JSON is rejected like any other bad event.
fn lines(body: &[u8], digest: &mut Digest, context: &Context<'_>) -> Result<(), Refused> {
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if digest.results.len() == context.events_max {
            return Err(Refused::TooMany);
        }
        let before = digest.results.len();
        let read = utf8(line).and_then(|text| {
            let mut scanner = Scanner::new(text);
            let read = digest.read(&mut scanner, None, context);
            read.and_then(|()| scanner.end())
                .map_err(|error| error.to_string())
        });
        if let Err(problem) = read {
            digest.take_back(before);
            let message = format!("is not valid JSON: {problem} of line {}", number + 1);
            digest.reject(Rejection::of("event", message));
        }
    }
    Ok(())
}

impl Digest {
    fn new(events: usize, bytes: usize) -> Self {
        Digest {
            results: Vec::with_capacity(events),
            batch: Batch::with_capacity(events, bytes + 96 * events),
            rejected: 0,
            errors: 0,
        }
    }

    /// Reads and judges the event that starts here, and writes its record when it passes.
    fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        key: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(), SyntaxError> {
        let envelope = &context.envelope;
        let now_us = envelope.received_at_us;
        let judged = input::read(scanner, context.limits, now_us)?
            .and_then(|draft| with_key(draft, key))
            .and_then(|draft| context.catalogue.judge(context.tenant, draft));
        match judged {
            Ok(draft) => {
                let id = Id::of_key(envelope.tenant, &draft)
                    .unwrap_or_else(|| Id::new(now_us.div_euclid(1_000)));
                let written = self.batch.push(envelope, &draft, id, |customer_id| {
                    context
                        .seals
                        .of(context.tenant, &draft, customer_id, id.uuid)
                });
                match written {
                    Ok(()) => self.results.push(Ok(id.uuid)),
                    Err(rejection) => self.reject(rejection),
                }
            }
            Err(rejection) => self.reject(rejection),
        }
        Ok(())
    }

    fn reject(&mut self, mut rejection: Rejection) {
        if self.errors > ERRORS_MAX {
            // The first is enough to see what is wrong with all of them.
            rejection.errors.truncate(1);
        }
        self.errors += rejection.errors.len();
        self.rejected += 1;
        self.results.push(Err(rejection));
    }

    /// Takes back what came after the first `len` results.
    fn take_back(&mut self, len: usize) {
        for result in self.results.drain(len..) {
            match result {
                Ok(_) => self.batch.pop(),
                Err(_) => self.rejected -= 1,
            }
        }
    }
}

/// The key from the head, where the event has none of its own; two that differ are a mistake that nobody can resolve.
fn with_key<'a>(mut draft: Draft<'a>, key: Option<&str>) -> Result<Draft<'a>, Rejection> {
    match (key, &draft.idempotency_key) {
        (Some(head), Some(body)) if head != body => Err(Rejection::of(
            Name::IdempotencyKey.as_str(),
            "differs from the header Idempotency-Key: send one of them",
        )),
        (Some(head), None) => {
            draft.idempotency_key = Some(head.to_owned().into());
            Ok(draft)
        }
        _ => Ok(draft),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes)
        .map_err(|error| format!("text that is not UTF-8 at byte {}", error.valid_up_to()))
}

fn refused(field: &str, message: &str) -> Refused {
    Refused::Field {
        field: field.into(),
        message: message.into(),
    }
}

fn foreign(key: &Text<'_>) -> Refused {
    let key = shown(&key.decode().unwrap_or_else(|| key.inner().into()));
    let message = match Name::of(&key) {
        Ok(_) => {
            "is a field of an event, and a batch is an array of events, or `{\"events\": […]}`: post a single event to /v1/events"
        }
        Err(_) => "is no field of a batch: did you mean `events`?",
    };
    refused(&key, message)
}

fn malformed(problem: impl std::fmt::Display) -> Problem {
    Problem::new(
        http::StatusCode::BAD_REQUEST,
        "malformed-json",
        "The body is not valid JSON",
    )
    .field("body", format!("is not valid JSON: {problem}"))
}

fn invalid_batch(
    field: impl Into<std::borrow::Cow<'static, str>>,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Problem {
    Problem::new(
        http::StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-batch",
        "The batch is not valid",
    )
    .field(field, message)
}

fn too_many(max: usize) -> Problem {
    Problem::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The request is too large",
    )
    .field(
        "events",
        format!("holds more than the {max} events that are allowed: send several batches"),
    )
}
