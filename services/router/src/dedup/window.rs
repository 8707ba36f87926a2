//! What one partition has seen within the window.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use uuid::Uuid;

/// Parts of a window that are forgotten at once.
const GENERATIONS: i64 = 12;
/// Bits that say where within its generation an entry was accepted: for a day's window, to 7 seconds.
const FRACTION_BITS: u32 = 10;

/// What a record is to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Route it, and write its entry.
    Original {
        /// What the entry says of its acceptance, in Unix milliseconds.
        accepted_ms: i64,
    },
    /// Drop it, and record that.
    Duplicate { first_offset: i64 },
}

/// See the module, and [`crate::dedup`] for the rule. An entry takes 24 bytes, and some 40 with the table's slack.
#[derive(Debug)]
pub struct Window {
    window_ms: i64,
    generation_ms: i64,
    entries_max: usize,
    len: usize,
    newest_ms: i64,
    forgotten: u64,
    /// By rising number, none empty: entries accepted within `number * generation_ms` and the next.
    generations: VecDeque<(i64, HashTable<Entry>)>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: [u64; 2],
    /// The offset, then [`FRACTION_BITS`] of time within the generation. 2^53 offsets take three centuries at a million
    /// a second.
    packed: u64,
}

impl Entry {
    fn offset(self) -> i64 {
        (self.packed >> FRACTION_BITS) as i64
    }

    fn accepted_ms(self, generation: i64, generation_ms: i64) -> i64 {
        let fraction = (self.packed & ((1 << FRACTION_BITS) - 1)) as i64;
        // Rounded up, where packing rounds down: so an entry that is restored and written again keeps its time.
        let within_ms = (fraction * generation_ms + (1 << FRACTION_BITS) - 1) >> FRACTION_BITS;
        generation * generation_ms + within_ms
    }
}

impl Window {
    /// A window of `window_ms` that keeps at most `entries_max` entries.
    pub fn new(window_ms: i64, entries_max: usize) -> Self {
        Window {
            window_ms: window_ms.max(1),
            generation_ms: (window_ms / GENERATIONS).max(1),
            entries_max: entries_max.max(1),
            len: 0,
            newest_ms: i64::MIN / 2,
            forgotten: 0,
            generations: VecDeque::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Judges a record, and remembers it when it is an original. `accepted_ms` is when the event says it was accepted;
    /// `now_ms` bounds what a wrong clock at ingest can do.
    pub fn see(&mut self, event_id: Uuid, offset: i64, accepted_ms: i64, now_ms: i64) -> Sight {
        // One event from the future must not make the window forget the present, and one from long ago must not be
        // forgotten at once.
        let oldest_ms = self.newest_ms - self.window_ms + self.generation_ms;
        let accepted_ms = accepted_ms.min(now_ms).max(oldest_ms);
        let (id, hash) = self.key(event_id);
        if let Some((first_offset, first_ms)) = self.first_before(id, hash, offset) {
            if first_offset == offset {
                let accepted_ms = first_ms;
                return Sight::Original { accepted_ms };
            }
            if accepted_ms - first_ms < self.window_ms {
                return Sight::Duplicate { first_offset };
            }
        }
        self.newest_ms = self.newest_ms.max(accepted_ms);
        self.forget_old();
        self.keep(id, hash, offset, accepted_ms);
        Sight::Original { accepted_ms }
    }

    /// Takes in an entry that was written before. Records from `next_offset` on will be read again, so their entries must
    /// not make the window forget what those before them need.
    pub fn restore(&mut self, event_id: Uuid, offset: i64, accepted_ms: i64, next_offset: i64) {
        let (id, hash) = self.key(event_id);
        let known = self.first_before(id, hash, offset);
        if known.is_some_and(|(known, _)| known == offset) {
            return;
        }
        if offset < next_offset {
            self.newest_ms = self.newest_ms.max(accepted_ms);
            self.forget_old();
        }
        self.keep(id, hash, offset, accepted_ms);
    }

    /// How many entries it keeps.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that were forgotten within the window because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn key(&self, event_id: Uuid) -> ([u64; 2], u64) {
        let (high, low) = event_id.as_u64_pair();
        ([high, low], self.hasher.hash_one([high, low]))
    }

    /// Offset and acceptance of the last original at or before `offset`. What lies behind it has been read before a crash
    /// and says nothing about this record. Originals of one id are a window apart, so the newest generation that has one
    /// has the last one.
    fn first_before(&self, id: [u64; 2], hash: u64, offset: i64) -> Option<(i64, i64)> {
        self.generations.iter().rev().find_map(|(number, table)| {
            let same = table.iter_hash(hash).filter(|entry| entry.id == id);
            let before = same.filter(|entry| entry.offset() <= offset);
            let last = before.max_by_key(|entry| entry.offset())?;
            Some((last.offset(), last.accepted_ms(*number, self.generation_ms)))
        })
    }

    fn keep(&mut self, id: [u64; 2], hash: u64, offset: i64, accepted_ms: i64) {
        let number = accepted_ms.div_euclid(self.generation_ms);
        if !self.make_room(number) {
            return;
        }
        let within_ms = accepted_ms.rem_euclid(self.generation_ms);
        let fraction = within_ms * (1 << FRACTION_BITS) / self.generation_ms;
        let packed = (offset.max(0) as u64) << FRACTION_BITS | fraction as u64;
        let hasher = &self.hasher;
        let at = self
            .generations
            .partition_point(|(other, _)| *other < number);
        if self
            .generations
            .get(at)
            .is_none_or(|(other, _)| *other != number)
        {
            self.generations.insert(at, (number, HashTable::new()));
        }
        let table = &mut self.generations[at].1;
        table.insert_unique(hash, Entry { id, packed }, |entry| {
            hasher.hash_one(entry.id)
        });
        self.len += 1;
    }

    /// Drops generations that ended a window before the newest entry.
    fn forget_old(&mut self) {
        let oldest_ms = self.newest_ms - self.window_ms;
        while let Some((number, _)) = self.generations.front()
            && (number + 1) * self.generation_ms <= oldest_ms
        {
            self.drop_oldest();
        }
    }

    /// Whether one more fits into a generation, if need be in the place of the oldest ones.
    fn make_room(&mut self, number: i64) -> bool {
        while self.len >= self.entries_max {
            let older = self
                .generations
                .front()
                .is_some_and(|(oldest, _)| *oldest < number);
            self.forgotten += match older {
                true => self.drop_oldest() as u64,
                false => 1,
            };
            if !older {
                return false;
            }
        }
        true
    }

    fn drop_oldest(&mut self) -> usize {
        let dropped = self
            .generations
            .pop_front()
            .map_or(0, |(_, table)| table.len());
        self.len -= dropped;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn is_original(sight: Sight) -> bool {
        matches!(sight, Sight::Original { .. })
    }

    #[test]
    fn the_same_record_read_again_is_no_duplicate_of_itself() {
        let mut window = Window::new(24 * HOUR, 100);
        assert!(is_original(window.see(id(1), 10, NOW, NOW)));
        assert_eq!(
            window.see(id(1), 11, NOW + 5, NOW + 5),
            Sight::Duplicate { first_offset: 10 }
        );
        for _ in 0..3 {
            assert!(
                is_original(window.see(id(1), 10, NOW, NOW + HOUR)),
                "read again"
            );
        }
        assert_eq!(
            window.see(id(1), 12, NOW - 9, NOW),
            Sight::Duplicate { first_offset: 10 }
        );
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_repeat_after_the_window_is_a_new_original() {
        let mut window = Window::new(24 * HOUR, 100);
        window.see(id(1), 10, NOW, NOW);
        let nearly = NOW + 24 * HOUR - 10_000;
        assert_eq!(
            window.see(id(1), 20, nearly, nearly),
            Sight::Duplicate { first_offset: 10 }
        );
        let after = NOW + 24 * HOUR;
        assert!(is_original(window.see(id(1), 30, after, after)));
        assert_eq!(
            window.see(id(1), 40, after + 1, after + 1),
            Sight::Duplicate { first_offset: 30 }
        );
        assert!(is_original(window.see(id(1), 30, after, after)));
    }

    #[test]
    fn what_is_older_than_the_window_takes_no_memory() {
        let mut window = Window::new(24 * HOUR, usize::MAX);
        for hour in 0..240 {
            for n in 0..100 {
                let at = NOW + hour * HOUR;
                window.see(id((hour * 100 + n) as u128), hour * 100 + n, at, at);
            }
        }
        assert!((2_400..=2_800).contains(&window.len()), "{}", window.len());
        assert!(window.generations.len() <= 14);
        assert_eq!(window.forgotten(), 0);
    }

    #[test]
    fn too_many_entries_forget_the_oldest_and_say_so() {
        let mut window = Window::new(24 * HOUR, 100);
        for n in 0..100 {
            window.see(id(n as u128), n, NOW, NOW);
        }
        assert!(
            is_original(window.see(id(100), 100, NOW, NOW)),
            "routed though not remembered"
        );
        assert_eq!((window.len(), window.forgotten()), (100, 1));
        let later = NOW + 3 * HOUR;
        assert!(is_original(window.see(id(101), 101, later, later)));
        assert_eq!((window.len(), window.forgotten()), (1, 101));
        assert_eq!(
            window.see(id(101), 102, later, later),
            Sight::Duplicate { first_offset: 101 }
        );
    }

    #[test]
    fn a_wrong_clock_at_ingest_neither_empties_the_window_nor_escapes_it() {
        let mut window = Window::new(24 * HOUR, 100);
        window.see(id(1), 1, NOW, NOW);
        window.see(id(2), 2, NOW + 1_000 * HOUR, NOW);
        assert_eq!(
            window.see(id(1), 3, NOW, NOW),
            Sight::Duplicate { first_offset: 1 }
        );
        assert_eq!(
            window.see(id(2), 4, NOW, NOW),
            Sight::Duplicate { first_offset: 2 }
        );
        window.see(id(3), 5, 0, NOW);
        assert_eq!(
            window.see(id(3), 6, 0, NOW),
            Sight::Duplicate { first_offset: 5 }
        );
    }

    #[test]
    fn entries_of_records_to_be_read_again_decide_nothing_about_earlier_ones() {
        let (mut window, later) = (Window::new(24 * HOUR, 100), NOW + 25 * HOUR);
        // Before a crash: 10 and, a window later, 30 were originals. Everything from 10 on is read again.
        for (offset, at) in [(30, later), (10, NOW), (30, later)] {
            window.restore(id(1), offset, at, 10);
        }
        assert_eq!(window.len(), 2);
        assert!(is_original(window.see(id(1), 10, NOW, later)));
        let at = NOW + 20 * HOUR;
        assert_eq!(
            window.see(id(1), 20, at, later),
            Sight::Duplicate { first_offset: 10 }
        );
        assert!(is_original(window.see(id(1), 30, later, later)));
        assert_eq!(
            window.see(id(1), 40, later, later),
            Sight::Duplicate { first_offset: 30 }
        );
    }

    #[test]
    fn a_short_window_is_exact_to_a_fraction_of_it() {
        let mut window = Window::new(1_000, 100);
        window.see(id(1), 1, NOW, NOW);
        assert_eq!(
            window.see(id(1), 2, NOW + 990, NOW + 990),
            Sight::Duplicate { first_offset: 1 }
        );
        assert!(is_original(window.see(id(1), 3, NOW + 1_000, NOW + 1_000)));
    }
}
