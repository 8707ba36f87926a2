//! The metrics of one process.
//!
//! A crate registers a metric once, under its full name without the ending that Prometheus demands of counters
//! (`pushrail_router_events` is shown as `pushrail_router_events_total`), and keeps a clone, which is an atomic behind
//! an `Arc`. Workers share metrics or hold clones of one; nobody registers per worker, per tenant or per destination.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use prometheus_client;

/// A registry to share. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A registry that already shows the process itself: memory, CPU, threads, file descriptors.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(crate::process::Process));
        Metrics(Arc::new(Mutex::new(registry)))
    }

    /// Registers any metric and gives it back.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A histogram of seconds, from 0.5 ms to 65 s.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, seconds())
    }

    /// A metric per set of labels; the labels come from a closed set.
    pub fn family<S, M>(&self, name: &str, help: &str) -> Family<S, M>
    where
        Family<S, M>: Metric + Clone,
        S: Clone + std::hash::Hash + Eq,
        M: Default,
    {
        self.register(name, help, Family::<S, M>::default())
    }

    /// As [`Metrics::seconds`], per set of labels.
    pub fn seconds_family<S>(&self, name: &str, help: &str) -> Family<S, Histogram, SecondsBuckets>
    where
        Family<S, Histogram, SecondsBuckets>: Metric + Clone,
        S: Clone + std::hash::Hash + Eq,
    {
        let family = Family::new_with_constructor(SecondsBuckets);
        self.register(name, help, family)
    }

    /// Registers what is computed when it is asked for.
    pub fn collector(&self, collector: Box<dyn Collector>) {
        self.lock().register_collector(collector);
    }

    /// All of it as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only when a collector does; what it wrote until then is still worth showing.
        if prometheus_client::encoding::text::encode(&mut text, &self.lock()).is_err() {
            tracing::warn!("metrics.incomplete");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// Makes histograms of seconds for a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondsBuckets;

impl MetricConstructor<Histogram> for SecondsBuckets {
    fn new_metric(&self) -> Histogram {
        seconds()
    }
}

/// Powers of two from 0.5 ms to 65.5 s: 18 buckets hold a cache hit and a timeout with the same relative error.
fn seconds() -> Histogram {
    Histogram::new((0..18).map(|power| 0.0005 * f64::from(1 << power)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_were_registered() {
        let metrics = Metrics::new();
        metrics.counter("pushrail_test_events", "Events").inc_by(3);
        metrics.gauge("pushrail_test_lanes", "Lanes").set(-1);
        let latency = metrics.seconds("pushrail_test_latency_seconds", "Latency");
        latency.observe(0.003);
        let kinds: Family<Vec<(String, String)>, Counter> =
            metrics.family("pushrail_test_kinds", "Kinds");
        let webhook = vec![("kind".to_owned(), "webhook".to_owned())];
        kinds.get_or_create(&webhook).inc();
        let text = metrics.encode();
        for line in [
            "pushrail_test_events_total 3",
            "pushrail_test_lanes -1",
            "pushrail_test_latency_seconds_count 1",
            "pushrail_test_latency_seconds_bucket{le=\"0.004\"} 1",
            "pushrail_test_latency_seconds_bucket{le=\"65.536\"} 1",
            "pushrail_test_kinds_total{kind=\"webhook\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "));
    }
}
