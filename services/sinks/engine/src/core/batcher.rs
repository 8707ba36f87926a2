//! The batches of one lane.
//!
//! Each group of records has at most one batch open. It is closed when it has as many records or bytes as a call may carry,
//! when its oldest record has waited long enough, or when the worker must hold less; a closed batch waits for its turn, and
//! a record that comes then opens the next. So what a batch holds follows from the order of the records and from the limits,
//! and not from how busy the destination was: the same records read again make the same batches, but for those that were
//! closed by time. A record that is larger than a batch may be is one by itself.

use std::collections::VecDeque;

use hashbrown::HashMap;
use pushrail_sink_core::BatchLimits;
use smallvec::SmallVec;

use super::item::{Item, Weight};

/// Records for one call.
pub(super) type Items = SmallVec<[Item; 1]>;

#[derive(Debug, Default)]
pub(super) struct Batcher {
    open: HashMap<u64, Batch>,
    /// Closed batches, in the order in which they were closed.
    ready: VecDeque<Batch>,
    records: usize,
    cost: usize,
    open_size: Open,
}

/// What waits for company, and not for its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) batches: usize,
    pub(super) records: usize,
    pub(super) cost: usize,
}

#[derive(Debug)]
struct Batch {
    /// Tells it from all others of the worker, in the order in which they were opened.
    number: u64,
    items: Items,
    /// As the limits count them.
    bytes: usize,
    cost: usize,
}

impl Batcher {
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Sum of [`Item::cost`] of all that waits.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn open_size(&self) -> Open {
        self.open_size
    }

    /// Records in the batch whose turn is next.
    pub(super) fn next_len(&self) -> Option<usize> {
        self.ready.front().map(|batch| batch.items.len())
    }

    /// Adds a record to its group's batch, or opens batch `number` with it. Says whether that one is open now.
    pub(super) fn push(&mut self, item: Item, limits: &BatchLimits, number: u64) -> bool {
        let Weight { group, bytes } = item.weight;
        let overflows = |batch: &Batch| batch.bytes.saturating_add(bytes) > limits.bytes;
        if self.open.get(&group).is_some_and(overflows) {
            self.close(group);
        }
        let batch = self.open.entry(group).or_insert_with(|| {
            self.open_size.batches += 1;
            Batch {
                number,
                items: Items::new(),
                bytes: 0,
                cost: 0,
            }
        });
        let cost = item.cost();
        batch.items.push(item);
        batch.bytes = batch.bytes.saturating_add(bytes);
        batch.cost += cost;
        let is_new = batch.number == number;
        let is_full = batch.items.len() >= limits.records || batch.bytes >= limits.bytes;
        self.records += 1;
        self.cost += cost;
        self.open_size.records += 1;
        self.open_size.cost += cost;
        if is_full {
            self.close(group);
        }
        is_new && !is_full
    }

    /// Closes this very batch of the group, if it is still open.
    pub(super) fn close_number(&mut self, group: u64, number: u64) -> bool {
        let is_open = self.is_open(group, number);
        if is_open {
            self.close(group);
        }
        is_open
    }

    pub(super) fn is_open(&self, group: u64, number: u64) -> bool {
        self.open
            .get(&group)
            .is_some_and(|batch| batch.number == number)
    }

    /// Closes every batch, the oldest first. Says whether there was one.
    pub(super) fn close_all(&mut self) -> bool {
        let mut open: Vec<Batch> = self.open.drain().map(|(_, batch)| batch).collect();
        open.sort_unstable_by_key(|batch| batch.number);
        self.open_size = Open::default();
        let any = !open.is_empty();
        self.ready.extend(open);
        any
    }

    fn close(&mut self, group: u64) {
        if let Some(batch) = self.open.remove(&group) {
            self.open_size.batches -= 1;
            self.open_size.records -= batch.items.len();
            self.open_size.cost -= batch.cost;
            self.ready.push_back(batch);
        }
    }

    /// Takes the batch whose turn is next, and its cost.
    pub(super) fn take(&mut self) -> Option<(Items, usize)> {
        let Batch { items, cost, .. } = self.ready.pop_front()?;
        self.records -= items.len();
        self.cost -= cost;
        Some((items, cost))
    }

    /// Takes the one record that has waited longest.
    pub(super) fn take_first(&mut self) -> Option<Item> {
        if self.ready.is_empty() {
            self.close_all();
        }
        let batch = self.ready.front_mut()?;
        let item = batch.items.remove(0);
        batch.cost -= item.cost();
        self.records -= 1;
        self.cost -= item.cost();
        if batch.items.is_empty() {
            self.ready.pop_front();
        }
        Some(item)
    }

    /// Takes everything that waits, in its order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Item> + use<> {
        self.close_all();
        let all = std::mem::take(self);
        all.ready.into_iter().flat_map(|batch| batch.items)
    }

    /// Keeps the next `batches` closed batches whatever is in them; removes what is `gone` from the others.
    pub(super) fn remove(&mut self, batches: usize, mut gone: impl FnMut(&Item) -> bool) {
        let open = self.open.values_mut();
        for batch in self.ready.iter_mut().skip(batches).chain(open) {
            batch.items.retain(|item| !gone(item));
            batch.cost = batch.items.iter().map(Item::cost).sum();
        }
        self.ready.retain(|batch| !batch.items.is_empty());
        self.open.retain(|_, batch| !batch.items.is_empty());
        self.count();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        let batches = self.ready.iter().chain(self.open.values());
        batches.flat_map(|batch| &batch.items)
    }

    fn count(&mut self) {
        self.open_size = Open {
            batches: self.open.len(),
            records: self.open.values().map(|b| b.items.len()).sum(),
            cost: self.open.values().map(|b| b.cost).sum(),
        };
        let ready = self.ready.iter();
        self.records = self.open_size.records + ready.clone().map(|b| b.items.len()).sum::<usize>();
        self.cost = self.open_size.cost + ready.map(|b| b.cost).sum::<usize>();
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
