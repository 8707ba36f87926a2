//! What the control plane shows of itself.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Request, Counter>,
    pub(crate) published: Counter,
    pub(crate) outbox_records: Gauge,
    pub(crate) outbox_age_seconds: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    operation: &'static str,
    /// `2xx`, `4xx` or `5xx`.
    status: &'static str,
}

impl Metrics {
    pub(crate) fn new(registry: &pushrail_obs::Metrics) -> Self {
        Metrics {
            requests: registry.family(
                "pushrail_control_requests",
                "Requests by operation and class of status",
            ),
            published: registry.counter(
                "pushrail_control_published",
                "Records that the outbox has put on Kafka",
            ),
            outbox_records: registry.gauge(
                "pushrail_control_outbox_records",
                "Changes that Kafka has not been told",
            ),
            outbox_age_seconds: registry.gauge(
                "pushrail_control_outbox_age_seconds",
                "Age of the oldest change that Kafka has not been told",
            ),
        }
    }

    pub(crate) fn answered(&self, operation: &'static str, status: StatusCode) {
        let status = match status.as_u16() {
            200..=299 => "2xx",
            500.. => "5xx",
            _ => "4xx",
        };
        self.requests
            .get_or_create(&Request { operation, status })
            .inc();
    }
}
