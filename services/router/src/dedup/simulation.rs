//! A whole life of a partition on a seed: crashes at any moment, entries that were written or lost, commits that lag, a
//! former owner that does not know it is one. The window decides; this only plays Kafka and the relay around it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{Sight, Window};

const WINDOW_MS: i64 = 100_000;
/// A thousand were run when this was written; these are for every day.
const SEEDS: u64 = 80;

#[derive(Clone, Copy)]
struct Record {
    id: Uuid,
    accepted_ms: i64,
}

/// What a worker has under way for one record: its copies, of which each may be acknowledged.
struct InFlight {
    entry: Option<(Uuid, i64, i64)>,
    entry_acked: bool,
    copies_acked: bool,
}

/// A worker that owns, or thinks it owns, the partition.
struct Worker {
    window: Window,
    next: usize,
    in_flight: BTreeMap<usize, InFlight>,
    settled: BTreeSet<usize>,
    committable: usize,
}

/// What survives every crash.
#[derive(Default)]
struct Kafka {
    dedup: Vec<(Uuid, i64, i64)>,
    committed: usize,
    /// Offsets above the commit that its metadata calls finished.
    finished: BTreeSet<usize>,
    routed: HashMap<usize, u32>,
    dropped: BTreeSet<usize>,
}

impl Worker {
    fn start(kafka: &Kafka) -> Self {
        let mut window = Window::new(WINDOW_MS, usize::MAX);
        for (id, offset, accepted_ms) in &kafka.dedup {
            window.restore(*id, *offset, *accepted_ms, kafka.committed as i64);
        }
        Worker {
            window,
            next: kafka.committed,
            in_flight: BTreeMap::new(),
            settled: kafka.finished.clone(),
            committable: kafka.committed,
        }
    }

    fn read(&mut self, log: &[Record], kafka: &mut Kafka) {
        let Some(record) = log.get(self.next) else {
            return;
        };
        let offset = self.next;
        self.next += 1;
        if self.settled.contains(&offset) {
            return;
        }
        let sight = self
            .window
            .see(record.id, offset as i64, record.accepted_ms, i64::MAX);
        let entry = match sight {
            Sight::Original { accepted_ms } => {
                *kafka.routed.entry(offset).or_default() += 1;
                Some((record.id, offset as i64, accepted_ms))
            }
            Sight::Duplicate { .. } => {
                kafka.dropped.insert(offset);
                None
            }
        };
        let in_flight = InFlight {
            entry,
            entry_acked: entry.is_none(),
            copies_acked: false,
        };
        self.in_flight.insert(offset, in_flight);
    }

    /// One acknowledgement of one record.
    fn acknowledge(&mut self, random: &mut SmallRng, kafka: &mut Kafka) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = random.random_range(0..self.in_flight.len());
        let (&offset, record) = self.in_flight.iter_mut().nth(at).unwrap();
        if !record.entry_acked && random.random_bool(0.5) {
            kafka.dedup.extend(record.entry);
            record.entry_acked = true;
        } else {
            record.copies_acked = true;
        }
        if record.entry_acked && record.copies_acked {
            self.in_flight.remove(&offset);
            self.settled.insert(offset);
            while self.settled.remove(&self.committable) {
                self.committable += 1;
            }
        }
    }

    fn commit(&self, kafka: &mut Kafka) {
        kafka.committed = self.committable;
        kafka.finished = self.settled.clone();
    }

    /// Dies: of what it had sent, some was written.
    fn crash(self, random: &mut SmallRng, kafka: &mut Kafka) {
        for record in self.in_flight.into_values() {
            if !record.entry_acked && random.random_bool(0.5) {
                kafka.dedup.extend(record.entry);
            }
        }
    }
}

/// Offsets that are originals when nothing ever goes wrong.
fn originals(log: &[Record]) -> BTreeSet<usize> {
    let mut window = Window::new(WINDOW_MS, usize::MAX);
    let sights = log.iter().enumerate().filter(|(offset, record)| {
        let sight = window.see(record.id, *offset as i64, record.accepted_ms, i64::MAX);
        matches!(sight, Sight::Original { .. })
    });
    sights.map(|(offset, _)| offset).collect()
}

/// Plays a log through workers that crash and hand over; what Kafka holds at the end.
fn play(log: &[Record], random: &mut SmallRng, ahead_max: usize) -> Kafka {
    let mut kafka = Kafka::default();
    let mut worker = Worker::start(&kafka);
    let mut zombie: Option<Worker> = None;
    let (mut steps, steps_max) = (0, 200 * log.len());
    while kafka.committed < log.len() {
        steps += 1;
        assert!(steps < steps_max, "the partition stands still");
        match random.random_range(0..100) {
            0..40 if worker.next < worker.committable + ahead_max => worker.read(log, &mut kafka),
            0..90 => worker.acknowledge(random, &mut kafka),
            90..98 => worker.commit(&mut kafka),
            98 => {
                std::mem::replace(&mut worker, Worker::start(&kafka)).crash(random, &mut kafka);
                // What the dead one had sent may arrive after the new one has read its entries.
                worker = Worker::start(&kafka);
            }
            _ => {
                // The group takes it for dead; it reads and writes on, and its commits are refused.
                let former = std::mem::replace(&mut worker, Worker::start(&kafka));
                if let Some(former) = zombie.replace(former) {
                    former.crash(random, &mut kafka);
                }
            }
        }
        if let Some(zombie) = &mut zombie
            && random.random_bool(0.3)
        {
            match random.random_bool(0.5) {
                true if zombie.next < zombie.committable + ahead_max => {
                    zombie.read(log, &mut kafka)
                }
                _ => zombie.acknowledge(random, &mut kafka),
            }
        }
    }
    kafka
}

/// `gap_ms` is the mean time between records, which decides how many windows the log spans.
fn log(random: &mut SmallRng, len: usize, ids: u128, gap_ms: i64) -> Vec<Record> {
    let mut now = 1_800_000_000_000i64;
    let records = (0..len).map(|_| {
        now += random.random_range(0..=2 * gap_ms);
        // Several ingests, whose clocks differ a little.
        let accepted_ms = now - random.random_range(0..50);
        Record {
            id: Uuid::from_u128(random.random_range(0..ids)),
            accepted_ms,
        }
    });
    records.collect()
}

#[test]
fn crashes_and_rebalances_change_no_decision() {
    for seed in 0..SEEDS {
        let mut random = SmallRng::seed_from_u64(seed);
        let gap_ms = random.random_range(1..2_000);
        let log = log(&mut random, 300, 60, gap_ms);
        let kafka = play(&log, &mut random, 10);
        let wanted = originals(&log);
        let routed: BTreeSet<usize> = kafka.routed.keys().copied().collect();
        assert_eq!(routed, wanted, "seed {seed}: routed and nothing else");
        let dropped: BTreeSet<usize> = (0..log.len()).filter(|o| !wanted.contains(o)).collect();
        assert_eq!(
            kafka.dropped, dropped,
            "seed {seed}: dropped, recorded, and nothing else"
        );
    }
}

#[test]
fn a_backlog_of_several_windows_that_crashes_drops_nothing_that_was_not_routed() {
    for seed in 0..SEEDS {
        let mut random = SmallRng::seed_from_u64(seed);
        let log = log(&mut random, 200, 8, 20_000);
        let kafka = play(&log, &mut random, 100);
        for dropped in &kafka.dropped {
            let record = log[*dropped];
            let routed = kafka
                .routed
                .keys()
                .filter(|routed| *routed < dropped)
                .any(|routed| {
                    let earlier = log[*routed];
                    earlier.id == record.id
                        && record.accepted_ms - earlier.accepted_ms < WINDOW_MS + 100
                });
            assert!(
                routed,
                "seed {seed}: offset {dropped} was dropped for nothing"
            );
        }
        let decided = kafka
            .dropped
            .iter()
            .chain(kafka.routed.keys())
            .collect::<BTreeSet<_>>();
        assert_eq!(
            decided.len(),
            log.len(),
            "seed {seed}: every record was decided on"
        );
    }
}
