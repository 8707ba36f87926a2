//! How much may be under way: the bound on what ingest holds in memory, whatever the network and Kafka do.
//!
//! Bytes are counted from before a body is read until Kafka has acknowledged what became of it, records from when they
//! are queued. When a reservation does not fit, the caller is sent away with 429 before anything was read or written.

use std::sync::Arc;

use pushrail_obs::metrics::prometheus_client::metrics::gauge::Gauge;

/// The bound, shared by all workers of a process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes_max: i64,
    records_max: i64,
    // The gauges that operators see are the counters themselves.
    bytes: Gauge,
    records: Gauge,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: i64,
    records: i64,
}

impl Budget {
    pub fn new(bytes_max: usize, records_max: usize, bytes: Gauge, records: Gauge) -> Self {
        Budget(Arc::new(Inner {
            bytes_max: i64::try_from(bytes_max).unwrap_or(i64::MAX),
            records_max: i64::try_from(records_max).unwrap_or(i64::MAX),
            bytes,
            records,
        }))
    }

    /// Takes a share, or nothing when it does not fit.
    pub fn take(&self, bytes: usize, records: usize) -> Option<Reservation> {
        let mut reservation = Reservation {
            budget: self.clone(),
            bytes: 0,
            records: 0,
        };
        reservation.grow(bytes, records).then_some(reservation)
    }
}

impl Reservation {
    /// Takes more, or leaves it as it is and says `false` when that does not fit.
    pub fn grow(&mut self, bytes: usize, records: usize) -> bool {
        let inner = &self.budget.0;
        let grow = |gauge: &Gauge, by: usize, max: i64| {
            let by = i64::try_from(by).unwrap_or(i64::MAX / 2);
            let before = gauge.inc_by(by);
            let fits = before + by <= max;
            if !fits {
                gauge.dec_by(by);
            }
            fits.then_some(by)
        };
        let Some(bytes) = grow(&inner.bytes, bytes, inner.bytes_max) else {
            return false;
        };
        let Some(records) = grow(&inner.records, records, inner.records_max) else {
            inner.bytes.dec_by(bytes);
            return false;
        };
        self.bytes += bytes;
        self.records += records;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.bytes.dec_by(self.bytes);
        self.budget.0.records.dec_by(self.records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing_and_what_is_dropped_comes_back() {
        let (bytes, records) = (Gauge::default(), Gauge::default());
        let budget = Budget::new(100, 2, bytes.clone(), records.clone());
        let mut first = budget.take(60, 1).unwrap();
        assert!(budget.take(41, 0).is_none());
        assert!(!first.grow(10, 2), "records do not fit, so bytes go back");
        assert!(first.grow(40, 1));
        assert_eq!((bytes.get(), records.get()), (100, 2));
        drop(first);
        assert_eq!((bytes.get(), records.get()), (0, 0));
        assert!(budget.take(usize::MAX, 0).is_none());
        assert_eq!(bytes.get(), 0);
    }
}
