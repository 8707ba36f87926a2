//! Medians and percentiles, exact: everything is kept and sorted.

/// Percentiles of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Latency {
    pub count: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    /// Of latencies in microseconds, in any order.
    pub fn of(latencies_us: impl IntoIterator<Item = i64>) -> Self {
        let mut sorted: Vec<i64> = latencies_us.into_iter().collect();
        sorted.sort_unstable();
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted
                .get(rank.saturating_sub(1))
                .map_or(0.0, |us| *us as f64 / 1e3)
        };
        Latency {
            count: sorted.len(),
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

/// The middle value (the lower one of two); 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let latency = Latency::of((1..=1000).rev().map(|n| n * 1000));
        assert_eq!(
            (latency.p50_ms, latency.p99_ms, latency.max_ms),
            (500.0, 990.0, 1000.0)
        );
        assert_eq!(Latency::of([]).p99_ms, 0.0);
    }

    #[test]
    fn a_median_ignores_an_outlier() {
        assert_eq!(median([1.0, 900.0, 2.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }
}
