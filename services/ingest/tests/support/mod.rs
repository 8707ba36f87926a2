//! The HTTP edge without sockets and without Kafka: requests go into the router, records into a list.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use pushrail_clock::Clock;
use pushrail_directory::EventType;
use pushrail_ingest::Settings;
use pushrail_ingest::budget::{Budget, Reservation};
use pushrail_ingest::catalogue::{Catalogue, Types};
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
use pushrail_schemas::config::{EventValidation, Tenant};
use serde_json::Value;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

pub const KEY: &str = "pr_test_key";
pub const TENANT: &str = "acme";

/// One tenant, one key, and a catalogue.
#[derive(Default)]
pub struct OneKey {
    pub validation: EventValidation,
    /// By name.
    pub types: Mutex<BTreeMap<String, Arc<EventType>>>,
}

impl OneKey {
    /// A type with or without a schema.
    pub fn declare(&self, name: &str, schema: Option<Value>) {
        let schema = schema.map(|schema| schema.to_string().into());
        let known = Arc::new(EventType { schema });
        self.types.lock().unwrap().insert(name.into(), known);
    }
}

impl Keys for OneKey {
    fn tenant_of_key(&self, key: &str) -> Option<Arc<Tenant>> {
        (key == KEY).then(|| self.tenant(TENANT).unwrap())
    }

    fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        (id == TENANT).then(|| {
            Arc::new(Tenant {
                tenant_id: TENANT.into(),
                name: "Acme".into(),
                audit_feed: false,
                event_validation: self.validation,
                encryption: Default::default(),
            })
        })
    }

    fn is_ready(&self) -> bool {
        true
    }
}

impl Types for OneKey {
    fn event_type(&self, tenant: &str, name: &str) -> Option<Arc<EventType>> {
        assert_eq!(tenant, TENANT);
        self.types.lock().unwrap().get(name).cloned()
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
    pub tenant: Arc<OneKey>,
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

    /// Whose tenant's events are held to its catalogue.
    pub fn validating(validation: EventValidation) -> Self {
        let tenant = OneKey {
            validation,
            ..OneKey::default()
        };
        Edge::of(settings(), WITHIN, tenant)
    }

    /// Waits no longer than `within` for the control plane.
    pub fn forwarding(settings: Settings, within: Duration) -> Self {
        Edge::of(settings, within, OneKey::default())
    }

    fn of(settings: Settings, within: Duration, tenant: OneKey) -> Self {
        let tenant = Arc::new(tenant);
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
            keys: tenant.clone(),
            catalogue: Arc::new(Catalogue::new(tenant.clone(), metrics.clone())),
            seals: Arc::new(pushrail_ingest::seals::Seals::none()),
            publisher: recorder.clone(),
            budget,
            metrics,
            schema_id: 7,
            clock: Clock::process(),
        }));
        Edge {
            recorder,
            tenant,
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
