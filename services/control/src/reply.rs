//! Answers, and the problems that every operation can have.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use pushrail_admin::FieldError;
use pushrail_http::Problem;
use serde::Serialize;

/// A good answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    body: Content,
    pub(crate) media: &'static str,
    /// The revision of what is shown.
    pub(crate) revision: Option<i64>,
}

#[derive(Debug)]
enum Content {
    /// Empty where there is nothing to say.
    Bytes(Vec<u8>),
    /// What goes on after the request is done.
    Stream(Body),
}

const JSON: &str = "application/json";

impl Reply {
    pub(crate) fn ok(body: &impl Serialize) -> Result<Reply, Problem> {
        Self::with(StatusCode::OK, body)
    }

    pub(crate) fn created(body: &impl Serialize) -> Result<Reply, Problem> {
        Self::with(StatusCode::CREATED, body)
    }

    /// It will be done.
    pub(crate) fn accepted(body: &impl Serialize) -> Result<Reply, Problem> {
        Self::with(StatusCode::ACCEPTED, body)
    }

    pub(crate) fn nothing() -> Result<Reply, Problem> {
        Ok(Reply {
            status: StatusCode::NO_CONTENT,
            body: Content::Bytes(Vec::new()),
            media: JSON,
            revision: None,
        })
    }

    /// What is made while it is read. An error ends the answer early, so that its reader sees that there is more.
    pub(crate) fn stream<E>(
        media: &'static str,
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Reply
    where
        E: Into<axum::BoxError> + 'static,
    {
        Reply {
            status: StatusCode::OK,
            body: Content::Stream(Body::from_stream(pieces)),
            media,
            revision: None,
        }
    }

    /// All of it; `None` where it is a stream.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Content::Bytes(bytes) => Some(bytes),
            Content::Stream(_) => None,
        }
    }

    fn with(status: StatusCode, body: &impl Serialize) -> Result<Reply, Problem> {
        Ok(Reply {
            status,
            body: Content::Bytes(serde_json::to_vec(body).map_err(|_| internal())?),
            media: JSON,
            revision: None,
        })
    }

    pub(crate) fn revision(mut self, revision: i64) -> Reply {
        self.revision = Some(revision);
        self
    }

    /// What was answered before.
    pub(crate) fn again(status: StatusCode, body: Vec<u8>) -> Reply {
        Reply {
            status,
            body: Content::Bytes(body),
            media: JSON,
            revision: None,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let body = match self.body {
            Content::Bytes(bytes) => Body::from(bytes),
            Content::Stream(body) => body,
        };
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        }
        // Nothing here is anybody else's to keep.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(revision) = self.revision
            && let Ok(value) = HeaderValue::try_from(format!("\"{revision}\""))
        {
            headers.insert(header::ETAG, value);
        }
        response
    }
}

pub(crate) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something is wrong on our side",
    )
    .detail("nothing was changed; the operator's log says what happened")
}

/// What the database has to say. A caller learns whether to try again, and nothing of tables.
pub(crate) fn store(error: pushrail_store::Error) -> Problem {
    use pushrail_store::Error;
    match error {
        Error::Unavailable(error) => {
            tracing::warn!(%error, "control.database_unavailable");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "database-unavailable",
                "The database can't be reached",
            )
            .detail("nothing was changed; deliveries go on; try again in a moment")
            .retry_after(1)
        }
        Error::Undecided(error) => {
            tracing::warn!(%error, "control.commit_undecided");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "database-lost",
                "The connection to the database broke off",
            )
            .detail(
                "the request may or may not have been carried out; look before you try again, or send it again with the \
                 Idempotency-Key that it had",
            )
            .retry_after(1)
        }
        Error::Serialization => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "try-again",
            "Somebody else changed it at the same time",
        )
        .detail("nothing was changed; try again")
        .retry_after(1),
        Error::Slow => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too-much",
            "There is too much to look through",
        )
        .detail("ask for less: name a destination or a customer, a state, or a shorter window with since and until"),
        Error::Conflict(constraint) => {
            tracing::info!(constraint, "control.conflict");
            conflict("it is there already")
        }
        Error::Value(error) => {
            tracing::info!(%error, "control.value_refused");
            field(
                "request",
                "has a value that can't be kept: a NUL in a text, or a cursor of another list",
            )
        }
        error => {
            tracing::error!(%error, "control.database_error");
            internal()
        }
    }
}

pub(crate) fn conflict(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", "It is there already").detail(detail)
}

/// Also where it is somebody else's: nobody learns which.
pub(crate) fn not_found(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is none")
        .detail(format!("there is no such {what}, or it is not yours"))
}

pub(crate) fn invalid(errors: Vec<FieldError>) -> Problem {
    let problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-request",
        "The request can't be carried out as it is",
    )
    .detail("nothing was changed; each error names a field and what it should be");
    errors.into_iter().fold(problem, |problem, error| {
        problem.field(error.field, error.message)
    })
}

pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Problem {
    invalid(vec![FieldError::new(field, message)])
}

pub(crate) fn admin(error: pushrail_admin::Error) -> Problem {
    match error {
        pushrail_admin::Error::Invalid(errors) => invalid(errors),
        pushrail_admin::Error::Crypto(error) => {
            tracing::error!(%error, "control.crypto_error");
            internal()
        }
    }
}
