//! Whether a process is worth keeping and worth sending work to.
//!
//! *Ready* is the conjunction of named conditions (`kafka`, `directory`), each set by the part that knows. *Alive* is
//! that every loop which promised to beat has done so lately: a stuck loop is the one thing that a restart mends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by everything in a process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    conditions: Mutex<BTreeMap<String, Result<(), String>>>,
    beats: Mutex<BTreeMap<String, Beat>>,
    draining: AtomicBool,
}

#[derive(Debug)]
struct Beat {
    age_max: Duration,
    last_ms: Arc<AtomicU64>,
}

/// One thing that must hold before work is welcome. It holds the process unready until it is first met.
#[derive(Clone, Debug)]
pub struct Condition {
    health: Health,
    name: String,
}

/// The promise of one loop to come round. Withdrawn when dropped.
#[derive(Debug)]
pub struct Heartbeat {
    health: Health,
    name: String,
    last_ms: Arc<AtomicU64>,
}

impl Health {
    pub fn new() -> Self {
        Health(Arc::new(Inner {
            started: Instant::now(),
            conditions: Mutex::default(),
            beats: Mutex::default(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Adds a condition, not met yet.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let name = name.into();
        lock(&self.0.conditions).insert(name.clone(), Err("starting".to_owned()));
        Condition {
            health: self.clone(),
            name,
        }
    }

    /// Adds a loop that promises to call [`Heartbeat::beat`] at least every `age_max`.
    pub fn heartbeat(&self, name: impl Into<String>, age_max: Duration) -> Heartbeat {
        let name = name.into();
        let last_ms = Arc::new(AtomicU64::new(self.now_ms()));
        let beat = Beat {
            age_max,
            last_ms: Arc::clone(&last_ms),
        };
        lock(&self.0.beats).insert(name.clone(), beat);
        Heartbeat {
            health: self.clone(),
            name,
            last_ms,
        }
    }

    /// From now on the process is not ready, whatever its conditions say: it finishes what is under way and ends.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// What keeps the process from being ready, as `(condition, reason)`; empty when it is.
    pub fn unmet(&self) -> Vec<(String, String)> {
        let conditions = lock(&self.0.conditions);
        let unmet = |(name, state): (&String, &Result<(), String>)| {
            let reason = state.as_ref().err()?;
            Some((name.clone(), reason.clone()))
        };
        let draining = self.0.draining.load(Ordering::Relaxed);
        let draining = draining.then(|| ("running".to_owned(), "draining".to_owned()));
        conditions
            .iter()
            .filter_map(unmet)
            .chain(draining)
            .collect()
    }

    pub fn is_ready(&self) -> bool {
        self.unmet().is_empty()
    }

    /// Loops that have not come round in time.
    pub fn stuck(&self) -> Vec<String> {
        let now_ms = self.now_ms();
        let is_late = |beat: &Beat| {
            let age_ms = now_ms.saturating_sub(beat.last_ms.load(Ordering::Relaxed));
            Duration::from_millis(age_ms) > beat.age_max
        };
        let beats = lock(&self.0.beats);
        let late = beats.iter().filter(|(_, beat)| is_late(beat));
        late.map(|(name, _)| name.clone()).collect()
    }

    fn now_ms(&self) -> u64 {
        self.0.started.elapsed().as_millis() as u64
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl Condition {
    pub fn met(&self) {
        self.set(Ok(()));
    }

    /// `reason` is shown to whoever asks, so it names no credential.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    fn set(&self, state: Result<(), String>) {
        let mut conditions = lock(&self.health.0.conditions);
        let was = conditions.insert(self.name.clone(), state.clone());
        drop(conditions);
        if was.as_ref().map(Result::is_ok) != Some(state.is_ok()) {
            match state {
                Ok(()) => tracing::info!(condition = self.name, "readiness.met"),
                Err(reason) => tracing::warn!(condition = self.name, reason, "readiness.lost"),
            }
        }
    }
}

impl Heartbeat {
    /// A relaxed store: call it every time round.
    pub fn beat(&self) {
        self.last_ms.store(self.health.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        lock(&self.health.0.beats).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_ready_before_every_condition_is_met() {
        let health = Health::new();
        let kafka = health.condition("kafka");
        let directory = health.condition("directory");
        assert!(!health.is_ready());
        kafka.met();
        assert_eq!(
            health.unmet(),
            [("directory".to_owned(), "starting".to_owned())]
        );
        directory.met();
        assert!(health.is_ready());
        kafka.unmet("broker gone");
        assert!(!health.is_ready());
        kafka.met();
        health.drain();
        assert!(!health.is_ready(), "whoever ends takes no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_loop_is_found_and_a_finished_one_is_not() {
        let health = Health::new();
        let quick = health.heartbeat("quick", Duration::from_secs(10));
        let stuck = health.heartbeat("stuck", Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(11)).await;
        quick.beat();
        assert_eq!(health.stuck(), ["stuck"]);
        drop(stuck);
        assert!(health.stuck().is_empty());
    }
}
