//! Posts events to ingest over kept connections, one at a time or in batches, and insists until they are accepted.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode, Uri};
use tokio::time::Instant;

use super::Pace;
use crate::http::Connection;
use crate::sample;

/// Longest that one request may take before it is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What to post.
#[derive(Clone, Debug)]
pub struct Load {
    pub ingest: SocketAddr,
    pub api_key: String,
    pub connections: usize,
    /// Number of the first event; numbers are in payloads and idempotency keys.
    pub first: u64,
    pub events: u64,
    /// Events in a request; 1 posts to `/v1/events`, more to `/v1/events/batch`.
    pub batch: u64,
    /// Events per second; `None` is flat out.
    pub per_second: Option<f64>,
    pub payload_len: usize,
    /// Events go round robin to the customers `0..customers`.
    pub customers: u32,
    /// Prefix of idempotency keys; without one, events carry none.
    pub keys: Option<String>,
    /// How long to insist on one request.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Numbers of the first event of each accepted request.
    pub accepted: Vec<u64>,
    /// From due to accepted, in microseconds, per request.
    pub latencies_us: Vec<u32>,
    /// Requests that were sent again, after an error, a timeout, a 429 or a 503.
    pub repeats: u64,
    /// Requests that were given up, and the last reason.
    pub given_up: u64,
    pub last_error: Option<String>,
    pub wall: Duration,
}

impl Load {
    /// The idempotency key of event `sequence`.
    pub fn key(&self, sequence: u64) -> Option<String> {
        self.keys
            .as_ref()
            .map(|prefix| format!("{prefix}-{sequence}"))
    }

    /// The number of the customer of event `sequence`.
    pub fn customer(&self, sequence: u64) -> u32 {
        (sequence % u64::from(self.customers)) as u32
    }

    fn body(&self, first: u64, sent_us: i64) -> Bytes {
        let last = (first + self.batch).min(self.first + self.events);
        let mut body = String::with_capacity((last - first) as usize * (self.payload_len + 192));
        for sequence in first..last {
            let customer = sample::customer(self.customer(sequence));
            let _ = write!(
                body,
                r#"{{"eventType":"{}","customerExternalId":"{customer}""#,
                sample::EVENT_TYPE
            );
            if let Some(key) = self.key(sequence) {
                let _ = write!(body, r#","idempotencyKey":"{key}""#);
            }
            let payload = sample::payload(sequence, sent_us, self.payload_len);
            let _ = write!(body, r#","payload":{payload}}}"#);
            if self.batch > 1 {
                body.push('\n');
            }
        }
        Bytes::from(body)
    }
}

struct Shared {
    load: Load,
    pace: Pace,
    next: Cell<u64>,
    headers: HeaderMap,
    path: Uri,
    sent: RefCell<Sent>,
}

/// Posts everything and returns when the last request was accepted or given up. Wants a `LocalSet`.
pub async fn run(load: Load) -> anyhow::Result<Sent> {
    let mut headers = HeaderMap::new();
    let media = if load.batch > 1 {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(HOST, HeaderValue::from_str(&load.ingest.to_string())?);
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {}", load.api_key))?,
    );
    let path = if load.batch > 1 {
        "/v1/events/batch"
    } else {
        "/v1/events"
    };
    let shared = Rc::new(Shared {
        pace: Pace::start(load.per_second),
        next: Cell::new(0),
        headers,
        path: Uri::from_static(path),
        sent: RefCell::default(),
        load,
    });
    let started = Instant::now();
    let workers =
        (0..shared.load.connections).map(|_| tokio::task::spawn_local(post_all(shared.clone())));
    for finished in futures::future::join_all(workers).await {
        finished?;
    }
    let mut sent = shared.sent.take();
    sent.wall = started.elapsed();
    Ok(sent)
}

async fn post_all(shared: Rc<Shared>) {
    let mut connection = None;
    while shared.next.get() < shared.load.events {
        let n = shared.next.replace(shared.next.get() + shared.load.batch);
        let due_us = shared.pace.due(n).await;
        let first = shared.load.first + n;
        let body = shared.load.body(first, due_us);
        let outcome = insist(&shared, &mut connection, body).await;
        let mut sent = shared.sent.borrow_mut();
        match outcome {
            Ok(()) => {
                sent.accepted.push(first);
                sent.latencies_us
                    .push((pushrail_clock::now_us() - due_us).clamp(0, u32::MAX.into()) as u32);
            }
            Err(error) => {
                sent.given_up += 1;
                sent.last_error = Some(error);
            }
        }
    }
}

/// What one request came to.
enum Step {
    Accepted,
    Again { error: String, after: Duration },
    Refused(String),
}

async fn insist(
    shared: &Shared,
    connection: &mut Option<Connection>,
    body: Bytes,
) -> Result<(), String> {
    let until = Instant::now() + shared.load.patience;
    let mut wait = Duration::from_millis(20);
    loop {
        match post(shared, connection, body.clone()).await {
            Step::Accepted => return Ok(()),
            Step::Refused(error) => return Err(error),
            Step::Again { error, .. } if Instant::now() >= until => return Err(error),
            Step::Again { after, .. } => {
                shared.sent.borrow_mut().repeats += 1;
                tokio::time::sleep(after.max(wait)).await;
                wait = (wait * 2).min(Duration::from_millis(500));
            }
        }
    }
}

async fn post(shared: &Shared, connection: &mut Option<Connection>, body: Bytes) -> Step {
    let again = |error: String| Step::Again {
        error,
        after: Duration::ZERO,
    };
    let mut open = match connection.take() {
        Some(open) => open,
        None => match Connection::open(shared.load.ingest).await {
            Ok(open) => open,
            Err(error) => return again(format!("{error:#}")),
        },
    };
    let posting = open.post(shared.path.clone(), shared.headers.clone(), body);
    let answer = match tokio::time::timeout(REQUEST_TIMEOUT, posting).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return again(error.to_string()),
        Err(_) => return again(format!("no answer within {REQUEST_TIMEOUT:?}")),
    };
    let text = || {
        format!(
            "{}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.first)
        )
    };
    let step = match answer.status {
        StatusCode::ACCEPTED => Step::Accepted,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = answer
                .headers
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok()?.parse().ok());
            Step::Again {
                error: text(),
                after: Duration::from_secs(seconds.unwrap_or(0)),
            }
        }
        status if status.is_server_error() => again(text()),
        _ => Step::Refused(text()),
    };
    *connection = Some(open);
    step
}
