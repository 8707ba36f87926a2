//! What a request is answered when its events were read: JSON of results, or a problem that carries them.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pushrail_http::Problem;
use uuid::Uuid;

use crate::input::rules::{Cause, Rejection};

/// Seconds after which a request that Kafka did not confirm is worth repeating.
const RETRY_UNCONFIRMED_S: u32 = 2;

/// An accepted event.
pub(super) fn accepted(event_id: Uuid, received_at: &str) -> Response {
    let id = event_id.hyphenated();
    json(
        StatusCode::ACCEPTED,
        format!("{{\"eventId\":\"{id}\",\"receivedAt\":\"{received_at}\"}}"),
    )
}

/// A rejected event.
pub(super) fn rejected(rejection: Rejection) -> Problem {
    let problem = match rejection.cause {
        Cause::TooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request is too large",
        ),
        Cause::NotNow => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-sealed",
            "The event can't be sealed at the moment",
        )
        .retry_after(RETRY_UNCONFIRMED_S),
        Cause::Invalid | Cause::Schema | Cause::Uncatalogued => {
            invalid("invalid-event", "The event is not valid")
        }
    };
    rejection
        .errors
        .into_iter()
        .fold(problem, |problem, error| {
            problem.field(error.field, error.message)
        })
}

/// Events whose fate is not known.
pub(super) fn unconfirmed() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-confirmed",
        "Kafka did not confirm in time",
    )
    .detail("what was not confirmed may or may not be accepted; send it again after the time in Retry-After: with the same idempotencyKey a repeat within the deduplication window is delivered once")
    .retry_after(RETRY_UNCONFIRMED_S)
}

/// Kafka does not answer, and nothing was tried.
pub(super) fn unavailable() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "kafka-unavailable",
        "Kafka does not answer",
    )
    .detail("nothing of this request was accepted; send it again after the time in Retry-After")
    .retry_after(RETRY_UNCONFIRMED_S)
}

/// What became of each event of a batch.
pub(super) struct Results<'a> {
    pub(super) results: &'a [Result<Uuid, Rejection>],
    pub(super) rejected: usize,
    /// Places among the accepted ones of those that Kafka did not confirm, ascending.
    pub(super) unconfirmed: &'a [u16],
    pub(super) received_at: &'a str,
}

impl Results<'_> {
    pub(super) fn into_response(self) -> Response {
        let accepted = self.results.len() - self.rejected - self.unconfirmed.len();
        if !self.unconfirmed.is_empty() {
            return self.with_problem(unconfirmed());
        }
        match (accepted, self.rejected) {
            (0, _) => self.with_problem(
                invalid("invalid-batch", "No event of the batch is valid")
                    .detail("nothing was accepted; `results` says what is wrong with each event"),
            ),
            (_, 0) => json(StatusCode::ACCEPTED, format!("{{{}}}", self.members())),
            _ => json(StatusCode::MULTI_STATUS, format!("{{{}}}", self.members())),
        }
    }

    /// The problem, with the results as members of their own (RFC 9457 §3.2).
    fn with_problem(&self, problem: Problem) -> Response {
        let mut text = problem.to_json().to_string();
        text.truncate(text.len() - 1);
        let text = format!("{text},{}}}", self.members());
        let mut response = problem.into_response();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(text);
        response
    }

    /// The members of a JSON object, without its braces.
    fn members(&self) -> String {
        let accepted = self.results.len() - self.rejected - self.unconfirmed.len();
        let mut text = String::with_capacity(96 + self.results.len() * 96);
        let _ = write!(
            text,
            "\"accepted\":{accepted},\"rejected\":{}",
            self.rejected
        );
        if !self.unconfirmed.is_empty() {
            let _ = write!(text, ",\"unconfirmed\":{}", self.unconfirmed.len());
        }
        let _ = write!(
            text,
            ",\"receivedAt\":\"{}\",\"results\":[",
            self.received_at
        );
        let mut unconfirmed = self.unconfirmed.iter().peekable();
        let mut sent = 0u16;
        let mut id_text = Uuid::encode_buffer();
        for (index, result) in self.results.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            match result {
                Ok(id) => {
                    let status = match unconfirmed.next_if(|place| **place == sent) {
                        Some(_) => "unconfirmed",
                        None => "accepted",
                    };
                    sent += 1;
                    // Piece by piece: formatting machinery would cost as much as reading the event.
                    text.push_str("{\"index\":");
                    text.push_str(itoa::Buffer::new().format(index));
                    text.push_str(",\"status\":\"");
                    text.push_str(status);
                    text.push_str("\",\"eventId\":\"");
                    text.push_str(id.hyphenated().encode_lower(&mut id_text));
                    text.push_str("\"}");
                }
                Err(rejection) => {
                    let errors = serde_json::to_string(&rejection.errors).unwrap_or_default();
                    let _ = write!(
                        text,
                        "{{\"index\":{index},\"status\":\"rejected\",\"errors\":{errors}}}"
                    );
                }
            }
        }
        text.push(']');
        text
    }
}

fn invalid(kind: &'static str, title: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title)
}

fn json(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
