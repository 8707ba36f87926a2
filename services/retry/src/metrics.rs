//! What the mover shows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pushrail_kafka::relay::Counters;
use pushrail_obs::Metrics;
use pushrail_obs::metrics::SecondsBuckets;
use pushrail_obs::metrics::prometheus_client as prometheus;

use prometheus::collector::Collector;
use prometheus::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus::metrics::counter::{ConstCounter, Counter};
use prometheus::metrics::family::Family;
use prometheus::metrics::gauge::ConstGauge;
use prometheus::metrics::histogram::Histogram;

use pushrail_topology::{TIERS, Tier};

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// To `deliver.<kind>`.
    Deliver,
    /// To another wait.
    Tier,
    /// To a dead letter topic.
    Dead,
}

type Label = (&'static str, &'static str);

/// Metrics of one tier, looked up once.
#[derive(Clone, Debug)]
struct OfTier {
    moved: [Counter; 3],
    lateness: Histogram,
}

#[derive(Clone, Debug)]
pub(crate) struct Moves(Arc<Vec<OfTier>>);

impl Moves {
    pub(crate) fn register(metrics: &Metrics, counters: &Arc<Counters>) -> Self {
        let moved: Family<[Label; 2], Counter> = metrics.family(
            "pushrail_retry_moved_records",
            "Records moved out of a tier, by where they went",
        );
        let lateness: Family<[Label; 1], Histogram, SecondsBuckets> = metrics.seconds_family(
            "pushrail_retry_lateness_seconds",
            "Time between a record's due time and its move",
        );
        metrics.collector(Box::new(Relay(Arc::clone(counters))));
        let of = |tier: &Tier| OfTier {
            moved: ["deliver", "tier", "dead"].map(|hop| {
                let labels = [("tier", tier.name), ("hop", hop)];
                moved.get_or_create_owned(&labels)
            }),
            lateness: lateness.get_or_create_owned(&[("tier", tier.name)]),
        };
        Moves(Arc::new(TIERS.iter().map(of).collect()))
    }

    pub(crate) fn observe(&self, tier: &Tier, went: Went, late_ms: i64) {
        let at = TIERS.iter().position(|t| t.name == tier.name);
        if let Some(shown) = at.and_then(|at| self.0.get(at)) {
            shown.moved[went as usize].inc();
            shown.lateness.observe(late_ms.max(0) as f64 / 1_000.0);
        }
    }
}

/// The relay's counters.
#[derive(Debug)]
struct Relay(Arc<Counters>);

impl Collector for Relay {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Relay(c) = self;
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(encoder)
        };
        counter(
            "pushrail_retry_refused_copies",
            "Copies that Kafka refused",
            &c.refused,
        )?;
        counter(
            "pushrail_retry_pauses",
            "Times that a partition was paused because too much of it waited in memory",
            &c.pauses,
        )?;
        let gauges = [
            (
                "pushrail_retry_partitions",
                "Partitions assigned to this process",
                &c.partitions,
            ),
            (
                "pushrail_retry_held_records",
                "Records read that wait for their time",
                &c.held,
            ),
            (
                "pushrail_retry_lag_records",
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
