//! Errors as `application/problem+json` (RFC 9457), the same shape from every endpoint.
//!
//! `type` is a stable name to branch on, `detail` a sentence for people, `errors` names each field that is wrong and
//! how to mend it, so that a caller corrects everything in one go.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// What `type` begins with.
pub const TYPE_PREFIX: &str = "urn:pushrail:problem:";

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldProblem>,
    retry_after_s: Option<u32>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// Path in the request, such as `payload` or `events[3].type`.
    pub field: Cow<'static, str>,
    /// What is wrong and what would be right. Never repeats a credential.
    pub message: Cow<'static, str>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

impl Problem {
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// `kind` is the stable end of `type`, in kebab case: `invalid-event`.
    pub fn new(status: StatusCode, kind: &'static str, title: &'static str) -> Self {
        Problem {
            status,
            kind,
            title,
            detail: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// A sentence about this occurrence.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a field that is wrong.
    pub fn field(
        mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.errors.push(FieldProblem {
            field: field.into(),
            message: message.into(),
        });
        self
    }

    /// Tells the caller when to come back, in whole seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name, without its prefix.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn errors(&self) -> &[FieldProblem] {
        &self.errors
    }

    /// The body, to embed where one answer carries several problems (a batch).
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        Body {
            r#type: format!("{TYPE_PREFIX}{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            errors: &self.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(Problem::MEDIA_TYPE),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_answer_names_the_field_and_the_fix() {
        let problem = Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-event",
            "The event is not valid",
        )
        .detail("1 field is wrong")
        .field("payload", "must be a JSON object")
        .retry_after(3);
        let response = problem.clone().into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], Problem::MEDIA_TYPE);
        assert_eq!(response.headers()["retry-after"], "3");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:pushrail:problem:invalid-event",
                "title": "The event is not valid",
                "status": 422,
                "detail": "1 field is wrong",
                "errors": [{"field": "payload", "message": "must be a JSON object"}],
            })
        );
        assert_eq!(problem.to_json(), body);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "No API key");
        assert_eq!(
            problem.to_json().as_object().unwrap().len(),
            3,
            "type, title, status"
        );
        assert_eq!(
            problem.into_response().headers()["www-authenticate"],
            "Bearer"
        );
    }
}
