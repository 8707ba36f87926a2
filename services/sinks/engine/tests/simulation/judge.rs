//! What a world is judged by.

use std::time::Duration;

use pushrail_sink_core::Batch;
use pushrail_sink_engine::core::Kind;
use uuid::Uuid;

use super::World;

impl World {
    /// A call carries what the kind allows, of one group.
    pub(super) fn assert_batch(&self, batch: &Batch) {
        let Kind {
            batch: limits,
            batching,
            ..
        } = &self.kind;
        let bytes: usize = batch.iter().map(|r| (batching.weigh)(r)).sum();
        assert!(
            !batch.is_empty() && batch.len() <= limits.records,
            "{}",
            batch.len()
        );
        assert!(bytes <= limits.bytes || batch.len() == 1, "{bytes}");
        let group = (batching.group)(&batch[0]);
        assert!(batch.iter().all(|r| (batching.group)(r) == group));
    }

    pub(crate) fn assert_conserved(&self) {
        for id in &self.published {
            assert!(
                self.delivered.contains_key(id) || self.dead.contains(id),
                "{id} is lost"
            );
        }
    }

    pub(crate) fn assert_no_duplicates(&self) {
        for (id, times) in &self.delivered {
            assert_eq!(*times, 1, "{id} was delivered {times} times");
            assert!(!self.dead.contains(id), "{id} is both delivered and dead");
        }
    }

    pub(crate) fn assert_duplicates_were_under_way_at_a_crash(&self) {
        for (id, times) in &self.delivered {
            assert!(
                *times == 1 || self.under_way_at_crash.contains(id),
                "{id} was delivered {times} times"
            );
        }
    }

    /// Attempts that a delivery took which came to its end, and whether that end was the dead letters.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (Uuid, u32, bool)> {
        let ended = |id: &Uuid| Some((*id, *self.attempts.get(id)?, self.dead.contains(id)));
        self.published.iter().filter_map(ended)
    }

    /// Longest time from publication to the first attempt at a destination that is well.
    pub(crate) fn worst_wait_of_the_healthy(&self) -> Duration {
        self.worst_wait
    }

    /// Deliveries that neither ended well nor as dead letters yet.
    pub(crate) fn owed(&self) -> usize {
        let ended = |id: &&Uuid| self.delivered.contains_key(*id) || self.dead.contains(*id);
        self.published.iter().filter(|id| !ended(id)).count()
    }

    pub(crate) fn deferrals_of_the_healthy(&self) -> usize {
        self.healthy_deferrals
    }
}
