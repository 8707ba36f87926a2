//! What a worker knows of one partition, and of the records whose copies are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::Equivalent;
use pushrail_ledger::{Ledger, Receipt};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::held::Held;
use super::{Outbox, Refusal, is_final};
use crate::TopicPartition;

/// How long a partition rests after Kafka refused a copy: doubled each time in a row.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(8);

/// A partition's key that can be looked up without allocating.
pub(super) struct Key<'a>(pub(super) &'a str, pub(super) i32);

impl std::hash::Hash for Key<'_> {
    fn hash<S: std::hash::Hasher>(&self, state: &mut S) {
        // Like the derived hash of `TopicPartition`: an `Arc<str>` hashes as its text.
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<TopicPartition> for Key<'_> {
    fn equivalent(&self, key: &TopicPartition) -> bool {
        self.1 == key.partition && *self.0 == *key.topic
    }
}

/// One assigned partition.
///
/// When Kafka refuses a copy, the record is neither settled nor forgotten: nothing further of the partition is begun,
/// what is under way is waited for, and the partition is read again from its commit. What the ledger knows to be finished
/// is passed over then, so only refused records are handled again, and of those only the copies that were not acknowledged
/// are sent again. As long as there are any, records go one by one, so that a record which is refused for hours keeps its
/// partition, and nothing else, where it is.
pub(super) struct Partition {
    pub(super) ledger: Ledger,
    pub(super) held: Held,
    /// Tells acknowledgements of an earlier assignment apart.
    pub(super) epoch: u64,
    pub(super) ready: bool,
    pub(super) revoking: bool,
    /// Records whose copies are under way.
    pub(super) under_way: usize,
    /// Copies were refused: begin nothing, and read again when nothing is under way.
    pub(super) rewinding: bool,
    refused: BTreeMap<i64, Refused>,
    rest: Duration,
    /// The next offset that reading should bring. It may bring a higher one.
    position: i64,
    /// Something was settled that no commit tells of.
    unsaved: bool,
    submitted: i64,
    /// A commit is under way, since then.
    pub(super) submitted_at: Option<Instant>,
}

struct Refused {
    refusal: Refusal,
    /// Fingerprints of the copies that were acknowledged.
    written: Vec<u64>,
}

/// What a record that was read is to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// Finished before, or to be read again.
    Pass,
    /// It was written where another one had been read: the log was cut. Read again from this offset, which may be the
    /// record's own.
    Cut(i64),
}

impl Partition {
    pub(super) fn new(committed: Option<i64>, metadata: &str, epoch: u64) -> Self {
        let start = committed.unwrap_or(0);
        Partition {
            ledger: Ledger::new(start, metadata),
            held: Held::default(),
            epoch,
            ready: false,
            revoking: false,
            under_way: 0,
            rewinding: false,
            refused: BTreeMap::new(),
            rest: REST,
            position: start,
            unsaved: false,
            submitted: start,
            submitted_at: None,
        }
    }

    pub(super) fn receive(&mut self, offset: i64) -> Arrival {
        if self.revoking || self.rewinding {
            return Arrival::Pass;
        }
        if offset < self.position {
            return Arrival::Cut(self.ledger.committable().min(offset));
        }
        self.position = offset + 1;
        match self.ledger.receive(offset) {
            Receipt::New => Arrival::New,
            Receipt::Seen => Arrival::Pass,
        }
    }

    /// Starts again at `offset`, in a log that is not the one that was read before.
    pub(super) fn restart(&mut self, offset: i64, epoch: u64) {
        self.ledger = Ledger::new(offset, "");
        self.epoch = epoch;
        self.held.clear();
        self.under_way = 0;
        self.rewinding = false;
        self.refused.clear();
        self.position = offset;
        self.submitted = offset;
    }

    /// Whether a record may not be handled as it comes, but has to wait behind others or for its partition.
    pub(super) fn must_queue(&self) -> bool {
        !self.ready || !self.held.is_empty() || self.held.until.is_some() || self.is_probing()
    }

    /// Whether there is something to offer, or to ask the handler for.
    pub(super) fn is_waiting(&self) -> bool {
        let waits = !self.ready || !self.held.is_empty() || self.held.until.is_some();
        waits && !self.revoking && !self.rewinding && !self.is_probing()
    }

    /// One at a time while there are refused records.
    pub(super) fn is_probing(&self) -> bool {
        self.under_way > 0 && !self.refused.is_empty()
    }

    pub(super) fn refusal(&self, offset: i64) -> Option<Refusal> {
        self.refused.get(&offset).map(|refused| refused.refusal)
    }

    /// Fingerprints of the record's copies that were acknowledged when others were refused.
    pub(super) fn written(&self, offset: i64) -> &[u64] {
        let refused = self.refused.get(&offset);
        refused.map_or(&[], |refused| &refused.written)
    }

    /// Takes note of what was acknowledged of a record that was refused.
    pub(super) fn keep_written(&mut self, offset: i64, written: impl Iterator<Item = u64>) {
        if let Some(refused) = self.refused.get_mut(&offset) {
            refused.written.extend(written);
        }
    }

    pub(super) fn settle(&mut self, offset: i64) {
        self.ledger.settle(offset);
        self.unsaved = true;
        if !self.refused.is_empty() {
            self.refused.remove(&offset);
            if self.refused.is_empty() {
                self.rest = REST;
            }
        }
    }

    pub(super) fn refuse(&mut self, offset: i64, code: RDKafkaErrorCode, is_first: bool) {
        let refused = self.refused.entry(offset).or_insert(Refused {
            refusal: Refusal { code, times: 0 },
            written: Vec::new(),
        });
        refused.refusal.code = code;
        // Once a try, however many of its copies were refused.
        refused.refusal.times += u32::from(is_final(code) && is_first);
        self.rewinding = true;
        self.held.clear();
    }

    /// Makes ready to read again from the commit, once nothing is under way; says from where.
    pub(super) fn rewind(&mut self, now: Instant) -> Option<i64> {
        if !self.rewinding || self.under_way > 0 || self.revoking {
            return None;
        }
        let offset = self.ledger.committable();
        self.ledger = Ledger::new(offset, &self.ledger.metadata(usize::MAX));
        self.position = offset;
        self.rewinding = false;
        self.held.until = Some(now + self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
        Some(offset)
    }

    /// The offset and metadata to commit, when there is news and no commit is under way.
    pub(super) fn unsaved(
        &mut self,
        metadata_len_max: usize,
        now: Instant,
    ) -> Option<(i64, String)> {
        let offset = self.ledger.committable();
        if self.submitted_at.is_some() || !self.unsaved && offset <= self.submitted {
            return None;
        }
        self.unsaved = false;
        self.submitted = offset;
        self.submitted_at = Some(now);
        Some((offset, self.ledger.metadata(metadata_len_max)))
    }

    /// Takes note of what became of the commit that was under way.
    pub(super) fn saved(&mut self, is_ok: bool) {
        self.submitted_at = None;
        self.unsaved |= !is_ok;
    }

    pub(super) fn is_saved(&self) -> bool {
        self.submitted_at.is_none() && !self.unsaved && self.ledger.committable() <= self.submitted
    }
}

/// Records whose copies await their acknowledgement. A slot is used again when all of its copies have been answered, so a
/// token never means two records.
#[derive(Default)]
pub(super) struct Pending {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Of the newest assignment.
    epoch: u64,
}

pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    pub(super) epoch: u64,
    pub(super) offset: i64,
    left: usize,
    pub(super) is_refused: bool,
    /// Fingerprints of its copies; empty where there is only one.
    copies: Vec<u64>,
    /// Those of the copies that were acknowledged.
    acknowledged: Vec<u64>,
}

/// Names a copy: its record's slot, and its place among the record's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(usize);

const COPY_BITS: u32 = usize::BITS / 2;

impl Token {
    pub(super) fn new(slot: usize, copy: usize) -> Self {
        Token(slot << COPY_BITS | copy)
    }

    pub(super) fn from_raw(raw: usize) -> Self {
        Token(raw)
    }

    pub(super) fn raw(self) -> usize {
        self.0
    }

    fn slot(self) -> usize {
        self.0 >> COPY_BITS
    }

    fn copy(self) -> usize {
        self.0 & ((1 << COPY_BITS) - 1)
    }
}

impl Slot {
    /// Fingerprints of the copies that were acknowledged; of a record with one copy, none.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = u64> + '_ {
        self.acknowledged.iter().copied()
    }
}

impl Pending {
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// A slot for a record whose copies are those of `outbox`.
    pub(super) fn add(
        &mut self,
        partition: TopicPartition,
        epoch: u64,
        offset: i64,
        outbox: &Outbox,
    ) -> usize {
        let at = self.free.pop().unwrap_or(self.slots.len());
        let (mut copies, mut acknowledged) = match self.slots.get_mut(at) {
            Some(old) => (
                std::mem::take(&mut old.copies),
                std::mem::take(&mut old.acknowledged),
            ),
            None => (Vec::new(), Vec::new()),
        };
        copies.clear();
        acknowledged.clear();
        if outbox.len() > 1 {
            outbox.fingerprints(&mut copies);
        }
        let slot = Slot {
            partition,
            epoch,
            offset,
            left: outbox.len(),
            is_refused: false,
            copies,
            acknowledged,
        };
        match self.slots.get_mut(at) {
            Some(old) => *old = slot,
            None => self.slots.push(slot),
        }
        at
    }

    pub(super) fn slot(&self, token: Token) -> &Slot {
        &self.slots[token.slot()]
    }

    /// Counts one answer; gives the record back when it was the last.
    pub(super) fn answer(&mut self, token: Token, is_refused: bool) -> Option<&Slot> {
        let slot = &mut self.slots[token.slot()];
        slot.left -= 1;
        if is_refused {
            slot.is_refused = true;
        } else if let Some(fingerprint) = slot.copies.get(token.copy()) {
            slot.acknowledged.push(*fingerprint);
        }
        if slot.left > 0 {
            return None;
        }
        self.free.push(token.slot());
        Some(&self.slots[token.slot()])
    }
}
