//! A worker as a member of its group: what it is given, what it gives back, what it commits.
//!
//! Nothing here waits for the group's coordinator, except the question where the group stands in new partitions, which
//! librdkafka can only ask so: it takes a few milliseconds, and is asked again when there is no answer within a second.
//! Commits are sent and answered while work goes on; before a partition is given back, its last one must be confirmed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rdkafka::consumer::CommitMode;
use tokio::time::Instant;

use super::Handler;
use super::partition::Partition;
use super::run::Relay;
use crate::{Error, Polled, TopicPartition};

/// How long the group's coordinator may take to say where a partition stands.
const COMMITTED_WITHIN: Duration = Duration::from_secs(1);
/// How long the last commit of a partition, or of a worker, may take. It is best effort: without it work is repeated.
const SAVE_WITHIN: Duration = Duration::from_secs(5);
/// More than what may have been fetched before reading was stopped.
const POLLS: usize = 10_000;

/// Partitions that the group wants back.
pub(super) struct Revocation {
    partitions: Vec<TopicPartition>,
    /// What is under way is waited for until then.
    drain_until: Instant,
    /// Somebody else has them already.
    lost: bool,
}

/// What the shared counters hold of one worker.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    lag: i64,
    partitions: i64,
    held: i64,
}

impl Relay<'_> {
    /// Starts what has been assigned, as soon as its commits are known.
    pub(super) fn assign(&mut self, handler: &mut impl Handler, now: Instant) -> Result<(), Error> {
        if self.assigning.is_empty() || now < self.assign_at {
            return Ok(());
        }
        let committed = match self.consumer.committed(&self.assigning, COMMITTED_WITHIN) {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%error, "relay.commits_unknown");
                self.assign_at = Instant::now() + COMMITTED_WITHIN;
                return Ok(());
            }
        };
        self.assigning.clear();
        let mut start = Vec::with_capacity(committed.len());
        for committed in committed {
            let (tp, offset) = (committed.partition, committed.offset);
            tracing::info!(partition = %tp, offset, "relay.partition_assigned");
            handler.assigned(&tp, offset);
            let epoch = self.pending.next_epoch();
            let mut partition = Partition::new(offset, &committed.metadata, epoch);
            partition.ready = handler.ready(&tp);
            self.partitions.insert(tp.clone(), partition);
            start.push((tp, offset));
        }
        Ok(self.consumer.start(&start)?)
    }

    pub(super) fn revoked(&mut self, partitions: Vec<TopicPartition>, lost: bool) {
        for tp in &partitions {
            if let Some(partition) = self.partitions.get_mut(tp) {
                partition.revoking = true;
                // Read and not yet begun: the next owner's.
                partition.held.clear();
            }
        }
        self.revoking.push(Revocation {
            partitions,
            drain_until: Instant::now() + self.settings.drain_timeout,
            lost,
        });
    }

    /// Gives partitions back whose last copies have been acknowledged and committed, or that have waited long enough.
    pub(super) fn release(
        &mut self,
        handler: &mut impl Handler,
        now: Instant,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < self.revoking.len() {
            let revocation = &self.revoking[at];
            let lost = revocation.lost || self.consumer.is_assignment_lost();
            let drain_until = revocation.drain_until;
            let ours = |tp| self.partitions.get(tp);
            let under_way = revocation
                .partitions
                .iter()
                .filter_map(ours)
                .any(|p| p.under_way > 0);
            if under_way && now < drain_until && !lost {
                at += 1;
                continue;
            }
            if now < drain_until + SAVE_WITHIN && !lost && !self.save_some(at, now) {
                at += 1;
                continue;
            }
            let partitions = self.revoking.swap_remove(at).partitions;
            for tp in &partitions {
                self.partitions.remove(tp);
                handler.revoked(tp);
                tracing::info!(partition = %tp, lost, "relay.partition_released");
            }
            self.consumer.release(&partitions)?;
        }
        Ok(())
    }

    /// Whether the commits of a revocation's partitions are confirmed; sends them where they are not under way.
    fn save_some(&mut self, at: usize, now: Instant) -> bool {
        self.take_outcomes();
        let chosen = std::mem::take(&mut self.revoking[at].partitions);
        self.commit(Some(&chosen), now);
        let mut ours = chosen.iter().filter_map(|tp| self.partitions.get(tp));
        let saved = ours.all(Partition::is_saved);
        self.revoking[at].partitions = chosen;
        saved
    }

    /// Commits everything, and waits until it is confirmed or has taken too long.
    pub(super) async fn save(&mut self) {
        let deadline = Instant::now() + SAVE_WITHIN;
        for tp in self.partitions.keys() {
            // Or records would come for as long as there are any. A failure costs a longer wait.
            let _ = self.consumer.pause(tp);
        }
        loop {
            // Answers come with what is polled. Records stay uncommitted, and rebalances are answered when the consumer
            // is dropped.
            for _ in 0..POLLS {
                if matches!(self.consumer.poll(), Polled::Idle) {
                    break;
                }
            }
            self.take_outcomes();
            self.commit(None, Instant::now());
            if self.partitions.values().all(Partition::is_saved) {
                return;
            }
            if tokio::time::timeout_at(deadline, self.consumer.wait())
                .await
                .is_err()
            {
                tracing::warn!("relay.last_commit_unconfirmed");
                return;
            }
        }
    }

    /// Sends a commit for each partition, or each of `only`, that has news.
    pub(super) fn commit(&mut self, only: Option<&[TopicPartition]>, now: Instant) {
        self.take_outcomes();
        let len_max = self.settings.metadata_len_max;
        let mut commits = Vec::new();
        for (tp, partition) in &mut self.partitions {
            if only.is_none_or(|only| only.contains(tp))
                && let Some((offset, metadata)) = partition.unsaved(len_max, now)
            {
                commits.push((tp.clone(), offset, metadata));
            }
        }
        let list = commits
            .iter()
            .map(|(tp, offset, metadata)| (tp, *offset, metadata.clone()));
        if let Err(error) = self.consumer.commit(list, CommitMode::Async) {
            tracing::warn!(%error, "relay.commit_failed");
            for (tp, ..) in &commits {
                if let Some(partition) = self.partitions.get_mut(tp) {
                    partition.saved(false);
                }
            }
        }
    }

    fn take_outcomes(&mut self) {
        for (tp, outcome) in self.consumer.outcomes() {
            if let Err(error) = &outcome {
                tracing::warn!(%error, partition = %tp, "relay.commit_failed");
            }
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.saved(outcome.is_ok());
            }
        }
    }

    /// Workers share the counters, so each adds what has changed on its side.
    pub(super) fn measure(&mut self) {
        let mut shown = Shown {
            partitions: self.partitions.len() as i64,
            ..Shown::default()
        };
        let mut held_bytes = 0;
        for (tp, partition) in &self.partitions {
            let end = self.consumer.high_watermark(tp).unwrap_or(0);
            shown.lag += end.saturating_sub(partition.ledger.committable()).max(0);
            shown.held += partition.held.len() as i64;
            held_bytes += partition.held.bytes();
        }
        self.held_bytes = held_bytes;
        self.show(shown);
    }

    fn show(&mut self, now: Shown) {
        let was = std::mem::replace(&mut self.shown, now);
        let add = |counter: &AtomicI64, by| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.counters.lag, now.lag - was.lag);
        add(&self.counters.partitions, now.partitions - was.partitions);
        add(&self.counters.held, now.held - was.held);
    }

    pub(super) fn forget(&mut self, handler: &mut impl Handler) {
        self.show(Shown::default());
        for (tp, _) in self.partitions.drain() {
            handler.revoked(&tp);
        }
    }
}
