//! The rest of the API, passed on to the control plane, so that a vendor has one address.
//!
//! A request goes on as it came: method, path, query, headers and body, the body while it comes in; so does the answer. What
//! is about one connection and not about the request (RFC 9110 §7.6.1) stays here, framing is made anew from what was read,
//! and whoever is called learns the caller's address as the last of `X-Forwarded-For`. Nothing is judged here: limits,
//! credentials and what there is at all are the control plane's. A request is not made twice.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pushrail_http::Problem;
use tokio::time::{Instant, Sleep, sleep};

/// How long the control plane may take until it begins to answer, the sending of the request included; and then how long
/// it may be silent.
pub const WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Shorter than any server keeps a connection that is not used.
const IDLE: Duration = Duration::from_secs(15);
const IDLE_MAX: usize = 16;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// About one connection, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a path is the control plane's, where it is not an event's.
pub fn is_forwarded(path: &str) -> bool {
    path.starts_with("/v1/")
        || path == "/openapi.json"
        || path == "/docs"
        || path.starts_with("/docs/")
}

/// What is wrong with the address of a control plane.
pub fn address_problem(address: &Uri) -> Option<&'static str> {
    let plain = matches!(address.path(), "" | "/") && address.query().is_none();
    let authority = address.authority().map(Authority::as_str);
    let good = address.scheme() == Some(&Scheme::HTTP)
        && plain
        && authority.is_some_and(|authority| !authority.contains('@'));
    (!good).then_some("must be http://host:port, without a path; TLS in between is not spoken")
}

/// The way to a control plane. One per worker, because connections stay on their thread.
pub struct Forward {
    authority: Authority,
    within: Duration,
    client: Client<HttpConnector, Body>,
}

impl Forward {
    /// To an address that [`address_problem`] finds nothing wrong with; `None` to another.
    pub fn new(address: &Uri, within: Duration) -> Option<Self> {
        if address_problem(address).is_some() {
            return None;
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Some(Forward {
            authority: address.authority()?.clone(),
            within,
            client,
        })
    }

    pub(super) async fn pass(&self, mut request: Request) -> Result<Response, Problem> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(address)| address.ip().to_canonical());
        let (mut head, body) = {
            *request.extensions_mut() = http::Extensions::new();
            request.into_parts()
        };
        head.uri = self.uri(head.uri.path_and_query());
        head.version = http::Version::HTTP_11;
        strip(&mut head.headers);
        // Made anew from the body, so that no two readers of it can disagree on where it ends.
        head.headers.remove(header::CONTENT_LENGTH);
        // Answered here, by reading the body.
        head.headers.remove(header::EXPECT);
        match peer {
            Some(peer) => append_peer(&mut head.headers, &peer.to_string()),
            // Better nobody's than whoever's the caller claims.
            None => drop(head.headers.remove(FORWARDED_FOR)),
        }
        let answer = self.client.request(Request::from_parts(head, body));
        match tokio::time::timeout(self.within, answer).await {
            Ok(Ok(answer)) => Ok(self.answer(answer)),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(timed_out(self.within)),
        }
    }

    fn uri(&self, path: Option<&PathAndQuery>) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(
            path.cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        );
        // All three are there, which is all that it asks for.
        Uri::from_parts(parts).unwrap_or_default()
    }

    fn answer(&self, answer: Response<Incoming>) -> Response {
        let (mut head, body) = answer.into_parts();
        strip(&mut head.headers);
        head.version = http::Version::HTTP_11;
        head.extensions = http::Extensions::new();
        Response::from_parts(head, Body::new(Lively::new(body, self.within)))
    }
}

/// Takes away what is about the connection that these headers came over.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().filter(|name| !is_ends_own(name)) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What a `Connection` header must not take away: it would change what a request means on its way.
fn is_ends_own(name: &HeaderName) -> bool {
    [header::HOST, header::AUTHORIZATION, header::CONTENT_LENGTH].contains(name)
        || *name == FORWARDED_FOR
}

/// Behind whatever came in, on one line: who reads it from its end finds an address that is ours.
fn append_peer(headers: &mut HeaderMap, peer: &str) {
    let mut line = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(peer.as_bytes());
    // Made of values of headers, so it is one.
    if let Ok(value) = HeaderValue::from_bytes(&line) {
        headers.insert(FORWARDED_FOR, value);
    }
}

fn unavailable(error: &Error) -> Problem {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "control.not_reached"
    );
    let problem = Problem::new(
        StatusCode::BAD_GATEWAY,
        "control-unavailable",
        "The control plane can't be reached",
    );
    match error.is_connect() {
        true => problem
            .detail("nothing was changed; events are accepted and delivered all the same; try again in a moment")
            .retry_after(1),
        false => problem.detail(
            "the connection to it broke off: the request may or may not have been carried out; look before you try again, or \
             send it again with the Idempotency-Key that it had",
        ),
    }
}

fn timed_out(within: Duration) -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "control-timeout",
        "The control plane took too long",
    )
    .detail(format!(
        "it did not answer within {} s: the request may or may not have been carried out; look before you try again, or send \
         it again with the Idempotency-Key that it had",
        within.as_secs_f64()
    ))
}

/// The body of an answer, broken off when nothing of it comes for too long.
struct Lively {
    body: Incoming,
    within: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Lively {
    fn new(body: Incoming, within: Duration) -> Self {
        Lively {
            body,
            within,
            silence: Box::pin(sleep(within)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    #[error("the control plane fell silent in the middle of an answer")]
    Silent,
}

impl HttpBody for Lively {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let until = Instant::now() + self.within;
            self.silence.as_mut().reset(until);
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::from)));
        }
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Broken::Silent))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer to a request that is not an event's.
pub(super) async fn pass(forward: &Forward, request: Request) -> Response {
    match forward.pass(request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}
