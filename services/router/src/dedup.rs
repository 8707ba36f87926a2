//! Dropping repeats of an event within a window, across crashes and rebalances.
//!
//! An event whose id is derived from an idempotency key may be accepted twice: the vendor did not hear the first `202`,
//! or a producer repeated it. Both records have the same id and the same partition key, so the same worker sees both.
//!
//! **The rule.** For each id the worker remembers the *offsets* of originals and when they were accepted. Of those at or
//! before a record's own offset, the last one decides. The record is
//!
//! - the original, when it stands at that very offset: it is being read again after a crash or a rebalance, and is routed
//!   again, because nobody knows how far its fan-out got. Its delivery ids are the same, so that is the at-least-once that
//!   the pipeline promises anyway;
//! - a duplicate, when it was accepted less than a window after the original: dropped and recorded;
//! - a new original otherwise.
//!
//! So the answer depends on the log before the record and on nothing else, and the same record gets the same answer however
//! often it is read: entries that a crash left behind from records further on do not count.
//!
//! **Durability.** Memory comes first, so a duplicate right behind its original is caught. The entry is also written to the
//! topic `dedup`, in the partition of the same number, as one of the copies of the record: the relay settles the
//! source offset only when all copies are acknowledged, so every offset that was ever committed has its entry there.
//! Whoever is assigned the partition reads the entries back before it handles a record (`restore`). Cases:
//!
//! - Crash after the entry was written, before the commit: the entry is restored, the record is read again at its offset,
//!   and is the original again.
//! - Crash before the entry was written: nothing is restored, the record is read again and is the first.
//! - The original settled and committed, the duplicate read by another worker: restored entry, smaller offset, dropped.
//! - The original not settled, the duplicate settled (the ledger keeps what is finished above the commit): after a crash
//!   only the original is read again.
//! - A former owner that still runs while the partition has a new one writes entries for records that the new owner reads
//!   too, at the same offsets: they agree. Its commits are fenced.
//!
//! **Time** is when events were accepted, as they say themselves, so catching up after a day of standing still finds the
//! same duplicates as keeping up would have. Entries a window older than the newest are forgotten, a twelfth of a window
//! at a time. Reading the topic back covers what it retains (`topics.toml`), which is more than the window.
//!
//! **Limits**, all on the side of delivering twice and never of losing: a partition keeps at most so many entries and
//! forgets the oldest first, which a metric shows; records that are read again may pass once where more than a window
//! lies between them and the newest that was read, as in a backlog of days; and when the partitions of `events` grow, keys move, and a repeat of an event that
//! was first seen in another partition passes, for one window.

pub(crate) mod changelog;
pub(crate) mod restore;
pub mod window;

#[cfg(test)]
mod simulation;

pub use window::{Sight, Window};
