//! One POST.
//!
//! The deadline covers everything: name, connection, TLS, token, request, response head and response body. A connection
//! that was idle may turn out to be dead; if not a byte of the request was written to it, one fresh connection carries
//! it. If anything was written the call has failed: whether the receiver saw it is not known, and trying again is the
//! engine's to decide.

use std::sync::Arc;

use bytes::Bytes;
use pushrail_egress::{Dialer, Target};
use pushrail_sink_core::{Evidence, Outcome, Record, canonical};
use tokio::time::Instant;
use uuid::fmt::Hyphenated;

use crate::check::Plan;
use crate::classify::{Answer, Reply, classify};
use crate::deadlines::Deadlines;
use crate::failure::{Failure, Phase};
use crate::headers::Fixed;
use crate::http1::{Appetite, Connection, Head, Unsent};
use crate::now_ms;
use crate::oauth::{Grant, Token};
use crate::pool::Pool;
use crate::redact::Sent;
use crate::sign::Signer;

/// Most of a response body that is read to keep its connection; beyond it the connection is closed instead.
const APPETITE: Appetite = Appetite {
    keep: Evidence::EXCERPT_LEN_MAX,
    read: 16 * 1024,
};

/// A connected webhook. Connections are opened when they are needed.
pub struct Client {
    target: Target,
    /// Request line and the headers that are the same on every request.
    start: Box<[u8]>,
    signer: Signer,
    grant: Option<Box<Grant>>,
    /// What every request carries that must not come back.
    sent: Sent,
    dialer: Dialer,
    pool: Pool,
    deadlines: Deadlines,
}

/// How far a call has got, so that a deadline can tell.
#[derive(Default)]
struct Progress {
    phase: Phase,
    answer: Option<Box<Answer>>,
    excerpt: Vec<u8>,
    token: Option<Arc<Token>>,
}

impl Client {
    pub(crate) fn new(plan: Plan, dialer: Dialer) -> Self {
        let Plan {
            target,
            fixed,
            signer,
            grant,
            tls: _,
        } = plan;
        Client {
            start: start(&target, &fixed),
            sent: Sent::new(&fixed),
            target,
            signer,
            grant,
            dialer,
            pool: Pool::default(),
            deadlines: Deadlines::default(),
        }
    }

    async fn post(
        &self,
        record: &Record,
        started: Instant,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let token = match &self.grant {
            None => None,
            Some(grant) => {
                progress.phase = Phase::Authorizing;
                Some(grant.token(&self.dialer).await?)
            }
        };
        progress.token.clone_from(&token);
        let request = self.request(record, token.as_deref());
        let (mut connection, mut head) = self.exchange(request.bytes(), started, progress).await?;
        let status = head.status;
        progress.phase = Phase::Reading;
        if let (401, Some(grant), Some(token)) = (status, &self.grant, &token) {
            grant.forget(token);
        }
        let token_reused = token.as_ref().is_some_and(|token| token.born < started);
        progress.answer = Some(Box::new(Answer {
            status,
            headers: std::mem::take(&mut head.headers),
            excerpt: Bytes::new(),
            retry_after: head.retry_after,
            token_reused,
        }));
        let whole = connection
            .body(&head, APPETITE, &mut progress.excerpt)
            .await?;
        match head.keep {
            Some(idle) if whole && connection.settle() => self.pool.keep(connection, idle),
            _ => connection.close(),
        }
        Ok(())
    }

    /// Sends on an idle connection, or on a new one.
    async fn exchange(
        &self,
        request: &[u8],
        started: Instant,
        progress: &mut Progress,
    ) -> Result<(Connection, Head), Failure> {
        if let Some(mut connection) = self.pool.checkout(started) {
            progress.phase = Phase::Waiting;
            match connection.exchange(request).await {
                Ok(head) => return Ok((connection, head)),
                Err(Unsent::Perhaps(failure)) => return Err(failure),
                Err(Unsent::Nothing(_)) => {}
            }
        }
        progress.phase = Phase::Connecting;
        let mut connection = Connection::over(self.dialer.open(&self.target).await?);
        progress.phase = Phase::Waiting;
        match connection.exchange(request).await {
            Ok(head) => Ok((connection, head)),
            Err(unsent) => Err(unsent.failure()),
        }
    }

    /// The whole request in one buffer. The head says how long the body is and signs it, so it is written last, into a gap
    /// that was left for it.
    fn request(&self, record: &Record, token: Option<&Token>) -> Outgoing {
        let event = &record.event;
        let token = token.map_or(&[][..], |token| token.header.as_bytes());
        let traceparent = record.delivery.traceparent.as_deref().unwrap_or_default();
        let gap = self.start.len()
            + VARIABLE_LEN_MAX
            + self.signer.len()
            + token.len()
            + traceparent.len();
        let mut bytes = Vec::with_capacity(gap + canonical::len_hint(event));
        bytes.extend_from_slice(&self.start);
        bytes.resize(gap, 0);
        canonical::write(event, &mut bytes);

        let mut id = [0u8; Hyphenated::LENGTH];
        let hyphenated = event.event_id().hyphenated();
        let id = hyphenated.encode_lower(&mut id).as_bytes();
        let (mut seconds, mut length) = (itoa::Buffer::new(), itoa::Buffer::new());
        let timestamp = seconds.format(now_ms().div_euclid(1000)).as_bytes();
        let (front, body) = bytes.split_at_mut(gap);
        let length = length.format(body.len()).as_bytes();
        let mut head = Gap {
            bytes: front,
            at: self.start.len(),
        };
        head.put(&[b"webhook-id: ", id]);
        head.put(&[b"\r\nwebhook-timestamp: ", timestamp]);
        head.put(&[b"\r\nx-pushrail-timestamp: ", timestamp]);
        head.put(&[b"\r\nwebhook-signature: "]);
        self.signer
            .standard(id, timestamp, body, |part| head.put(&[part]));
        head.put(&[b"\r\nx-pushrail-signature: "]);
        self.signer.plain(timestamp, body, |part| head.put(&[part]));
        if !token.is_empty() {
            head.put(&[b"\r\nauthorization: ", token]);
        }
        // It came in a header of Kafka's, which may hold anything.
        if !traceparent.is_empty() && traceparent.bytes().all(|b| b.is_ascii_graphic()) {
            head.put(&[b"\r\ntraceparent: ", traceparent.as_bytes()]);
        }
        head.put(&[b"\r\ncontent-length: ", length, b"\r\n\r\n"]);
        let len = head.at;
        bytes.copy_within(..len, gap - len);
        Outgoing {
            bytes,
            start: gap - len,
        }
    }
}

/// What the names of the headers of one request, an id, two timestamps and a length take at most.
const VARIABLE_LEN_MAX: usize = 320;

struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Room that is filled from the front.
struct Gap<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Gap<'_> {
    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            let end = self.at + part.len();
            self.bytes[self.at..end].copy_from_slice(part);
            self.at = end;
        }
    }
}

/// Names and values were checked when the destination was configured: there is no line break in any of them.
fn start(target: &Target, fixed: &Fixed) -> Box<[u8]> {
    let mut out = format!("POST {} HTTP/1.1\r\n", target.path).into_bytes();
    let agent = format!(
        "content-type: application/json\r\nuser-agent: {}\r\n",
        crate::USER_AGENT
    );
    for (name, value) in fixed {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(agent.as_bytes());
    out.into()
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let [record] = batch else {
            return Reply {
                answer: None,
                failure: Some(Failure::NotSingle),
            };
        };
        let mut progress = Progress::default();
        let started = Instant::now();
        if deadline <= started {
            // Nothing is sent that nobody would wait for.
            return Reply {
                answer: None,
                failure: Some(Failure::Timeout(progress.phase)),
            };
        }
        let post = self.post(record, started, &mut progress);
        let failure = match self.deadlines.timeout_at(deadline, post).await {
            Some(result) => result.err(),
            None => Some(Failure::Timeout(progress.phase)),
        };
        let mut answer = progress.answer;
        if let Some(answer) = &mut answer {
            let token = progress.token.as_ref().map(|token| &token.header);
            self.sent
                .redact(token, &mut answer.headers, &mut progress.excerpt);
            answer.excerpt = Bytes::from(progress.excerpt);
        }
        Reply { answer, failure }
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(reply, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_idle_destinations_fit_in_memory() {
        assert!(size_of::<Client>() <= 1536, "{}", size_of::<Client>());
    }
}
