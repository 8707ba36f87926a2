//! What the router shows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pushrail_kafka::relay::Counters;
use pushrail_obs::Metrics as Registry;
use pushrail_obs::metrics::prometheus_client as prometheus;

use prometheus::collector::Collector;
use prometheus::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus::metrics::counter::{ConstCounter, Counter};
use prometheus::metrics::family::Family;
use prometheus::metrics::gauge::{ConstGauge, Gauge};
use prometheus::metrics::histogram::Histogram;

use crate::fanout::Tally;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

/// Clones are the same; all workers of a process share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) events: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) dedup_entries: Gauge,
    pub(crate) dedup_forgotten: Counter,
    pub(crate) dedup_restores: Histogram,
    pub(crate) routes: Gauge,
    pub(crate) changes: Counter,
    deliveries: Counter,
    no_match: Counter,
    filtered: Counter,
    disabled: Counter,
    erased: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, counters: &Arc<Counters>) -> Self {
        registry.collector(Box::new(Relay(Arc::clone(counters))));
        let skips: Family<Class, Counter> = registry.family(
            "pushrail_router_skips",
            "Deliveries that were not made, by reason; no_match counts events",
        );
        let skip = |class| skips.get_or_create_owned(&Class { class });
        Metrics {
            events: registry.counter("pushrail_router_events", "Events read and decided on"),
            undecodable: registry.counter(
                "pushrail_router_undecodable_records",
                "Records that were not events and went to dlq.events",
            ),
            duplicates: registry.counter(
                "pushrail_router_duplicates",
                "Repeats of an event within the deduplication window",
            ),
            dedup_entries: registry.gauge(
                "pushrail_router_dedup_entries",
                "Event ids that the deduplication windows of this process hold",
            ),
            dedup_forgotten: registry.counter(
                "pushrail_router_dedup_forgotten_entries",
                "Event ids forgotten within the window because there were too many",
            ),
            dedup_restores: registry.seconds(
                "pushrail_router_dedup_restore_seconds",
                "Time to read a partition's deduplication window back",
            ),
            routes: registry.gauge(
                "pushrail_router_routes",
                "Destinations that events are matched with",
            ),
            changes: registry.counter(
                "pushrail_router_route_changes",
                "Changes of destinations that were applied",
            ),
            deliveries: registry
                .counter("pushrail_router_deliveries", "Deliveries written for sinks"),
            no_match: skip("no_match"),
            filtered: skip("filtered"),
            disabled: skip("disabled"),
            erased: skip("erased"),
        }
    }

    pub(crate) fn add(&self, tally: Tally) {
        for (counter, count) in [
            (&self.deliveries, tally.deliveries),
            (&self.no_match, tally.no_match),
            (&self.filtered, tally.filtered),
            (&self.disabled, tally.disabled),
            (&self.erased, tally.erased),
        ] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

/// The relay's counters.
#[derive(Debug)]
struct Relay(Arc<Counters>);

impl Collector for Relay {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Relay(c) = self;
        let counters: [(&str, &str, &AtomicU64); 1] = [(
            "pushrail_router_refused_copies",
            "Copies that Kafka refused",
            &c.refused,
        )];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(encoder)?;
        }
        for (name, help, value) in [
            (
                "pushrail_router_partitions",
                "Partitions assigned to this process",
                &c.partitions,
            ),
            (
                "pushrail_router_lag_records",
                "Records between the commits and the ends of the partitions",
                &c.lag,
            ),
        ] {
            let gauge = ConstGauge::new(value.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}
