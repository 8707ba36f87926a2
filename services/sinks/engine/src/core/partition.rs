//! One assigned partition: its ledger, and how far reading may run ahead.

use std::time::Duration;

use pushrail_ledger::Ledger;

use crate::settings::Limits;

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) epoch: u64,
    pub(super) ledger: Ledger,
    pub(super) paused: bool,
    /// Being handed over: nothing new is read or started.
    pub(super) revoking: bool,
    /// Records a second, an average that forgets; and how many came since it was last looked at.
    rate: f64,
    pub(super) arrived: u64,
}

impl Partition {
    pub(super) fn new(epoch: u64, ledger: Ledger) -> Self {
        Partition {
            epoch,
            ledger,
            paused: false,
            revoking: false,
            rate: 0.0,
            arrived: 0,
        }
    }

    pub(super) fn measure(&mut self, elapsed: Duration) {
        let now = std::mem::take(&mut self.arrived) as f64 / elapsed.as_secs_f64().max(1e-3);
        self.rate += (now - self.rate) * 0.2;
    }

    pub(super) fn is_too_far_ahead(&self, limits: &Limits, stay_max: Duration) -> bool {
        self.ledger.window() >= limits.window(self.rate, stay_max)
    }

    /// Half way back: a partition must not be paused and resumed record by record.
    pub(super) fn has_caught_up(&self, limits: &Limits, stay_max: Duration) -> bool {
        self.ledger.window() <= limits.window(self.rate, stay_max) / 2
    }
}
