//! One batch, as one POST to `/batch/`; as several where PostHog refuses some of its events.
//!
//! PostHog takes a request or refuses it whole. So that one poisoned event does not take its neighbours with it, a batch that
//! is refused because of what is in it is halved until those that are refused stand alone: within the same call and its
//! deadline. What is sent twice on the way has the same `uuid`, and is there once.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use pushrail_clock as clock;
use pushrail_egress::Http;
use pushrail_sink_core::{Evidence, Outcome, Record, rfc3339};
use tokio::time::{Instant, timeout_at};

use crate::check::Plan;
use crate::classify::{Reply, classify};
use crate::event::{self, Naming};
use crate::failure::Failure;

const AGENT: &str = concat!("Pushrail/", env!("CARGO_PKG_VERSION"));
/// Longest that an answer is read: PostHog's have some hundred bytes.
const ANSWER_LEN_MAX: usize = 16 * 1024;
/// Longest wait that an answer may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A project. Connections are opened when they are needed, and shared with the other projects of the worker.
pub struct Client {
    http: Arc<Http<Full<Bytes>>>,
    url: Uri,
    /// `{"api_key":"…","historical_migration":false,"sent_at":"`
    head: Vec<u8>,
    key: pushrail_sink_core::Secret,
    naming: Naming,
}

/// What was answered.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(plan: Plan, http: Arc<Http<Full<Bytes>>>) -> Self {
        let mut head = b"{\"api_key\":".to_vec();
        event::string(plan.key.expose(), &mut head);
        head.extend_from_slice(b",\"historical_migration\":false,\"sent_at\":\"");
        Client {
            http,
            url: plan.url,
            head,
            key: plan.key,
            naming: Naming {
                prefix: plan.event_prefix,
                group_type: plan.group_type,
            },
        }
    }

    /// Posts these events; the error is that of all of them.
    async fn post(
        &self,
        events: &[&[u8]],
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<(), Failure> {
        // Nothing is sent that nobody would wait for.
        if deadline <= Instant::now() {
            return Err(Failure::Timeout);
        }
        let call = timeout_at(deadline, self.call(self.body(events))).await;
        let answer = call.unwrap_or(Err(Failure::Timeout))?;
        self.keep(&answer, evidence);
        match answer.status {
            200..=299 => Ok(()),
            status => Err(Failure::Status {
                status,
                retry_after: answer.retry_after,
            }),
        }
    }

    fn body(&self, events: &[&[u8]]) -> Bytes {
        let len = events.iter().map(|event| event.len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(self.head.len() + len + 64);
        body.extend_from_slice(&self.head);
        rfc3339::write(clock::now_us(), &mut body);
        body.extend_from_slice(b"\",\"batch\":[");
        for (place, event) in events.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event);
        }
        body.extend_from_slice(b"]}");
        Bytes::from(body)
    }

    async fn call(&self, body: Bytes) -> Result<Answer, Failure> {
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .body(Full::new(body))
            .map_err(|_| {
                Failure::Network(pushrail_egress::Failure::Local("no request could be made"))
            })?;
        let answer = self.http.call(request, ANSWER_LEN_MAX).await;
        let (head, mut rest) = answer.map_err(Failure::Network)?.into_parts();
        let asked = head.headers.get(RETRY_AFTER);
        let seconds = asked.and_then(|text| text.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        // What it says is in the status; a body that breaks off or does not end says no more.
        while let Some(Ok(frame)) = rest.frame().await {
            if let Ok(data) = frame.into_data() {
                body.extend_from_slice(&data);
            }
        }
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: seconds.map(|s| Duration::from_secs(s).min(RETRY_AFTER_MAX)),
            body,
        })
    }

    /// Keeps the start of an answer, in which the key must not be. A refusal says more than what follows it.
    fn keep(&self, answer: &Answer, evidence: &mut Evidence) {
        let known = evidence.status_code.unwrap_or_default();
        if known >= 300 {
            return;
        }
        evidence.status_code = Some(answer.status);
        let text = String::from_utf8_lossy(&answer.body);
        let mut text = text.replace(self.key.expose(), "***");
        text.truncate(text.floor_char_boundary(Evidence::EXCERPT_LEN_MAX));
        evidence.excerpt = Bytes::from(text);
    }
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let mut records = vec![None; batch.len()];
        let mut evidence = Evidence::default();
        let (mut json, mut events) = (Vec::new(), Vec::with_capacity(batch.len()));
        for (place, record) in batch.iter().enumerate() {
            let start = json.len();
            match event::write(&record.event, &self.naming, &mut json) {
                true => events.push((place, start..json.len())),
                false => records[place] = Some(Failure::Payload),
            }
        }
        let texts: Vec<&[u8]> = events.iter().map(|(_, at)| &json[at.clone()]).collect();
        let mut left: Vec<Range<usize>> = Vec::new();
        if !events.is_empty() {
            left.push(0..events.len());
        }
        let mut set = |range: Range<usize>, failure: &Failure| {
            for (place, _) in &events[range] {
                records[*place] = Some(failure.clone());
            }
        };
        let whole = events.len();
        while let Some(range) = left.pop() {
            let Err(failure) = self
                .post(&texts[range.clone()], deadline, &mut evidence)
                .await
            else {
                continue;
            };
            if failure.is_about_events() && range.len() > 1 {
                let middle = range.start + range.len() / 2;
                left.extend([middle..range.end, range.start..middle]);
                continue;
            }
            let is_alone = failure.is_about_events();
            let failure = match failure {
                Failure::Timeout if range.len() < whole => Failure::Undecided,
                failure => failure,
            };
            set(range, &failure);
            if !is_alone {
                // What holds for the destination holds for the rest; it is not asked again.
                left.drain(..).for_each(|range| set(range, &failure));
            }
        }
        Reply { records, evidence }
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(reply, sent)
    }
}
