//! The HTTP edge without sockets and without Kafka: requests go into the router, records into a list.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use pushrail_clock::Clock;
use pushrail_ingest::Settings;
use pushrail_ingest::budget::{Budget, Reservation};
use pushrail_ingest::event::Batch;
use pushrail_ingest::http::forward::{Forward, WITHIN};
use pushrail_ingest::http::{App, router};
use pushrail_ingest::keys::Keys;
use pushrail_ingest::metrics::Metrics;
use pushrail_ingest::publish::{Publish, Unconfirmed};
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::message::Headers as _;
use pushrail_obs::Metrics as Registry;
use pushrail_schemas::Event;
use pushrail_schemas::config::Tenant;
use serde_json::Value;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

pub const KEY: &str = "pr_test_key";
pub const TENANT: &str = "acme";

/// One tenant, one key.
pub struct OneKey;

impl Keys for OneKey {
    fn tenant_of_key(&self, key: &str) -> Option<Arc<Tenant>> {
        (key == KEY).then(|| {
            Arc::new(Tenant {
                tenant_id: TENANT.into(),
                name: "Acme".into(),
                audit_feed: false,
            })
        })
    }

    fn has_tenant(&self, tenant: &str) -> bool {
        tenant == TENANT
    }

    fn is_ready(&self) -> bool {
        true
    }
}

type Held = (oneshot::Sender<Unconfirmed>, Reservation);

/// Keeps what is published, and answers as it is told.
#[derive(Default)]
pub struct Recorder {
    pub events: Mutex<Vec<Event>>,
    /// Headers of each, as text.
    pub headers: Mutex<Vec<Vec<(String, String)>>>,
    /// Places that are reported as unconfirmed.
    pub unconfirmed: Mutex<Unconfirmed>,
    /// Answers that are kept back, with their reservations.
    pub held: Mutex<Option<Vec<Held>>>,
    pub stalled: std::sync::atomic::AtomicBool,
}

impl Publish for Recorder {
    fn is_stalled(&self) -> bool {
        self.stalled.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn publish(
        &self,
        mut batch: Batch,
        reservation: Reservation,
    ) -> oneshot::Receiver<Unconfirmed> {
        let (answer, answered) = oneshot::channel();
        for (_, value, headers) in batch.drain() {
            let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
            let headers = headers.iter().map(|h| (h.key.to_owned(), text(h.value)));
            self.headers.lock().unwrap().push(headers.collect());
            let event = Event::parse(bytes::Bytes::copy_from_slice(value)).unwrap();
            self.events.lock().unwrap().push(event);
        }
        match &mut *self.held.lock().unwrap() {
            Some(held) => held.push((answer, reservation)),
            None => {
                let _ = answer.send(self.unconfirmed.lock().unwrap().clone());
            }
        }
        answered
    }
}

/// An edge to post to.
pub struct Edge {
    pub recorder: Arc<Recorder>,
    pub metrics: Registry,
    router: Router,
}

pub fn settings() -> Settings {
    Settings::new(
        "127.0.0.1:0".parse().unwrap(),
        Connection::new("127.0.0.1:1"),
    )
}

impl Edge {
    pub fn new() -> Self {
        Edge::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        Edge::forwarding(settings, WITHIN)
    }

    /// Waits no longer than `within` for the control plane.
    pub fn forwarding(settings: Settings, within: Duration) -> Self {
        settings.check().unwrap();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let recorder = Arc::new(Recorder::default());
        let budget = Budget::new(
            settings.in_flight_bytes_max,
            settings.in_flight_events_max,
            metrics.in_flight_bytes(),
            metrics.in_flight_records(),
        );
        let router = router(Arc::new(App {
            control: settings
                .control
                .as_ref()
                .and_then(|address| Forward::new(address, within)),
            settings: Arc::new(settings),
            keys: Arc::new(OneKey),
            publisher: recorder.clone(),
            budget,
            metrics,
            schema_id: 7,
            clock: Clock::process(),
        }));
        Edge {
            recorder,
            metrics: registry,
            router,
        }
    }

    pub async fn response(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.response(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(post(path, body)).await
    }

    pub fn published(&self) -> usize {
        self.recorder.events.lock().unwrap().len()
    }
}

pub fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub json: Value,
    pub text: String,
}

/// A valid event of `customer`.
pub fn event(customer: &str) -> String {
    format!(
        r#"{{"eventType":"order.completed","customerExternalId":"{customer}","payload":{{"n":1}}}}"#
    )
}
