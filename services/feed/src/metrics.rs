//! What the feed shows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pushrail_kafka::relay::Counters;
use pushrail_obs::Metrics;
use pushrail_obs::metrics::prometheus_client as prometheus;

use prometheus::collector::Collector;
use prometheus::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus::metrics::counter::{ConstCounter, Counter};
use prometheus::metrics::family::Family;
use prometheus::metrics::gauge::ConstGauge;

/// Why a record that may have been somebody's was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is no audit record.
    Unreadable,
    /// Its tenant's topic is not there.
    TopicMissing,
    /// Its tenant's topic does not take it.
    Refused,
}

/// By reason.
#[derive(Clone, Debug)]
pub(crate) struct Dropped([Counter; 3]);

impl Dropped {
    pub(crate) fn count(&self, reason: Reason) {
        self.0[reason as usize].inc();
    }
}

pub(crate) fn register(metrics: &Metrics, counters: &Arc<Counters>) -> Dropped {
    let dropped: Family<[(&'static str, &'static str); 1], Counter> = metrics.family(
        "pushrail_feed_dropped",
        "Records that were not copied although they may have been due to a tenant, by reason",
    );
    metrics.collector(Box::new(Relay(Arc::clone(counters))));
    let reasons = ["unreadable", "topic_missing", "refused"];
    Dropped(reasons.map(|reason| dropped.get_or_create_owned(&[("reason", reason)])))
}

/// The relay's counters.
#[derive(Debug)]
struct Relay(Arc<Counters>);

impl Collector for Relay {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Relay(c) = self;
        let counters: [(&str, &str, &AtomicU64); 3] = [
            (
                "pushrail_feed_records",
                "Records of audit.attempts that were decided on",
                &c.records,
            ),
            (
                "pushrail_feed_copies",
                "Copies written for tenants",
                &c.copies,
            ),
            (
                "pushrail_feed_refused_copies",
                "Copies that Kafka refused",
                &c.refused,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(encoder)?;
        }
        let gauges = [
            (
                "pushrail_feed_partitions",
                "Partitions assigned to this process",
                &c.partitions,
            ),
            (
                "pushrail_feed_lag_records",
                "Records between the commits and the ends of the partitions",
                &c.lag,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}
