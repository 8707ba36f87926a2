//! What Pushrail's sink is measured against. Both do the same visible work on the same receiver and broker, and nothing
//! of what makes a sink safe: no lanes, no breaker, no retry, no back-pressure, no configuration.

pub mod bare;
pub mod minimal;
mod post;

use serde::{Deserialize, Serialize};

/// What a drain came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Drained {
    pub deliveries: u64,
    pub wall_us: u64,
    /// CPU of the sending process, user and system.
    pub cpu_us: u64,
}

impl Drained {
    pub fn per_second(&self) -> f64 {
        self.deliveries as f64 / (self.wall_us.max(1) as f64 / 1e6)
    }

    pub fn cpu_us_each(&self) -> f64 {
        self.cpu_us as f64 / self.deliveries.max(1) as f64
    }
}

/// Measures the process it runs in, from now on.
pub(crate) struct Meter {
    started: tokio::time::Instant,
    cpu_us: u64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Meter {
            started: tokio::time::Instant::now(),
            cpu_us: crate::machine::cpu_us(std::process::id()),
        }
    }

    pub(crate) fn stop(&self, deliveries: u64) -> Drained {
        Drained {
            deliveries,
            wall_us: self.started.elapsed().as_micros() as u64,
            cpu_us: crate::machine::cpu_us(std::process::id()) - self.cpu_us,
        }
    }
}
