//! Receivers that behave as they are told, and clients to point at them.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pushrail_schemas::Event;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_sink_core::{Adapter, Client as _, Context, Outcome, Record, Verdict};
use pushrail_webhook::{Client, Webhook};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Long enough for a loaded machine, short enough to fail a test that would hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as a receiver saw it.
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Number among all requests of the server, from 0.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Connections that were ever opened, and that are open now.
    pub(crate) opened: usize,
    pub(crate) open: usize,
    pub(crate) requests: usize,
}

/// A server that ends with its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) counts: watch::Receiver<Counts>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn now(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) async fn until(&self, condition: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.counts.clone();
        let found = timeout(PATIENCE, counts.wait_for(condition)).await;
        *found.expect("the server never got there").unwrap()
    }

    /// Closes the listener and every connection.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.task.abort();
        let address = self.address;
        let mut counts = self.counts.clone();
        drop(self);
        // The counter's last sender goes with the last connection.
        let _ = timeout(PATIENCE, counts.wait_for(|_| false))
            .await
            .expect("connections linger");
        address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<watch::Sender<Counts>>);

impl Counted {
    fn new(counts: &Arc<watch::Sender<Counts>>) -> Self {
        counts.send_modify(|counts| {
            counts.opened += 1;
            counts.open += 1;
        });
        Counted(counts.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.open -= 1);
    }
}

/// Runs `each` on every connection; its counter rises when it calls `request`.
pub(crate) async fn raw<F, Fut>(each: F) -> Server
where
    F: Fn(TcpStream, Requests) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    raw_at("127.0.0.1:0".parse().unwrap(), each).await
}

pub(crate) async fn raw_at<F, Fut>(address: SocketAddr, each: F) -> Server
where
    F: Fn(TcpStream, Requests) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, counts) = watch::channel(Counts::default());
    let sender = Arc::new(sender);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        let nth = Arc::new(AtomicUsize::new(0));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counted = Counted::new(&sender);
            let requests = Requests {
                counts: sender.clone(),
                nth: nth.clone(),
            };
            let connection = each(stream, requests);
            connections.spawn(async move {
                let _counted = counted;
                connection.await;
            });
        }
    });
    Server {
        address,
        counts,
        task,
    }
}

#[derive(Clone)]
pub(crate) struct Requests {
    counts: Arc<watch::Sender<Counts>>,
    nth: Arc<AtomicUsize>,
}

impl Requests {
    pub(crate) fn next(&self) -> usize {
        self.counts.send_modify(|counts| counts.requests += 1);
        self.nth.fetch_add(1, Ordering::Relaxed)
    }
}

/// An HTTP server that answers with `handler`.
pub(crate) async fn serve<F, Fut>(handler: F) -> Server
where
    F: Fn(Seen) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    raw(move |stream, requests| answer(stream, requests, handler.clone())).await
}

/// Speaks HTTP on one stream.
pub(crate) async fn answer<IO, F, Fut>(stream: IO, requests: Requests, handler: F)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Seen) -> Fut,
    Fut: Future<Output = Response<Full<Bytes>>>,
{
    let handler = &handler;
    let service = service_fn(|request: Request<Incoming>| {
        let nth = requests.next();
        async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(|b| b.to_bytes())
                .unwrap_or_default();
            let path = head.uri.path_and_query().unwrap().to_string();
            let seen = Seen {
                method: head.method,
                path,
                headers: head.headers,
                body,
                nth,
            };
            Ok::<_, Infallible>(handler(seen).await)
        }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(crate) fn reply(status: u16) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::from("ok"))
        .unwrap()
}

/// Answers 200 to everything.
pub(crate) async fn accepting() -> Server {
    serve(|_| async { reply(200) }).await
}

/// Reads one whole request with a content-length; `false` at the end of the stream.
pub(crate) async fn read_request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let len = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .unwrap();
            if read.len() >= end + 4 + len.parse::<usize>().unwrap() {
                return true;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// Reads one request and answers with these bytes; then holds the connection until the other side closes it.
pub(crate) async fn scripted(response: impl Into<Bytes>) -> Server {
    let response = response.into();
    raw(move |mut stream, requests| {
        let response = response.clone();
        async move {
            if read_request(&mut stream).await {
                requests.next();
                let _ = stream.write_all(&response).await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        }
    })
    .await
}

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    }
}

pub(crate) async fn connect(webhook: &Webhook, config: Value, secrets: Value) -> Client {
    let config = serde_json::from_value(config).unwrap();
    let secrets = serde_json::from_value(secrets).unwrap();
    webhook
        .connect(config, secrets)
        .await
        .unwrap_or_else(|fault| panic!("{fault}"))
}

pub(crate) async fn client_with(config: Value, secrets: Value) -> Client {
    connect(&Webhook::new(loopback()), config, secrets).await
}

pub(crate) async fn client(url: &str) -> Client {
    client_with(json!({ "url": url }), json!({ "signingSecret": SECRET })).await
}

pub(crate) fn record(payload: &str) -> Record {
    let mut value = Vec::new();
    let event_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let parts = Parts {
        event_id,
        event_type: "order.completed",
        occurred_at_us: 1_767_323_045_123_456,
        customer_external_id: "cust-1",
        idempotency_key: Some("order-42"),
        source: Some("shop"),
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us: 1_767_323_046_000_000,
        subject_id: None,
        sealing: None,
    };
    parts.encode(1, &mut value);
    let delivery = Delivery {
        delivery_id: Uuid::from_u128(1),
        event_id,
        tenant_id: "acme".into(),
        customer_id: Uuid::from_u128(2),
        destination_id: Uuid::from_u128(3),
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: Some(TRACE.into()),
    };
    Record {
        event: Event::parse(Bytes::from(value)).unwrap(),
        delivery,
        attempt: 1,
    }
}

pub(crate) async fn send_within(client: &Client, limit: Duration) -> Outcome {
    let reply = client
        .send(&[record("{}").into()], Instant::now() + limit)
        .await;
    Client::classify(reply, 1)
}

pub(crate) async fn send(client: &Client) -> Outcome {
    send_within(client, PATIENCE).await
}

/// `delivered`, or the class and code: `retry timeout`.
pub(crate) fn verdict(outcome: &Outcome) -> String {
    assert_eq!(outcome.verdicts.len(), 1);
    match &outcome.verdicts[0] {
        Verdict::Delivered => "delivered".to_owned(),
        Verdict::Retry { fault, .. } => format!("retry {}", fault.code),
        Verdict::Reject { fault } => format!("reject {}", fault.code),
        Verdict::Suspend { fault } => format!("suspend {}", fault.code),
    }
}
