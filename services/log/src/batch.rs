//! What was read of Kafka, and one transaction that keeps all of it and how far it was read.

use std::collections::{BTreeMap, HashMap, HashSet};

use pushrail_clock as clock;
use pushrail_kafka::TopicPartition;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_store::log::figures::{self, Counts, Slot};
use pushrail_store::log::health::{self as kept, Health};
use pushrail_store::log::write::{self, DeadLetter, Progress};
use pushrail_store::log::{MINUTE_US, Micros, keep};
use pushrail_store::{Error, Scope, Store, Tx};
use uuid::Uuid;

use crate::health::{Patient, State, WINDOW_MINUTES};
use crate::record::Audited;
use crate::tell::{self, Transition};
use crate::worker::Shared;

/// A record, and where it was.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Audited(Audited),
    DeadLetter(Box<DeadLetter>),
    /// Nothing to keep; but it has been read.
    Nothing,
}

/// What one worker knows beside its batch.
#[derive(Default)]
pub(crate) struct Known {
    /// The next offset of each of its partitions, as the database has it.
    pub(crate) positions: HashMap<TopicPartition, Option<i64>>,
    /// Days whose partitions are there.
    days: HashSet<i64>,
    patients: HashMap<Uuid, Tracked>,
}

struct Tracked {
    patient: Patient,
    row: Health,
    /// When it last had an attempt, in the attempts' own time.
    seen_us: i64,
}

impl Known {
    /// Whatever a transaction that failed may have left behind is read again.
    pub(crate) fn forget(&mut self) {
        self.days.clear();
        self.patients.clear();
    }

    /// Destinations that have been quiet are read again when they have an attempt.
    pub(crate) fn forget_quiet(&mut self, now_us: i64) {
        let before = now_us - WINDOW_MINUTES * MINUTE_US;
        self.patients.retain(|_, tracked| tracked.seen_us >= before);
    }
}

/// Why a batch was not kept. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("another indexer has read these partitions")]
    Fenced,
    #[error(transparent)]
    Store(#[from] Error),
}

impl Failure {
    /// Whether a record of the batch may be what the database did not take.
    pub(crate) fn is_about_a_record(&self) -> bool {
        matches!(
            self,
            Failure::Store(Error::Value(_) | Error::Refused(_) | Error::Conflict(_))
        )
    }
}

/// Keeps a batch, in the order in which it was read.
pub(crate) async fn keep(
    shared: &Shared,
    store: &Store,
    known: &mut Known,
    batch: &[Read],
) -> Result<(), Failure> {
    let now_us = clock::now_us();
    let attempts: Vec<Attempt<'_>> = batch
        .iter()
        .filter_map(|read| match &read.what {
            What::Audited(audited) => audited.attempt(),
            _ => None,
        })
        .filter(|attempt| is_kept(shared, attempt, now_us))
        .collect();
    make_days(store, known, &attempts).await?;
    let mut tx = store.begin(Scope::System).await?;
    write::relaxed(&mut tx).await?;
    let reached = advance(&mut tx, known, batch).await?;
    let attempts = write::without_erased(&mut tx, attempts).await?;
    let letters: Vec<DeadLetter> = batch
        .iter()
        .filter_map(|read| match &read.what {
            What::DeadLetter(letter) => Some(DeadLetter::clone(letter)),
            _ => None,
        })
        .collect();
    write::dead_letters(&mut tx, &letters).await?;
    let transitions = examine(&mut tx, known, &attempts).await?;
    let counted = count(&attempts);
    figures::add(&mut tx, counted.iter()).await?;
    tell::tell(&mut tx, shared.settings.event_schema_id, &transitions).await?;
    write::attempts(&mut tx, &attempts).await?;
    tx.commit().await?;
    for (partition, next) in reached {
        known.positions.insert(partition, Some(next));
    }
    known.forget_quiet(
        attempts
            .last()
            .map_or(now_us, |attempt| attempt.started_at_us),
    );
    shared.metrics.kept(attempts.len(), letters.len());
    for transition in &transitions {
        shared.metrics.transition(transition.to.as_str());
    }
    Ok(())
}

/// What was accepted before all that is kept, or is yet to be, has no partition.
fn is_kept(shared: &Shared, attempt: &Attempt<'_>, now_us: i64) -> bool {
    let (day, today) = (write::accepted_at(attempt).day(), Micros(now_us).day());
    let kept = day >= today - i64::from(shared.settings.retention_days) && day <= today + 1;
    if !kept {
        shared.metrics.passed_over("too_old");
    }
    kept
}

async fn make_days(
    store: &Store,
    known: &mut Known,
    attempts: &[Attempt<'_>],
) -> Result<(), Error> {
    let days = attempts
        .iter()
        .map(|attempt| write::accepted_at(attempt).day());
    let missing: HashSet<i64> = days.filter(|day| !known.days.contains(day)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Apart from what is written to them: whoever makes a partition holds up everybody else who wants to.
    let days: Vec<i64> = missing.into_iter().collect();
    let mut tx = store.begin(Scope::System).await?;
    keep::ensure_days(&mut tx, &days).await?;
    tx.commit().await?;
    known.days.extend(days);
    Ok(())
}

async fn advance(
    tx: &mut Tx,
    known: &Known,
    batch: &[Read],
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let mut reached = BTreeMap::new();
    for read in batch {
        reached.insert(read.partition.clone(), read.offset + 1);
    }
    for (partition, to) in &reached {
        let progress = Progress {
            topic: &partition.topic,
            partition: partition.partition,
            from: known.positions.get(partition).copied().flatten(),
            to: *to,
        };
        if !write::advance(tx, &progress).await? {
            return Err(Failure::Fenced);
        }
    }
    Ok(reached)
}

/// Whether it says something about its destination: an attempt that was made, and not to try it out.
fn counts(attempt: &Attempt<'_>) -> bool {
    attempt.attempt > 0 && attempt.origin != "test"
}

fn count(attempts: &[Attempt<'_>]) -> HashMap<Slot, Counts> {
    let mut minutes: HashMap<Slot, Counts> = HashMap::new();
    for attempt in attempts {
        let Some(destination_id) = attempt.destination_id else {
            continue;
        };
        if attempt.origin == "test" || attempt.outcome == Outcome::Queued {
            continue;
        }
        let slot = Slot {
            destination_id,
            at: Micros(attempt.started_at_us).minute(),
            tenant_id: attempt.tenant_id.to_owned(),
            customer_id: attempt.customer_id,
        };
        let made = attempt.attempt > 0;
        let counts = minutes.entry(slot).or_default();
        counts.count(attempt.outcome, made, attempt.latency_us);
    }
    minutes
}

/// What the attempts say of their destinations; keeps what has changed.
async fn examine(
    tx: &mut Tx,
    known: &mut Known,
    attempts: &[Attempt<'_>],
) -> Result<Vec<Transition>, Error> {
    let concerned = attempts.iter().filter(|attempt| counts(attempt));
    let concerned: Vec<(&Attempt<'_>, Uuid)> = concerned
        .filter_map(|attempt| Some((attempt, attempt.destination_id?)))
        .collect();
    meet(tx, known, &concerned).await?;
    let mut transitions = Vec::new();
    let mut changed = HashSet::new();
    for (attempt, id) in concerned {
        let Some(tracked) = known.patients.get_mut(&id) else {
            continue;
        };
        if tracked.saw(attempt) {
            changed.insert(id);
        }
        let at = Micros(attempt.started_at_us);
        if let Some(from) = tracked.patient.saw(at, attempt.outcome) {
            changed.insert(id);
            tracked.row.health = tracked.patient.state.as_str().to_owned();
            tracked.row.since = at;
            transitions.push(Transition {
                health: tracked.row.clone(),
                from,
                to: tracked.patient.state,
                at,
            });
        }
        tracked.row.reason = tracked.patient.reason();
        tracked.row.consecutive_failures =
            i32::try_from(tracked.patient.in_a_row).unwrap_or(i32::MAX);
        if let Some(last) = transitions.last_mut().filter(|last| last.at == at) {
            last.health.clone_from(&tracked.row);
        }
    }
    let mut rows: Vec<&Health> = changed
        .iter()
        .filter_map(|id| known.patients.get(id).map(|tracked| &tracked.row))
        .collect();
    // In one order, so that two indexers never wait for each other in a ring.
    rows.sort_unstable_by_key(|row| row.destination_id);
    kept::put(tx, &rows).await?;
    Ok(transitions)
}

/// Reads what the database knows of destinations that this worker has not seen lately.
async fn meet(
    tx: &mut Tx,
    known: &mut Known,
    concerned: &[(&Attempt<'_>, Uuid)],
) -> Result<(), Error> {
    let mut new: HashMap<Uuid, &Attempt<'_>> = HashMap::new();
    for (attempt, id) in concerned {
        if !known.patients.contains_key(id) {
            new.entry(*id).or_insert(attempt);
        }
    }
    let Some(oldest) = new.values().map(|attempt| attempt.started_at_us).min() else {
        return Ok(());
    };
    let ids: Vec<Uuid> = new.keys().copied().collect();
    for row in kept::of(tx, &ids).await? {
        let state = State::parse(&row.health).unwrap_or(State::Healthy);
        let in_a_row = u32::try_from(row.consecutive_failures).unwrap_or(0);
        let tracked = Tracked {
            patient: Patient::new(state, in_a_row),
            seen_us: oldest,
            row,
        };
        known.patients.insert(tracked.row.destination_id, tracked);
    }
    for (id, attempt) in new {
        known.patients.entry(id).or_insert_with(|| Tracked {
            patient: Patient::default(),
            seen_us: oldest,
            row: Health {
                destination_id: id,
                tenant_id: attempt.tenant_id.to_owned(),
                customer_id: attempt.customer_id,
                health: State::Healthy.as_str().to_owned(),
                since: Micros(attempt.started_at_us),
                reason: String::new(),
                consecutive_failures: 0,
                last_success_at: None,
                last_failure_at: None,
                last_failure_code: None,
                last_failure: None,
            },
        });
    }
    let since = Micros(oldest - WINDOW_MINUTES * MINUTE_US).minute();
    for (id, at, counts) in figures::recent(tx, &ids, since).await? {
        if let Some(tracked) = known.patients.get_mut(&id) {
            let passed = u32::try_from(counts.delivered).unwrap_or(0);
            let all = u32::try_from(counts.attempts()).unwrap_or(0);
            tracked
                .patient
                .remember(at, passed, all.saturating_sub(passed));
        }
    }
    Ok(())
}

/// A success that is as old as this is worth a write.
const SUCCESS_AGE_US: i64 = 10_000_000;

impl Tracked {
    /// Notes when it last passed or failed; says whether that is worth a write.
    fn saw(&mut self, attempt: &Attempt<'_>) -> bool {
        let at = Micros(attempt.started_at_us);
        self.seen_us = self.seen_us.max(at.0);
        if attempt.outcome != Outcome::Delivered {
            self.row.last_failure_at = Some(at);
            self.row.last_failure_code = attempt.code.map(str::to_owned);
            self.row.last_failure = attempt.error.map(str::to_owned);
            return true;
        }
        let known = self.row.last_success_at.map_or(i64::MIN, |at| at.0);
        let worth = self.patient.in_a_row > 0 || at.0.saturating_sub(known) >= SUCCESS_AGE_US;
        if worth {
            self.row.last_success_at = Some(at);
        }
        worth
    }
}
