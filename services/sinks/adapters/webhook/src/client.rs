//! One POST.
//!
//! The deadline covers everything: name, connection, TLS, token, request, response head and response body. A connection
//! that was idle may turn out to be dead; if hyper hands the request back because not a byte of it was written, one
//! fresh connection carries it. If anything was written the call has failed: whether the receiver saw it is not known,
//! and trying again is the engine's to decide.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use pushrail_sink_core::{Evidence, Outcome, Record};
use tokio::time::{Instant, timeout_at};
use uuid::fmt::Hyphenated;

use crate::check::Plan;
use crate::classify::{Answer, Reply, classify};
use crate::connect::Dialer;
use crate::evidence;
use crate::failure::{Failure, Phase};
use crate::headers::{
    Fixed, PUSHRAIL_SIGNATURE, PUSHRAIL_TIMESTAMP, TRACEPARENT, WEBHOOK_ID, WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP,
};
use crate::oauth::{Grant, Token};
use crate::pool::{Lease, Pool};
use crate::sign::Signer;
use crate::target::Target;
use crate::{body, now_ms};

/// Most of a response body that is read to keep its connection; beyond it the connection is closed instead.
const DRAIN_LEN_MAX: u64 = 16 * 1024;
/// Headers that every request has beside the fixed ones; content-length is hyper's.
const HEADERS_OWN: usize = 9;

const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(crate::USER_AGENT);

/// A connected webhook. Connections are opened when they are needed.
pub struct Client {
    target: Target,
    fixed: Fixed,
    signer: Signer,
    grant: Option<Box<Grant>>,
    dialer: Dialer,
    pool: Pool,
}

/// How far a call has got, so that a deadline can tell.
#[derive(Default)]
struct Progress {
    phase: Phase,
    answer: Option<Box<Answer>>,
    excerpt: Vec<u8>,
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
            target,
            fixed,
            signer,
            grant,
            dialer,
            pool: Pool::default(),
        }
    }

    async fn post(&self, record: &Record, progress: &mut Progress) -> Result<(), Failure> {
        let started = Instant::now();
        let token = match &self.grant {
            None => None,
            Some(grant) => {
                progress.phase = Phase::Authorizing;
                Some(grant.token(&self.dialer).await?)
            }
        };
        let request = self.request(record, token.as_deref());
        let (lease, response) = self.exchange(request, progress).await?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        progress.phase = Phase::Reading;
        progress.answer = Some(Box::new(Answer {
            status,
            headers: evidence::headers(&head.headers),
            excerpt: Bytes::new(),
            retry_after: if status >= 400 {
                evidence::retry_after(&head.headers, now_ms())
            } else {
                None
            },
            token_reused: token.as_ref().is_some_and(|token| token.born < started),
        }));
        if let (401, Some(grant), Some(token)) = (status, &self.grant, &token) {
            grant.forget(token);
        }
        if drain(body, &mut progress.excerpt).await? {
            lease.release(evidence::idle(&head.headers));
        }
        Ok(())
    }

    /// Sends on an idle connection, or on a new one.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        progress: &mut Progress,
    ) -> Result<(Lease<'_>, Response<Incoming>), Failure> {
        progress.phase = Phase::Connecting;
        if let Some(mut lease) = self.pool.checkout().await
            && let Some(sender) = lease.sender()
        {
            progress.phase = Phase::Waiting;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((lease, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failure::from_exchange(error.error())),
                },
            }
            progress.phase = Phase::Connecting;
        }
        let keeper = self.pool.keeper();
        let id = keeper.id;
        let opened = self.dialer.open(&self.target, Some(keeper)).await?;
        let mut lease = self.pool.adopt(id, opened);
        let sender = lease.sender().ok_or(Failure::ConnectionLost)?;
        progress.phase = Phase::Waiting;
        let response = sender.send_request(request).await;
        Ok((
            lease,
            response.map_err(|error| Failure::from_exchange(&error))?,
        ))
    }

    /// Body, id, timestamp and signatures are written into one buffer, of which the body and the header values are
    /// slices: one allocation instead of five.
    fn request(&self, record: &Record, token: Option<&Token>) -> Request<Full<Bytes>> {
        let event = &record.event;
        let mut out = Vec::with_capacity(body::len_hint(event) + self.signer.len() + 64);
        body::write(event, &mut out);
        let body_end = out.len();
        let mut id = [0u8; Hyphenated::LENGTH];
        let id = event
            .event_id()
            .hyphenated()
            .encode_lower(&mut id)
            .as_bytes();
        out.extend_from_slice(id);
        let id_end = out.len();
        let mut seconds = itoa::Buffer::new();
        let timestamp = seconds.format(now_ms().div_euclid(1000)).as_bytes();
        out.extend_from_slice(timestamp);
        let timestamp_end = out.len();
        let mut signatures = Vec::with_capacity(self.signer.len());
        self.signer
            .standard(id, timestamp, &out[..body_end], &mut signatures);
        let standard_end = timestamp_end + signatures.len();
        self.signer
            .plain(timestamp, &out[..body_end], &mut signatures);
        out.extend_from_slice(&signatures);
        let out = Bytes::from(out);

        let mut headers = HeaderMap::with_capacity(self.fixed.len() + HEADERS_OWN);
        for (name, value) in &self.fixed {
            headers.append(name, value.clone());
        }
        headers.append(header::CONTENT_TYPE, APPLICATION_JSON);
        headers.append(header::USER_AGENT, AGENT);
        let mut slice = |name: HeaderName, range: std::ops::Range<usize>| {
            // Written above from digits, hex and base64 only, which are all valid.
            if let Ok(value) = HeaderValue::from_maybe_shared(out.slice(range)) {
                headers.append(name, value);
            }
        };
        slice(WEBHOOK_ID, body_end..id_end);
        slice(WEBHOOK_TIMESTAMP, id_end..timestamp_end);
        slice(PUSHRAIL_TIMESTAMP, id_end..timestamp_end);
        slice(WEBHOOK_SIGNATURE, timestamp_end..standard_end);
        slice(PUSHRAIL_SIGNATURE, standard_end..out.len());
        if let Some(token) = token {
            headers.append(header::AUTHORIZATION, token.header.clone());
        }
        if let Some(traceparent) = &record.delivery.traceparent
            && let Ok(value) = HeaderValue::from_str(traceparent)
        {
            headers.append(TRACEPARENT, value);
        }
        let mut request = Request::new(Full::new(out.slice(..body_end)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.path.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// Reads a body to its end, keeping its start. `false`: it is too long to be worth reading, so its connection is closed.
async fn drain(mut body: Incoming, excerpt: &mut Vec<u8>) -> Result<bool, Failure> {
    if body.is_end_stream() {
        return Ok(true);
    }
    let long = body.size_hint().lower() > DRAIN_LEN_MAX;
    let mut read = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::from_exchange(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        read += data.len() as u64;
        // Copied, because a slice would hold on to the connection's whole buffer.
        let wanted = data.len().min(Evidence::EXCERPT_LEN_MAX - excerpt.len());
        excerpt.extend_from_slice(&data[..wanted]);
        if read > DRAIN_LEN_MAX || (long && excerpt.len() == Evidence::EXCERPT_LEN_MAX) {
            return Ok(false);
        }
    }
    Ok(true)
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
        if deadline <= Instant::now() {
            // Nothing is sent that nobody would wait for.
            return Reply {
                answer: None,
                failure: Some(Failure::Timeout(progress.phase)),
            };
        }
        let failure = match timeout_at(deadline, self.post(record, &mut progress)).await {
            Ok(result) => result.err(),
            Err(_) => Some(Failure::Timeout(progress.phase)),
        };
        let mut answer = progress.answer;
        if let Some(answer) = &mut answer {
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
