//! What ingest counts. Labels come from closed sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::StatusCode;
use pushrail_kafka::relay::Counters;
use pushrail_obs::Metrics as Registry;
use pushrail_obs::metrics::prometheus_client::metrics::counter::Counter;
use pushrail_obs::metrics::prometheus_client::metrics::family::Family;
use pushrail_obs::metrics::prometheus_client::metrics::gauge::Gauge;
use pushrail_obs::metrics::prometheus_client::metrics::histogram::Histogram;

use crate::event::Origin;
use crate::input::rules::Cause;

type Labels = [(&'static str, &'static str); 2];

/// Which path a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Event,
    Batch,
    Other,
}

/// Why an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule is broken that holds for all.
    Invalid,
    TooLarge,
    /// Not JSON, or not Avro.
    Malformed,
    /// A tenant that does not exist.
    Foreign,
    /// Kafka did not confirm it in time, or it could not be sealed.
    Unconfirmed,
    /// Its payload does not satisfy the schema of its type.
    Schema,
    /// Its type is not in the tenant's catalogue.
    Uncatalogued,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Invalid => Reason::Invalid,
            Cause::TooLarge => Reason::TooLarge,
            Cause::Schema => Reason::Schema,
            Cause::Uncatalogued => Reason::Uncatalogued,
            Cause::NotNow => Reason::Unconfirmed,
        }
    }
}

/// Handles on the metrics, resolved once: the hot path touches atomics only.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: [[Counter; 3]; 3],
    accepted: [Counter; 2],
    rejected: [[Counter; 7]; 2],
    ack: Histogram,
    throttled: Counter,
    schemas_unusable: Counter,
    bytes: Gauge,
    records: Gauge,
    connections: Gauge,
    direct_lag: Gauge,
    direct_partitions: Gauge,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let requests: Family<Labels, Counter> =
            registry.family("pushrail_ingest_requests", "Requests by route and status");
        let rejected: Family<Labels, Counter> = registry.family(
            "pushrail_ingest_events_rejected",
            "Events not accepted, by where they came from and why",
        );
        let accepted: Family<[(&'static str, &'static str); 1], Counter> = registry.family(
            "pushrail_ingest_events_accepted",
            "Events that are durable, by where they came from",
        );
        let request = |route, status| counter(&requests, [("route", route), ("status", status)]);
        let reject = |origin, reason| counter(&rejected, [("origin", origin), ("reason", reason)]);
        Metrics(Arc::new(Inner {
            requests: ["event", "batch", "other"]
                .map(|route| ["2xx", "4xx", "5xx"].map(|status| request(route, status))),
            accepted: ["http", "direct"]
                .map(|origin| accepted.get_or_create(&[("origin", origin)]).clone()),
            rejected: ["http", "direct"].map(|origin| {
                [
                    "invalid",
                    "too_large",
                    "malformed",
                    "foreign",
                    "unconfirmed",
                    "schema",
                    "uncatalogued",
                ]
                .map(|reason| reject(origin, reason))
            }),
            ack: registry.seconds(
                "pushrail_ingest_ack_seconds",
                "Time from queueing a request's events to Kafka's acknowledgement of all",
            ),
            throttled: registry.counter(
                "pushrail_ingest_throttled",
                "Requests sent away with 429 because too much was under way",
            ),
            schemas_unusable: registry.counter(
                "pushrail_ingest_schemas_unusable",
                "Schemas of event types that can't be used; events of their types pass",
            ),
            bytes: registry.gauge(
                "pushrail_ingest_in_flight_bytes",
                "Bytes read or queued that Kafka has not acknowledged",
            ),
            records: registry.gauge(
                "pushrail_ingest_in_flight_records",
                "Events queued that Kafka has not acknowledged",
            ),
            direct_lag: registry.gauge(
                "pushrail_ingest_direct_lag_records",
                "Directly published records that are not taken over yet",
            ),
            direct_partitions: registry.gauge(
                "pushrail_ingest_direct_partitions",
                "Partitions of direct publishing assigned to this process",
            ),
            connections: registry.gauge("pushrail_ingest_connections", "Open connections"),
        }))
    }

    pub fn request(&self, route: Route, status: StatusCode) {
        let class = match status.as_u16() {
            ..400 => 0,
            400..500 => 1,
            _ => 2,
        };
        self.0.requests[route as usize][class].inc();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.0.throttled.inc();
        }
    }

    /// Shows where direct publishing's relay stands.
    pub fn relay(&self, counters: &Counters) {
        let show = |gauge: &Gauge, value: &AtomicI64| gauge.set(value.load(Ordering::Relaxed));
        show(&self.0.direct_lag, &counters.lag);
        show(&self.0.direct_partitions, &counters.partitions);
    }

    pub fn accepted(&self, origin: Origin, events: usize) {
        self.0.accepted[origin as usize].inc_by(events as u64);
    }

    pub fn rejected(&self, origin: Origin, reason: Reason, events: usize) {
        self.0.rejected[origin as usize][reason as usize].inc_by(events as u64);
    }

    pub fn schema_unusable(&self) {
        self.0.schemas_unusable.inc();
    }

    pub fn acknowledged(&self, seconds: f64) {
        self.0.ack.observe(seconds);
    }

    pub fn in_flight_bytes(&self) -> Gauge {
        self.0.bytes.clone()
    }

    pub fn in_flight_records(&self) -> Gauge {
        self.0.records.clone()
    }

    pub fn connections(&self) -> &Gauge {
        &self.0.connections
    }
}

fn counter(family: &Family<Labels, Counter>, labels: Labels) -> Counter {
    family.get_or_create(&labels).clone()
}
