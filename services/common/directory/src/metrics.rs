//! Figures of the directory, computed when they are asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, Weak};

use pushrail_obs::metrics::prometheus_client::collector;
use pushrail_obs::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use pushrail_obs::metrics::prometheus_client::metrics::counter::ConstCounter;
use pushrail_obs::metrics::prometheus_client::metrics::gauge::ConstGauge;

use crate::Shared;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) malformed: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Collector(pub(crate) Weak<Shared>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        let table = shared.table.read().unwrap_or_else(PoisonError::into_inner);
        let rewound = table.rewound;
        let gauges = [
            (
                "destinations",
                "Destinations known to this process.",
                table.destinations(),
            ),
            (
                "event_types",
                "Event types known to this process.",
                table.event_types(),
            ),
        ];
        drop(table);
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            let name = format!("pushrail_directory_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            (
                "records",
                "Configuration records read.",
                shared.counters.records.load(Ordering::Relaxed),
            ),
            (
                "malformed",
                "Configuration records that could not be read.",
                shared.counters.malformed.load(Ordering::Relaxed),
            ),
            ("rewound", "Destinations whose version went down.", rewound),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let name = format!("pushrail_directory_{name}");
            counter.encode(encoder.encode_descriptor(
                &name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}
