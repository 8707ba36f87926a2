//! Watches for moments in which the machine itself stood still.
//!
//! A hypervisor that has promised more processors than it has takes them away for milliseconds at a time, and whatever is timed
//! then is a figure about its other guests. A thread that is first in line for a core and asks for little can be late for no
//! other reason. What was due in such a moment, or just before or after, says nothing about Pushrail: it is left out by the
//! time at which it was *due*, however long it took, so that nothing of ours can hide there.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "threads of their own, for which no test may stop the time"
)]

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;

const SLEEP: Duration = Duration::from_millis(1);
/// Between two wakes: more than this, and the core was away.
const LATE: Duration = Duration::from_millis(3);
/// What was under way when a core went away, and what waited when it came back.
const BEFORE_US: i64 = 10_000;
const AFTER_US: i64 = 20_000;

/// Threads that watch, one a core.
pub struct Witness {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(i64, i64)>>>,
}

/// When the machine stood still, with what was around it; Unix microseconds.
#[derive(Clone, Debug, Default)]
pub struct Stalls(Vec<(i64, i64)>);

impl Witness {
    /// Begins to watch; `None` where a process may not put itself first (`CAP_SYS_NICE`).
    pub fn start() -> Option<Witness> {
        let over = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let watch = |core| {
            let over = Arc::clone(&over);
            let (said, hears) = std::sync::mpsc::channel();
            let thread = thread::spawn(move || {
                let is_first = be_first_on(core);
                let _ = said.send(is_first);
                match is_first {
                    true => watch(&over),
                    false => Vec::new(),
                }
            });
            (thread, hears.recv() == Ok(true))
        };
        let (threads, first): (Vec<_>, Vec<bool>) = (0..cores).map(watch).unzip();
        let witness = Witness {
            over: Arc::clone(&over),
            threads,
        };
        if first.contains(&false) {
            witness.end();
            return None;
        }
        Some(witness)
    }

    pub fn end(self) -> Stalls {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.threads.into_iter().filter_map(|t| t.join().ok());
        Stalls::of(seen.flatten())
    }
}

impl Stalls {
    fn of(seen: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let around = |(from, until)| (from - BEFORE_US, until + AFTER_US);
        let mut seen: Vec<(i64, i64)> = seen.into_iter().map(around).collect();
        seen.sort_unstable();
        let mut all: Vec<(i64, i64)> = Vec::with_capacity(seen.len());
        for (from, until) in seen {
            match all.last_mut() {
                Some((_, last)) if from <= *last => *last = until.max(*last),
                _ => all.push((from, until)),
            }
        }
        Stalls(all)
    }

    /// Whether what was due then says nothing.
    pub fn cover(&self, at_us: i64) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= at_us);
        after > 0 && at_us <= self.0[after - 1].1
    }
}

fn watch(over: &AtomicBool) -> Vec<(i64, i64)> {
    let (mut seen, mut last) = (Vec::new(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        thread::sleep(SLEEP);
        let now = Instant::now();
        let passed = now.duration_since(last);
        if passed > LATE {
            let until = pushrail_clock::now_us();
            seen.push((until - passed.as_micros() as i64, until));
        }
        last = now;
    }
    seen
}

/// Binds this thread to a core, ahead of everything that is not as urgent.
fn be_first_on(core: usize) -> bool {
    // SAFETY: both calls read plain structures that live until they return; thread 0 is the one that calls.
    unsafe {
        let mut cores: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut cores);
        let mut urgency: libc::sched_param = mem::zeroed();
        urgency.sched_priority = 50;
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores) == 0
            && libc::sched_setscheduler(0, libc::SCHED_FIFO, &urgency) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_around_a_stall_is_covered_and_nothing_else() {
        let stalls = Stalls::of([(1_000_000, 1_005_000), (1_020_000, 1_024_000), (0, 4_000)]);
        assert_eq!(stalls.0.len(), 2);
        let covered = [989_999, 990_000, 1_010_000, 1_044_000, 1_044_001, 500_000];
        assert_eq!(
            covered.map(|at| stalls.cover(at)),
            [false, true, true, true, false, false]
        );
        assert!(!Stalls::default().cover(0));
    }

    #[test]
    fn it_ends_when_told() {
        if let Some(witness) = Witness::start() {
            thread::sleep(Duration::from_millis(20));
            let _ = witness.end();
        }
    }
}
