//! The last requests, for a person to look at.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

/// Requests kept, and bytes of each one's body.
const REQUESTS_MAX: usize = 100;
const BODY_LEN_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Received {
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    total: u64,
    last: VecDeque<Request>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    at: String,
    method: String,
    path: String,
    /// `None` while it hangs.
    status: Option<u16>,
    headers: serde_json::Map<String, Value>,
    /// JSON where it is JSON, else text, cut off where it is long.
    body: Value,
}

impl Received {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
        status: Option<StatusCode>,
    ) {
        let value =
            |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let request = Request {
            at: now(),
            method: method.to_string(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            status: status.map(|status| status.as_u16()),
            headers: headers
                .iter()
                .map(|(name, v)| (name.to_string(), Value::String(value(v))))
                .collect(),
            body: shown_body(body),
        };
        let mut requests = self.requests();
        requests.total += 1;
        if requests.last.len() == REQUESTS_MAX {
            requests.last.pop_back();
        }
        requests.last.push_front(request);
    }

    pub(super) fn forget(&self) {
        *self.requests() = Requests::default();
    }
}

fn now() -> String {
    let now = jiff::Timestamp::from_microsecond(pushrail_clock::now_us());
    now.map(|at| at.to_string()).unwrap_or_default()
}

fn shown_body(body: &Bytes) -> Value {
    if body.len() <= BODY_LEN_MAX {
        return serde_json::from_slice(body)
            .unwrap_or_else(|_| String::from_utf8_lossy(body).into());
    }
    format!(
        "{}… ({} bytes)",
        String::from_utf8_lossy(&body[..BODY_LEN_MAX]),
        body.len()
    )
    .into()
}

pub(super) fn shown(received: &Received) -> Response {
    let (total, last) = {
        let requests = received.requests();
        (requests.total, requests.last.clone())
    };
    let shown = serde_json::json!({ "total": total, "last": last });
    let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}
