//! Finding a record that kills the process.
//!
//! Every owner of a partition counts its start in the commit metadata, and takes the count back once work goes well: when
//! the commit has moved, which it can't past a record that kills its reader, or when nothing has happened for a while. So
//! processes that are killed from outside, however often, convict nobody. An owner that finds several starts without
//! success handles the partition with care: it names each record as suspect in a commit before it handles it, for as long
//! as it takes to get past what could have been under way. The next owner that still finds a suspect there knows which
//! record it was, and sets it aside.

use std::time::Duration;

use pushrail_ledger::{Ledger, Marks};
use tokio::time::Instant;

/// Starts without success after which a partition is handled with care.
const BOOTS_MAX: u32 = 3;
/// How long work must go well for earlier starts to be forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// Records handled with care after which the partition is trusted again. One that kills its reader lies at the commit or a
/// little above it; where it lies higher, the next few deaths begin a search from a later commit.
const CAREFUL_RECORDS: u32 = 100;
/// How long a suspect is handled alone. What it has not killed by then it kills no more, and a destination that hangs must
/// not hold up the others.
const ALONE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Watch {
    careful: bool,
    /// The record that was being handled when the last owner died.
    convicted: Option<i64>,
    handled: u32,
    /// The record that is being handled alone, and until when.
    alone: Option<(i64, Instant)>,
    forgiven_at: Instant,
    /// The commit that was found at the start.
    found: i64,
}

impl Watch {
    pub(super) fn start(ledger: &mut Ledger, now: Instant) -> Self {
        let Marks { boots, suspect } = ledger.marks();
        let careful = boots >= BOOTS_MAX;
        ledger.set_marks(Marks {
            boots: boots.saturating_add(1),
            suspect: None,
        });
        Watch {
            careful,
            convicted: suspect.filter(|_| boots > BOOTS_MAX),
            handled: 0,
            alone: None,
            forgiven_at: now + FORGIVEN_AFTER,
            found: ledger.committable(),
        }
    }

    pub(super) fn is_careful(&self) -> bool {
        self.careful
    }

    /// Whether this is the record that killed the last owner. With that found, the partition is trusted again.
    pub(super) fn convicts(&mut self, ledger: &mut Ledger, offset: i64) -> bool {
        if self.convicted != Some(offset) {
            return false;
        }
        self.trust(ledger);
        true
    }

    /// Names a record as suspect.
    pub(super) fn suspect(&mut self, ledger: &mut Ledger, offset: i64, now: Instant) {
        self.handled += 1;
        self.alone = Some((offset, now + ALONE_MAX));
        if self.handled > CAREFUL_RECORDS {
            self.trust(ledger);
        } else {
            ledger.set_marks(Marks {
                suspect: Some(offset),
                ..ledger.marks()
            });
        }
    }

    /// Whether a suspect is still being handled, so that no other record may come.
    pub(super) fn is_alone(&self, ledger: &Ledger, now: Instant) -> bool {
        self.careful
            && self
                .alone
                .is_some_and(|(offset, until)| now < until && ledger.is_pending(offset))
    }

    /// Work goes on: what earlier owners went through no longer counts.
    pub(super) fn progress(&mut self, ledger: &mut Ledger, now: Instant) {
        let goes_well = ledger.committable() > self.found || now >= self.forgiven_at;
        if !self.careful && goes_well && ledger.marks() != Marks::default() {
            ledger.set_marks(Marks::default());
        }
    }

    fn trust(&mut self, ledger: &mut Ledger) {
        self.careful = false;
        self.convicted = None;
        ledger.set_marks(Marks::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that starts, takes over what the last one committed, and dies on `killer`.
    fn life(committed: &mut String, killer: i64, log: std::ops::Range<i64>) -> Option<i64> {
        let now = Instant::now();
        let mut ledger = Ledger::new(log.start, committed);
        let mut watch = Watch::start(&mut ledger, now);
        *committed = ledger.metadata(4_096);
        for offset in log {
            ledger.receive(offset);
            if watch.is_careful() {
                if watch.convicts(&mut ledger, offset) {
                    return Some(offset);
                }
                watch.suspect(&mut ledger, offset, now);
                *committed = ledger.metadata(4_096);
            }
            if offset == killer {
                return None;
            }
        }
        None
    }

    #[test]
    fn the_record_that_kills_its_reader_is_found_and_no_other() {
        let mut committed = String::new();
        let convicted: Vec<i64> = (0..10)
            .filter_map(|_| life(&mut committed, 7, 0..20))
            .collect();
        assert_eq!(convicted.first(), Some(&7));
    }

    #[test]
    fn deaths_long_apart_convict_nobody() {
        let mut committed = String::new();
        for _ in 0..10 {
            let now = Instant::now();
            let mut ledger = Ledger::new(0, &committed);
            let mut watch = Watch::start(&mut ledger, now);
            assert!(!watch.is_careful());
            watch.progress(&mut ledger, now + FORGIVEN_AFTER);
            committed = ledger.metadata(4_096);
        }
    }

    #[test]
    fn deaths_in_quick_succession_convict_nobody_while_the_commit_moves() {
        let (mut base, mut committed) = (0, String::new());
        for _ in 0..20 {
            let now = Instant::now();
            let mut ledger = Ledger::new(base, &committed);
            let mut watch = Watch::start(&mut ledger, now);
            assert!(!watch.is_careful());
            ledger.receive(base);
            ledger.settle(base);
            watch.progress(&mut ledger, now);
            (base, committed) = (ledger.committable(), ledger.metadata(4_096));
        }
    }

    #[test]
    fn a_commit_that_stands_still_is_no_success() {
        let mut committed = String::new();
        let careful = |committed: &mut String| {
            let now = Instant::now();
            let mut ledger = Ledger::new(7, committed);
            let mut watch = Watch::start(&mut ledger, now);
            // What is above the record that kills is settled, and moves nothing.
            ledger.receive(7);
            ledger.receive(8);
            ledger.settle(8);
            watch.progress(&mut ledger, now);
            *committed = ledger.metadata(4_096);
            watch.is_careful()
        };
        let lives: Vec<bool> = (0..4).map(|_| careful(&mut committed)).collect();
        assert_eq!(lives, [false, false, false, true]);
    }

    #[test]
    fn a_suspect_is_alone_until_it_is_settled_or_has_had_its_time() {
        let now = Instant::now();
        let mut ledger = Ledger::new(0, "1;3;;");
        let mut watch = Watch::start(&mut ledger, now);
        ledger.receive(0);
        watch.suspect(&mut ledger, 0, now);
        assert!(watch.is_alone(&ledger, now));
        assert!(!watch.is_alone(&ledger, now + ALONE_MAX));
        ledger.settle(0);
        assert!(!watch.is_alone(&ledger, now));
    }
}
