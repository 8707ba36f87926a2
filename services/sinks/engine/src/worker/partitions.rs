//! Assignment, hand-over and commits.
//!
//! A revoked partition is given back only when its attempts have ended and all that was written for it is acknowledged, or
//! its time is up; then its last commit is made, synchronously, while it is still ours. So a planned hand-over repeats
//! nothing. Batches that wait for company are sent before the hand-over, as far as that can begin at once; the rest is not
//! settled, and the next owner's. The next owner reads the commit's metadata before its first record.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use pushrail_kafka::rdkafka::consumer::CommitMode;
use pushrail_kafka::{Consumer, Error, TopicPartition};
use pushrail_ledger::Ledger;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::poison::Watch;
use crate::core::{Core, Source, Unsent};
use crate::settings::Settings;

/// How long the broker may take to say where the group stands.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a partition rests after Kafka refused something of it.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Partitions {
    topic: Arc<str>,
    commit_interval: Duration,
    metadata_len_max: usize,
    next_commit: Instant,
    /// What the last commit of each assigned partition covered: its offset, and how much was pending of how much.
    committed: HashMap<i32, (i64, usize, usize)>,
    revoking: Vec<(Vec<TopicPartition>, Instant)>,
    watches: HashMap<i32, Watch>,
    resting: Vec<(i32, Instant)>,
    leaving: bool,
}

impl Partitions {
    pub(super) fn new(topic: &str, settings: &Settings) -> Self {
        Partitions {
            topic: topic.into(),
            commit_interval: settings.commit_interval,
            metadata_len_max: settings.metadata_len_max,
            next_commit: Instant::now(),
            committed: HashMap::new(),
            revoking: Vec::new(),
            watches: HashMap::new(),
            resting: Vec::new(),
            leaving: false,
        }
    }

    fn assigned(&self) -> Vec<TopicPartition> {
        let revoking = |p: i32| {
            self.revoking
                .iter()
                .flat_map(|(list, _)| list)
                .any(|tp| tp.partition == p)
        };
        self.committed
            .keys()
            .filter(|p| !revoking(**p))
            .map(|p| self.name(*p))
            .collect()
    }

    fn name(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.topic),
            partition,
        }
    }

    /// Takes partitions over where their last owner left them, and counts the start before any work is done.
    pub(super) fn assigned_now(
        &mut self,
        list: &[TopicPartition],
        core: &mut Core,
        consumer: &Consumer,
    ) -> Result<(), Error> {
        let mut start = Vec::with_capacity(list.len());
        for committed in consumer.committed(list, COMMITTED_TIMEOUT)? {
            let (tp, offset) = (committed.partition, committed.offset);
            let mut ledger = Ledger::new(offset.unwrap_or(0), &committed.metadata);
            let watch = Watch::start(&mut ledger, Instant::now());
            if watch.is_careful() {
                tracing::warn!(partition = %tp, marks = ?ledger.marks(), "sink.partition_handled_with_care");
            }
            tracing::info!(partition = %tp, offset, window = ledger.metadata(usize::MAX).len(), "sink.partition_assigned");
            self.watches.insert(tp.partition, watch);
            self.committed.insert(tp.partition, (-1, 0, 0));
            core.assign(tp.partition, ledger);
            start.push((tp, offset));
        }
        let known: Vec<i32> = start
            .iter()
            .filter(|(_, o)| o.is_some())
            .map(|(tp, _)| tp.partition)
            .collect();
        self.commit(|p| known.contains(&p), CommitMode::Sync, core, consumer);
        Ok(consumer.start(&start)?)
    }

    /// Begins to give partitions back; what is under way may go on until `deadline`.
    pub(super) fn revoking(
        &mut self,
        list: Vec<TopicPartition>,
        deadline: Instant,
        core: &mut Core,
    ) {
        let now = Instant::now();
        let unsent = if deadline > now {
            Unsent::Flush
        } else {
            Unsent::Leave
        };
        list.iter()
            .for_each(|tp| core.revoke(now, tp.partition, unsent));
        if !list.is_empty() {
            self.revoking.push((list, deadline));
        }
    }

    pub(super) fn is_revoking(&self) -> bool {
        !self.revoking.is_empty()
    }

    /// Begins to give everything back: the worker leaves the group. The partitions themselves go back when its consumer is
    /// closed.
    pub(super) fn leave(&mut self, deadline: Instant, core: &mut Core) {
        self.leaving = true;
        self.revoking(self.assigned(), deadline, core);
    }

    /// Gives back what is finished or has waited long enough; with `all`, everything.
    pub(super) fn release_ready(
        &mut self,
        core: &mut Core,
        outbox: &Outbox,
        consumer: &Consumer,
        all: bool,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let mut at = 0;
        while at < self.revoking.len() {
            let (list, deadline) = &self.revoking[at];
            let busy = |tp: &TopicPartition| {
                core.is_under_way(tp.partition) || outbox.awaits(tp.partition)
            };
            if !all && now < *deadline && list.iter().any(busy) {
                at += 1;
                continue;
            }
            let (list, _) = self.revoking.swap_remove(at);
            for tp in &list {
                if let Some(ledger) = core.ledger_mut(tp.partition) {
                    // A planned end is no crash.
                    ledger.set_marks(pushrail_ledger::Marks::default());
                }
            }
            self.commit(
                |p| list.iter().any(|tp| tp.partition == p),
                CommitMode::Sync,
                core,
                consumer,
            );
            for tp in &list {
                let left = core
                    .release(tp.partition)
                    .map_or(0, |ledger| ledger.pending());
                self.committed.remove(&tp.partition);
                self.watches.remove(&tp.partition);
                tracing::info!(partition = %tp, left, "sink.partition_released");
            }
            if !self.leaving {
                consumer.release(&list)?;
            }
        }
        Ok(())
    }

    pub(super) fn commit_due(&mut self, now: Instant, core: &mut Core, consumer: &Consumer) {
        self.wake_rested(now, consumer);
        if now < self.next_commit {
            return;
        }
        self.next_commit = now + self.commit_interval;
        for (partition, watch) in &mut self.watches {
            if let Some(ledger) = core.ledger_mut(*partition) {
                watch.progress(ledger, now);
            }
        }
        self.commit(|_| true, CommitMode::Async, core, consumer);
    }

    /// Commits the chosen partitions where something changed. A commit that fails is made good by the next.
    fn commit(
        &mut self,
        chosen: impl Fn(i32) -> bool,
        mode: CommitMode,
        core: &Core,
        consumer: &Consumer,
    ) {
        let sync = matches!(mode, CommitMode::Sync);
        let mut commits = Vec::new();
        for (partition, ledger) in core.ledgers().filter(|(p, _)| chosen(*p)) {
            let state = (ledger.committable(), ledger.pending(), ledger.window());
            let last = self.committed.entry(partition).or_insert((-1, 0, 0));
            // Nothing has been read of a partition that stands at 0 and never moved: nothing to say.
            if *last != state && state != (0, 0, 0) || sync {
                *last = state;
                commits.push((
                    self.name(partition),
                    state.0,
                    ledger.metadata(self.metadata_len_max),
                ));
            }
        }
        let commits = commits
            .iter()
            .map(|(tp, offset, metadata)| (tp, *offset, metadata.clone()));
        if let Err(error) = consumer.commit(commits, mode) {
            tracing::warn!(%error, sync, "sink.commit_failed");
        }
    }

    /// Starts a partition over from its commit, after a pause: Kafka refused something that was written for it.
    pub(super) fn rewind(
        &mut self,
        partition: i32,
        core: &mut Core,
        consumer: &Consumer,
    ) -> Result<(), Error> {
        let Some(offset) = core.rewind(partition) else {
            return Ok(());
        };
        let tp = self.name(partition);
        tracing::warn!(partition = %tp, offset, "sink.partition_rewound");
        // Before anything else is read: the ledger takes skipped offsets for settled.
        consumer.seek(&tp, offset)?;
        consumer.pause(&tp)?;
        self.resting
            .push((partition, Instant::now() + REFUSED_PAUSE));
        Ok(())
    }

    fn wake_rested(&mut self, now: Instant, consumer: &Consumer) {
        let topic = Arc::clone(&self.topic);
        self.resting.retain(|(partition, until)| {
            let tp = TopicPartition {
                topic: Arc::clone(&topic),
                partition: *partition,
            };
            if *until > now {
                return true;
            }
            if let Err(error) = consumer.resume(&tp) {
                // Only where the partition is no longer ours.
                tracing::debug!(%error, partition = %tp, "sink.resume_refused");
            }
            false
        });
    }

    pub(super) fn pause(&self, partition: i32, consumer: &Consumer) -> Result<(), Error> {
        tracing::info!(partition, "sink.partition_paused");
        Ok(consumer.pause(&self.name(partition))?)
    }

    pub(super) fn resume(&self, partition: i32, consumer: &Consumer) -> Result<(), Error> {
        tracing::info!(partition, "sink.partition_resumed");
        Ok(consumer.resume(&self.name(partition))?)
    }

    /// Whether a record is known to kill its reader. In a partition that is handled with care, names it as suspect before
    /// it is handled, and lets no other in until it is settled.
    pub(super) fn is_poison(
        &mut self,
        source: Source,
        core: &mut Core,
        consumer: &Consumer,
    ) -> Result<bool, Error> {
        let Some(watch) = self
            .watches
            .get_mut(&source.partition)
            .filter(|w| w.is_careful())
        else {
            return Ok(false);
        };
        let Some(ledger) = core.ledger_mut(source.partition) else {
            return Ok(false);
        };
        if watch.convicts(ledger, source.offset) {
            return Ok(true);
        }
        watch.suspect(ledger, source.offset, Instant::now());
        self.commit(|p| p == source.partition, CommitMode::Sync, core, consumer);
        Ok(false)
    }

    /// Whether a suspect is being handled alone: nothing else may be read meanwhile.
    pub(super) fn is_alone(&self, core: &Core, now: Instant) -> bool {
        self.watches
            .iter()
            .filter(|(_, watch)| watch.is_careful())
            .any(|(partition, watch)| {
                core.ledger(*partition)
                    .is_some_and(|ledger| watch.is_alone(ledger, now))
            })
    }

    /// Records between the commits and the ends of the partitions.
    pub(super) fn lag(&self, core: &Core, consumer: &Consumer) -> i64 {
        let lag = |(partition, ledger): (i32, &Ledger)| {
            let end = consumer.high_watermark(&self.name(partition))?;
            Some((end - ledger.committable()).max(0))
        };
        core.ledgers().filter_map(lag).sum()
    }
}
