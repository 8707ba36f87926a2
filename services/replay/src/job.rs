//! One job, from its claim until it is over or given back.
//!
//! It goes round: reads some records, copies what is wanted of them, waits until Kafka has acknowledged the copies, waits
//! for its pace, and saves where it is once a second. A save is one transaction: position and counts, the letters that were
//! copied, the lease. It also brings news: the job was paused or cancelled, the destination is gone or has changed, or the
//! lease was lost, in which case nothing is saved and somebody else is at it already.

use std::collections::BTreeMap;
use std::time::Duration;

use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_schemas::config;
use pushrail_store::replays::work::{self, End, Progress};
use pushrail_store::replays::{Of, Reads, Replay, State, letters};
use pushrail_store::{Scope, destinations};
use pushrail_topology::topics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::copies::Copy;
use crate::events::Events;
use crate::letters::Letters;
use crate::pace::{self, Pace};

/// How long one round reads at most.
const READ_FOR: Duration = Duration::from_millis(500);
/// What an estimate may cost: from then on it is an extrapolation.
const ESTIMATE_FOR: Duration = Duration::from_secs(5);
const ESTIMATE_RECORDS: usize = 50_000;
/// Deliveries that are looked up in the log at once.
const ESTIMATE_ROUND: usize = 500;

/// Why a job can't go on at this moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the database: {0}")]
    Store(#[from] pushrail_store::Error),
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("Kafka did not show a record in time")]
    Silent,
    #[error("what was saved of it can't be read")]
    Position,
}

/// What a source gives.
pub(crate) struct Round {
    pub(crate) copies: Vec<Copy>,
    /// Records that were read for them.
    pub(crate) read: usize,
    /// There is no more.
    pub(crate) done: bool,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) scanned: i64,
    pub(crate) sent: i64,
    pub(crate) skipped: BTreeMap<String, i64>,
}

impl Tally {
    pub(crate) fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_owned()).or_default() += 1;
    }
}

pub(crate) fn of(replay: &Replay) -> Of<'_> {
    Of {
        tenant_id: &replay.tenant_id,
        customer_id: replay.customer_id,
        destination_id: replay.destination_id,
    }
}

/// How work on a job ends.
#[derive(Debug)]
enum Outcome {
    Finished,
    Estimated(i64, bool),
    /// Somebody has paused or cancelled it, or this process ends.
    GivenBack,
    /// Somebody else has it.
    Lost,
    Removed,
    Disabled,
}

enum Source {
    Letters(Box<Letters>),
    Events(Box<Events>),
}

struct Job<'a> {
    shared: &'a Shared,
    replay: Replay,
    source: Source,
    destination: destinations::Destination,
    failures: i32,
    tally: Tally,
    /// Letters that were copied since the last save.
    copied: Vec<(i32, i64)>,
    /// For the time that is left: when work on it began here, and how far it was.
    began: (Instant, f64),
}

/// Works on a job that is claimed.
pub(crate) async fn work(shared: &Shared, replay: Replay, shutdown: CancellationToken) {
    let id = replay.replay_id;
    tracing::info!(replay_id = %id, state = replay.state.as_str(), "replay.claimed");
    let worked = match replay.state {
        State::Estimating => estimate(shared, replay, &shutdown).await,
        _ => carry_out(shared, replay, &shutdown).await,
    };
    let (state, end) = match &worked {
        Ok(Outcome::Finished) => ("finished", Some(End::Finished)),
        Ok(Outcome::Estimated(..)) => ("estimated", None),
        Ok(Outcome::GivenBack) => ("given_back", Some(End::GivenBack)),
        Ok(Outcome::Lost) => ("lost", None),
        Ok(Outcome::Removed) => ("failed", Some(End::Failed("the destination was removed"))),
        Ok(Outcome::Disabled) => (
            "paused",
            Some(End::Paused(
                "the destination is disabled: enable it, then resume",
            )),
        ),
        Err(Error::Position) => (
            "failed",
            Some(End::Failed("what was saved of it can't be read")),
        ),
        // What Kafka and the database have to say is the operator's.
        Err(error) => {
            tracing::warn!(replay_id = %id, %error, "replay.waits");
            let said = "something is not reachable; it goes on by itself";
            ("waits", Some(End::Waits(said)))
        }
    };
    shared.metrics.ended(state);
    tracing::info!(replay_id = %id, state, "replay.ended");
    let ended = async {
        let mut tx = shared.store.begin(Scope::System).await?;
        match (worked, end) {
            (Ok(Outcome::Estimated(count, exact)), _) => {
                work::estimated(&mut tx, shared.worker, id, count, exact).await?;
            }
            (_, Some(end)) => drop(work::end(&mut tx, shared.worker, id, end).await?),
            _ => {}
        }
        tx.commit().await
    };
    if let Err(error) = ended.await {
        // The lease runs out, and the job is claimed again.
        tracing::warn!(replay_id = %id, %error, "replay.end_not_saved");
    }
}

/// The destination of a job as it is now, and its failures in a row.
async fn destination(
    shared: &Shared,
    replay: &Replay,
) -> Result<Result<(destinations::Destination, i32), Outcome>, Error> {
    let mut tx = shared.store.begin(Scope::System).await?;
    let of = of(replay);
    let row = destinations::get(&mut tx, of.tenant_id, of.customer_id, of.destination_id).await?;
    let failures = work::consecutive_failures(&mut tx, of.destination_id).await?;
    Ok(match row {
        None => Err(Outcome::Removed),
        Some(row) if row.document.state == config::State::Disabled => Err(Outcome::Disabled),
        Some(row) => Ok((row, failures)),
    })
}

impl Source {
    async fn open(
        shared: &Shared,
        replay: &Replay,
        to: &config::Destination,
    ) -> Result<Self, Error> {
        let (connection, client_id) = (&shared.settings.connection, &shared.settings.client_id);
        let store = shared.store.clone();
        Ok(match replay.reads {
            Reads::DeadLetters => Source::Letters(Box::new(
                Letters::open(connection, client_id, store, replay, &to.kind).await?,
            )),
            Reads::Events => Source::Events(Box::new(
                Events::open(
                    connection,
                    client_id,
                    store,
                    replay,
                    to,
                    shared.keys.clone(),
                )
                .await?,
            )),
        })
    }
}

/// Counts without copying. An event that the destination would not get now is not counted; it may get it by when the job runs.
async fn estimate(
    shared: &Shared,
    replay: Replay,
    shutdown: &CancellationToken,
) -> Result<Outcome, Error> {
    let (row, _) = match destination(shared, &replay).await? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    let mut source = match Source::open(shared, &replay, &row.document).await? {
        Source::Events(events) => events,
        Source::Letters(_) => {
            let mut tx = shared.store.begin(Scope::System).await?;
            let count = letters::count(&mut tx, of(&replay), &replay.selection).await?;
            return Ok(Outcome::Estimated(count, true));
        }
    };
    let (mut count, mut read, mut tally) = (0i64, 0, Tally::default());
    let until = Instant::now() + ESTIMATE_FOR;
    let mut pace = Pace::new();
    loop {
        let scan_max = scan_max(shared);
        let round = source.next(
            ESTIMATE_ROUND,
            scan_max,
            Instant::now() + READ_FOR,
            &mut tally,
        );
        let round = round.await?;
        shared.metrics.read.inc_by(round.read as u64);
        count += round.copies.len() as i64;
        read += round.read;
        if round.done {
            return Ok(Outcome::Estimated(count, true));
        }
        if Instant::now() >= until || read >= ESTIMATE_RECORDS {
            break;
        }
        if shutdown.is_cancelled() {
            return Ok(Outcome::GivenBack);
        }
        match renew(shared, &replay).await? {
            Some(State::Estimating) => {}
            Some(_) => return Ok(Outcome::GivenBack),
            None => return Ok(Outcome::Lost),
        }
        Pace::wait(pace.spend(round.read, f64::from(shared.settings.scan_rate_max.max(1)))).await;
    }
    let (passed, all) = source.passed();
    let share = passed.max(1) as f64 / all.max(1) as f64;
    Ok(Outcome::Estimated(
        (count as f64 / share).round() as i64,
        false,
    ))
}

/// Records that one round may read.
fn scan_max(shared: &Shared) -> usize {
    let rate = f64::from(shared.settings.scan_rate_max.max(1));
    (rate * READ_FOR.as_secs_f64()).ceil() as usize
}

async fn renew(shared: &Shared, replay: &Replay) -> Result<Option<State>, Error> {
    let mut tx = shared.store.begin(Scope::System).await?;
    let (worker, lease) = (shared.worker, shared.settings.lease);
    let state = work::renew(&mut tx, worker, replay.replay_id, lease).await?;
    tx.commit().await?;
    Ok(state)
}

async fn carry_out(
    shared: &Shared,
    replay: Replay,
    shutdown: &CancellationToken,
) -> Result<Outcome, Error> {
    let (row, failures) = match destination(shared, &replay).await? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    let source = Source::open(shared, &replay, &row.document).await?;
    let mut job = Job {
        shared,
        source,
        destination: row,
        failures,
        tally: Tally {
            scanned: replay.scanned,
            sent: replay.sent,
            skipped: replay.skipped.clone(),
        },
        copied: Vec::new(),
        began: (Instant::now(), replay.progress),
        replay,
    };
    job.run(shutdown).await
}

impl Job<'_> {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<Outcome, Error> {
        let topic = topics::deliver(&self.destination.document.kind);
        let (mut sending, mut scanning) = (Pace::new(), Pace::new());
        let scan_rate = f64::from(self.shared.settings.scan_rate_max.max(1));
        // At once: where it begins and what it is bounded by must be the same for whoever goes on with it.
        let mut save_at = Instant::now();
        loop {
            if Instant::now() >= save_at {
                if let Some(outcome) = self.save().await? {
                    return Ok(outcome);
                }
                save_at = Instant::now() + self.shared.settings.save_every;
            }
            let rate = pace::rate(
                self.replay.rate_per_second,
                &self.destination.document,
                self.failures,
            );
            let round = self.read(pace::round(rate)).await?;
            self.copy(&topic, &round.copies).await?;
            if round.done {
                return Ok(self.save().await?.unwrap_or(Outcome::Finished));
            }
            let turn = sending
                .spend(round.copies.len(), rate)
                .max(scanning.spend(round.read, scan_rate));
            // Below one record a second the turn is far away: saves go on meanwhile.
            while Instant::now() < turn {
                if shutdown.is_cancelled() {
                    return Ok(self.save().await?.unwrap_or(Outcome::GivenBack));
                }
                tokio::select! {
                    () = Pace::wait(turn.min(save_at)) => {}
                    () = shutdown.cancelled() => {}
                }
                if Instant::now() >= save_at {
                    if let Some(outcome) = self.save().await? {
                        return Ok(outcome);
                    }
                    save_at = Instant::now() + self.shared.settings.save_every;
                }
            }
            if shutdown.is_cancelled() {
                return Ok(self.save().await?.unwrap_or(Outcome::GivenBack));
            }
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Round, Error> {
        let until = Instant::now() + READ_FOR;
        let scan_max = scan_max(self.shared);
        let round = match &mut self.source {
            Source::Letters(letters) => letters.next(limit, &mut self.tally).await?,
            Source::Events(events) => events.next(limit, scan_max, until, &mut self.tally).await?,
        };
        self.shared.metrics.read.inc_by(round.read as u64);
        Ok(round)
    }

    async fn copy(&mut self, topic: &str, copies: &[Copy]) -> Result<(), Error> {
        if copies.is_empty() {
            return Ok(());
        }
        let taken = self.shared.copies.write(topic, copies).await?;
        for (copy, taken) in copies.iter().zip(taken) {
            if !taken {
                self.tally.skip("refused");
                continue;
            }
            self.tally.sent += 1;
            self.copied.extend(copy.place);
            self.shared.metrics.copies.inc();
        }
        Ok(())
    }

    /// Saves; says how the work ends, where it does.
    async fn save(&mut self) -> Result<Option<Outcome>, Error> {
        let progress = self.progress();
        let (shared, replay) = (self.shared, &self.replay);
        let (worker, lease) = (shared.worker, shared.settings.lease);
        let mut tx = shared.store.begin(Scope::System).await?;
        let state = work::save(&mut tx, worker, replay.replay_id, lease, &progress).await?;
        let Some(state) = state else {
            return Ok(Some(Outcome::Lost));
        };
        if !self.copied.is_empty() {
            letters::replayed(&mut tx, of(replay), replay.replay_id, &self.copied).await?;
        }
        tx.commit().await?;
        shared.metrics.saves.inc();
        self.copied.clear();
        if state != State::Running {
            return Ok(Some(Outcome::GivenBack));
        }
        match destination(shared, &self.replay).await? {
            Err(outcome) => Ok(Some(outcome)),
            Ok((row, failures)) => {
                if row.revision != self.destination.revision
                    && let Source::Events(events) = &mut self.source
                {
                    events.change(&row.document);
                }
                (self.destination, self.failures) = (row, failures);
                Ok(None)
            }
        }
    }

    fn progress(&self) -> Progress {
        let (position, done) = match &self.source {
            Source::Letters(letters) => {
                let all = self.replay.estimate.filter(|all| *all > 0);
                let done = all.map_or(0.0, |all| self.tally.scanned as f64 / all as f64);
                (letters.position(), done)
            }
            Source::Events(events) => {
                let (passed, all) = events.passed();
                (events.position(), passed as f64 / all.max(1) as f64)
            }
        };
        let done = done.clamp(0.0, 1.0);
        let (since, before) = self.began;
        let eta = since.elapsed().as_secs_f64() / (done - before) * (1.0 - done);
        Progress {
            position,
            scanned: self.tally.scanned,
            sent: self.tally.sent,
            skipped: self.tally.skipped.clone(),
            progress: done,
            eta_seconds: (eta.is_finite() && eta >= 0.0).then_some(eta.ceil().min(1e9) as i64),
        }
    }
}
