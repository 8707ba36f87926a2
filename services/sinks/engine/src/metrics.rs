//! What a sink shows of itself. Labels are from closed sets; nothing is labelled by tenant, customer or destination.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::core::Census;

/// Shared by the workers of one kind.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) records: Counter,
    pub(crate) attempts: Family<Outcome, Counter>,
    pub(crate) attempt_seconds: Histogram,
    /// Whether batches fill up: what a kind that delivers in batches is tuned by.
    pub(crate) call_records: Histogram,
    /// From acceptance to delivery, first attempts only: what a customer feels.
    pub(crate) delivery_seconds: Histogram,
    pub(crate) deferrals: Family<CauseLabel, Counter>,
    pub(crate) dead_letters: Family<Reason, Counter>,
    pub(crate) rewinds: Counter,
    pub(crate) lag: Gauge,
    pub(crate) partitions: Gauge,
    pub(crate) lanes: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) queued_bytes: Gauge,
    pub(crate) batching: Gauge,
    pub(crate) in_flight: Family<Pace, Gauge>,
    pub(crate) breakers: Family<BreakerLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CauseLabel {
    pub(crate) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Pace {
    pub(crate) pace: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BreakerLabel {
    pub(crate) state: &'static str,
}

impl Metrics {
    pub fn new(registry: &pushrail_obs::Metrics) -> Self {
        Metrics {
            records: registry.counter("pushrail_sink_records", "Records taken from deliver topics"),
            attempts: registry.family(
                "pushrail_sink_attempts",
                "Attempts by what became of the delivery",
            ),
            attempt_seconds: registry
                .seconds("pushrail_sink_attempt_seconds", "Time from call to verdict"),
            call_records: registry.register(
                "pushrail_sink_call_records",
                "Records in one call",
                Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            ),
            delivery_seconds: registry.seconds(
                "pushrail_sink_delivery_seconds",
                "Time from acceptance to delivery at the first attempt",
            ),
            deferrals: registry.family(
                "pushrail_sink_deferrals",
                "Records put off through a retry tier without an attempt (spills)",
            ),
            dead_letters: registry.family(
                "pushrail_sink_dead_letters",
                "Records written to the dead letters by reason",
            ),
            rewinds: registry.counter(
                "pushrail_sink_rewinds",
                "Partitions started over because Kafka refused a record of theirs",
            ),
            lag: registry.gauge(
                "pushrail_sink_lag_records",
                "Records between the commits and the ends of the partitions",
            ),
            partitions: registry.gauge(
                "pushrail_sink_partitions",
                "Partitions assigned to this process",
            ),
            lanes: registry.gauge(
                "pushrail_sink_lanes",
                "Destinations with work, or that had some a moment ago",
            ),
            queued: registry.gauge("pushrail_sink_queued_records", "Records waiting in lanes"),
            queued_bytes: registry.gauge("pushrail_sink_queued_bytes", "Bytes waiting in lanes"),
            batching: registry.gauge(
                "pushrail_sink_batching_records",
                "Of the records waiting in lanes: those in batches that are still open",
            ),
            in_flight: registry.family(
                "pushrail_sink_in_flight_attempts",
                "Attempts under way, usual or overdue",
            ),
            breakers: registry.family(
                "pushrail_sink_breakers",
                "Lanes whose breaker is open or suspended",
            ),
        }
    }

    /// Workers share the gauges, so each adds what has changed on its side.
    pub(crate) fn show(&self, before: &Shown, now: &Shown) {
        let change = |gauge: &Gauge, before: i64, now: i64| {
            gauge.inc_by(now - before);
        };
        let count = |n: usize| n as i64;
        let (was, is) = (&before.census, &now.census);
        change(&self.lag, before.lag, now.lag);
        change(&self.partitions, before.partitions, now.partitions);
        change(&self.lanes, count(was.lanes), count(is.lanes));
        change(&self.queued, count(was.queued), count(is.queued));
        change(
            &self.queued_bytes,
            count(was.queued_bytes),
            count(is.queued_bytes),
        );
        change(&self.batching, count(was.batching), count(is.batching));
        let in_flight = |pace, was, is| {
            change(
                &self.in_flight.get_or_create(&Pace { pace }),
                count(was),
                count(is),
            )
        };
        in_flight("usual", was.active, is.active);
        in_flight("overdue", was.overdue, is.overdue);
        let breakers = |state, was, is| {
            change(
                &self.breakers.get_or_create(&BreakerLabel { state }),
                count(was),
                count(is),
            )
        };
        breakers("open", was.breakers_open, is.breakers_open);
        breakers("suspended", was.suspended, is.suspended);
    }
}

/// What one worker has added to the shared gauges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) census: Census,
    pub(crate) lag: i64,
    pub(crate) partitions: i64,
}
