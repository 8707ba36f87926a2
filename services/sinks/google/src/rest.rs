//! Google's REST services: a request with JSON, an answer that is read to a bound.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, IF_MATCH, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use pushrail_egress::{Http, why};
use serde_json::Value;
use std::time::Duration;

use crate::failure::Failure;
use crate::refusal::{RETRY_AFTER_MAX, Refusal};
use crate::source::Token;

/// How requests name us.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Pushrail/", env!("CARGO_PKG_VERSION")));
/// Longest that an answer is read; a table with ten thousand columns has less.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Rest(Http<Full<Bytes>>);

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    headers: HeaderMap,
}

impl Rest {
    pub(crate) fn new(http: Http<Full<Bytes>>) -> Self {
        Rest(http)
    }

    /// One request as the owner of `token`. Any answer below 300 is a success.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        token: &Token,
        if_match: Option<&str>,
        body: &Value,
    ) -> Result<Answer, Failure> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, token.header())
            .header(CONTENT_TYPE, "application/json");
        if let Some(etag) = if_match {
            request = request.header(IF_MATCH, etag);
        }
        let answer = self.send(request, body).await?;
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(Failure::Refused(Box::new(answer.refusal(token)))),
        }
    }

    /// One request without a token; any status is an answer.
    pub(crate) async fn ask(
        &self,
        url: &str,
        content_type: &'static str,
        token: Option<&Token>,
        body: String,
    ) -> Result<Answer, Failure> {
        let mut request = Request::post(url).header(CONTENT_TYPE, content_type);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        self.send(request, body.into()).await
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Answer, Failure> {
        let request = request
            .header(USER_AGENT, AGENT)
            .body(Full::new(body))
            .map_err(|_| Failure::Internal("the request could not be made"))?;
        let answer = self.0.call(request, ANSWER_LEN_MAX).await;
        let (head, body) = answer.map_err(Failure::Connection)?.into_parts();
        let body = body.collect().await.map_err(|error| {
            tracing::debug!(status = head.status.as_u16(), "answer.unreadable");
            Failure::Connection(why(&*error))
        })?;
        Ok(Answer {
            status: head.status.as_u16(),
            body: body.to_bytes(),
            headers: head.headers,
        })
    }
}

impl Answer {
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| Failure::Unreadable {
            status: self.status,
        })
    }

    /// What it says when it says no; nothing of `token` is in it.
    fn refusal(&self, token: &Token) -> Refusal {
        self.refusal_without(&[token.text()])
    }

    pub(crate) fn refusal_without(&self, secrets: &[&str]) -> Refusal {
        let asked = self.headers.get(RETRY_AFTER);
        let seconds = asked.and_then(|text| text.to_str().ok()?.trim().parse().ok());
        let after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        Refusal::from_json(self.status, &self.body, after, secrets)
    }
}
