//! Which records of a partition are finished, and how far that may be committed.
//!
//! Kafka keeps one number for a group and partition: everything below it is done. Deliveries finish out of order, so a
//! consumer that commits the highest finished offset loses what is still under way below it, and one that commits only
//! the contiguous prefix repeats everything above it after a crash. The ledger does neither: it commits the prefix, and
//! writes which offsets above it are already finished into the commit's metadata, run-length coded. The next owner reads
//! both and repeats only what was under way.
//!
//! Metadata is an economy, never a condition: when it grows too long its tail is dropped and those records are repeated.
//!
//! One ledger lives as long as one assignment of one partition. It does no I/O and knows no time.

mod metadata;

use std::collections::VecDeque;

pub use metadata::{Marks, Metadata};

/// State of the offsets of one partition from the first unfinished one on.
#[derive(Debug)]
pub struct Ledger {
    /// First offset that is not settled: what a commit says.
    base: i64,
    /// One entry per offset from `base` on: settled or not.
    settled: VecDeque<bool>,
    /// Unsettled entries.
    pending: usize,
    /// Offsets that the previous owner had settled above its prefix, ascending and disjoint, `[start, end)`.
    inherited: VecDeque<(i64, i64)>,
    marks: Marks,
}

/// What to do with a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Process it, and settle it when that is finished.
    New,
    /// An earlier owner finished it, or it was read twice: pass over it.
    Seen,
}

impl Ledger {
    /// Starts where the group's commit stands. `metadata` is what the commit carried; what can't be read of it counts as
    /// nothing, which only repeats work.
    pub fn new(committed: i64, metadata: &str) -> Self {
        let Metadata { marks, runs } = Metadata::parse(committed, metadata);
        Ledger {
            base: committed,
            settled: VecDeque::new(),
            pending: 0,
            inherited: runs.into(),
            marks,
        }
    }

    /// Takes note of a record that was read. Offsets rise; those that Kafka skipped count as settled.
    pub fn receive(&mut self, offset: i64) -> Receipt {
        let next = self.next();
        if offset < next {
            return Receipt::Seen;
        }
        if self.settled.is_empty() {
            self.base = offset;
        } else {
            self.settled
                .resize(self.settled.len() + (offset - next) as usize, true);
        }
        while self
            .inherited
            .front()
            .is_some_and(|(_, end)| *end <= offset)
        {
            self.inherited.pop_front();
        }
        if self
            .inherited
            .front()
            .is_some_and(|(start, _)| *start <= offset)
        {
            self.settled.push_back(true);
            self.advance();
            return Receipt::Seen;
        }
        self.settled.push_back(false);
        self.pending += 1;
        self.advance();
        Receipt::New
    }

    /// Marks a received record as finished. Settling twice, or what was never received, changes nothing.
    pub fn settle(&mut self, offset: i64) {
        let Some(entry) = usize::try_from(offset - self.base)
            .ok()
            .and_then(|i| self.settled.get_mut(i))
        else {
            return;
        };
        if !std::mem::replace(entry, true) {
            self.pending -= 1;
            self.advance();
        }
    }

    fn advance(&mut self) {
        while self.settled.front() == Some(&true) {
            self.settled.pop_front();
            self.base += 1;
        }
        // What an earlier owner finished right above needs no reading before it may be committed.
        while self.settled.is_empty()
            && self
                .inherited
                .front()
                .is_some_and(|(start, _)| *start <= self.base)
        {
            self.base = self
                .base
                .max(self.inherited.pop_front().map_or(self.base, |(_, end)| end));
        }
    }

    /// The offset to commit: everything below it is settled.
    pub fn committable(&self) -> i64 {
        self.base
    }

    /// The next offset that has not been received.
    pub fn next(&self) -> i64 {
        self.base + self.settled.len() as i64
    }

    /// Records received and not settled.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Offsets between the commit and the newest received one: what a crash could make the next owner look at again.
    pub fn window(&self) -> usize {
        self.settled.len()
    }

    /// Whether `offset` was received and is not settled.
    pub fn is_pending(&self, offset: i64) -> bool {
        usize::try_from(offset - self.base)
            .ok()
            .and_then(|i| self.settled.get(i))
            == Some(&false)
    }

    /// What the last owner left behind about crashes.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Sets what the next commit says about crashes.
    pub fn set_marks(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// The metadata of a commit, at most `len_max` bytes long.
    pub fn metadata(&self, len_max: usize) -> String {
        Metadata {
            marks: self.marks,
            runs: self.runs(),
        }
        .write(self.base, len_max)
    }

    /// Settled runs above the prefix, with what is inherited and not yet read again.
    fn runs(&self) -> Vec<(i64, i64)> {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        let mut open = None;
        for (i, settled) in self.settled.iter().enumerate() {
            let offset = self.base + i as i64;
            match (settled, open) {
                (true, None) => open = Some(offset),
                (false, Some(start)) => {
                    runs.push((start, offset));
                    open = None;
                }
                _ => {}
            }
        }
        runs.extend(open.map(|start| (start, self.next())));
        for &(start, end) in &self.inherited {
            let start = start.max(self.next());
            match runs.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ if start < end => runs.push((start, end)),
                _ => {}
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests;
