//! What the log shows of itself.

use std::time::Duration;

use pushrail_obs::metrics::prometheus_client as prometheus;

use prometheus::metrics::counter::Counter;
use prometheus::metrics::family::Family;
use prometheus::metrics::gauge::Gauge;
use prometheus::metrics::histogram::Histogram;

type By = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Counter,
    dead_letters: Counter,
    passed_over: By,
    transitions: By,
    records: Counter,
    seconds: Histogram,
    lag: Family<[(&'static str, String); 1], Gauge>,
}

impl Metrics {
    pub(crate) fn new(metrics: &pushrail_obs::Metrics) -> Self {
        Metrics {
            attempts: metrics.counter("pushrail_log_attempts", "Audit records kept in the index"),
            dead_letters: metrics.counter(
                "pushrail_log_dead_letters",
                "Dead letters kept in the index",
            ),
            passed_over: metrics.family(
                "pushrail_log_passed_over",
                "Records that are not in the index, by reason",
            ),
            transitions: metrics.family(
                "pushrail_log_transitions",
                "Destinations that became healthy, degraded, failing or suspended",
            ),
            records: metrics.counter("pushrail_log_records", "Records read"),
            seconds: metrics.seconds("pushrail_log_transaction_seconds", "Time to keep a batch"),
            lag: metrics.family(
                "pushrail_log_lag_records",
                "Records between the index and the ends of the partitions, by worker",
            ),
        }
    }

    pub(crate) fn kept(&self, attempts: usize, dead_letters: usize) {
        self.attempts.inc_by(attempts as u64);
        self.dead_letters.inc_by(dead_letters as u64);
    }

    pub(crate) fn passed_over(&self, reason: &'static str) {
        self.passed_over.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn transition(&self, to: &'static str) {
        self.transitions.get_or_create(&[("to", to)]).inc();
    }

    pub(crate) fn transaction(&self, records: usize, took: Duration) {
        self.records.inc_by(records as u64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn lag(&self, worker: usize, records: i64) {
        self.lag
            .get_or_create(&[("worker", worker.to_string())])
            .set(records);
    }
}
