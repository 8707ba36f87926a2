//! Does what the core decides: one thread with its consumer, clients and attempts, and beside it one that writes.

mod attempts;
mod audit;
mod outbox;
mod partitions;
mod poison;
mod sealed;
mod writer;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pushrail_clock as clock;
use pushrail_kafka::rdkafka::Message as _;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::message::{BorrowedMessage, Headers as _};
use pushrail_kafka::{Consumer, Error, Polled};
use pushrail_schemas::config::Destination;
use pushrail_schemas::headers::Delivery;
use pushrail_schemas::{Event, wire};
use pushrail_shred::Lookup;
use pushrail_sink_core::erased::BoxFuture;
use pushrail_sink_core::{Batching, ErasedClient, Fault, Info, Record};
use pushrail_topology::topics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::core::{Core, Effect, Item, Kind, Now, Start, Target, Weight};
use crate::metrics::{Metrics, Shown};
use crate::settings::Settings;
use attempts::{Attempts, Done};
use outbox::Outbox;
use partitions::Partitions;
use sealed::Closed;

/// Records read before completions are looked at and attempts get a turn.
const BURST: usize = 64;
const TICK: Duration = Duration::from_millis(100);

/// What the engine needs to know of destinations.
pub trait Destinations: Send + Sync + 'static {
    /// The destination as it is configured now.
    fn get(&self, id: Uuid) -> Option<Arc<Destination>>;
    /// Each call of what it gives takes the id of one destination that has changed since; `None` when there is none.
    fn changes(&self) -> Changes;
    /// The key of a delivery's event, where that is sealed. Whoever has no keys knows none.
    fn key(&self, _delivery: &Delivery, _event: &Event) -> Lookup {
        Lookup::Unknown
    }
    /// Makes a client for this version, on the thread that will use it.
    fn connect(
        &self,
        destination: &Destination,
    ) -> BoxFuture<'static, Result<Arc<dyn ErasedClient>, Fault>>;
}

/// See [`Destinations::changes`].
pub type Changes = Box<dyn FnMut() -> Option<Uuid> + Send>;

/// Runs the workers of one kind until `shutdown`; returns when all have drained, committed and left the group.
pub async fn run(
    settings: Settings,
    info: &Info,
    batching: Batching,
    destinations: Arc<dyn Destinations>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let kind = Kind {
        batch: info.batch,
        batch_max: info.batch_max,
        batching,
        timeout_default: info.timeout_default,
        timeout_max: info.timeout_max,
    };
    let settings = Arc::new(settings);
    let name = format!("sink-{}", settings.kind);
    let workers = settings.workers;
    pushrail_kafka::worker::run(&name, workers, shutdown, move |index, shutdown| {
        let (settings, destinations, metrics) = (
            Arc::clone(&settings),
            Arc::clone(&destinations),
            metrics.clone(),
        );
        async move {
            let mut worker = Worker::new(&settings, kind, destinations, metrics, index)?;
            let result = worker.run(&shutdown).await;
            worker.show(Shown::default());
            result
        }
    })
    .await;
}

/// Ends when an attempt has.
async fn progress((attempts, done): (&mut Attempts, &mut Vec<Done>)) {
    let ended = std::future::poll_fn(|cx| match attempts.poll(cx, done) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    tokio::task::unconstrained(ended).await;
}

struct Worker<'a> {
    settings: &'a Settings,
    core: Core,
    consumer: Consumer,
    outbox: Outbox,
    attempts: Attempts,
    partitions: Partitions,
    destinations: Arc<dyn Destinations>,
    changes: Changes,
    metrics: Metrics,
    shown: Shown,
    done: Vec<Done>,
    next_tick: Instant,
}

impl<'a> Worker<'a> {
    fn new(
        settings: &'a Settings,
        kind: Kind,
        destinations: Arc<dyn Destinations>,
        metrics: Metrics,
        index: usize,
    ) -> Result<Self, Error> {
        let client_id = format!("pushrail-sink-{}-{index}", settings.kind);
        let topic = topics::deliver(&settings.kind);
        let consumer = Consumer::new(
            &settings.connection.consumer(&settings.group, &client_id),
            &[&topic],
        )?;
        let seed = rand::random();
        Ok(Worker {
            core: Core::new(settings.limits, kind, seed),
            outbox: Outbox::new(
                settings,
                &client_id,
                metrics.clone(),
                seed,
                Arc::clone(&destinations),
                consumer.waker(),
            )?,
            attempts: Attempts::new(consumer.waker()),
            partitions: Partitions::new(&topic, settings),
            changes: destinations.changes(),
            consumer,
            settings,
            destinations,
            metrics,
            shown: Shown::default(),
            done: Vec::new(),
            next_tick: Instant::now(),
        })
    }

    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            if self.turn(true).await? {
                tokio::task::yield_now().await;
                continue;
            }
            let wake = self.next_wake();
            let attempts = (&mut self.attempts, &mut self.done);
            tokio::select! {
                () = self.consumer.wait() => {}
                () = progress(attempts) => {}
                () = tokio::time::sleep_until(wake) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.drain().await
    }

    /// Lets what is under way finish, then commits and leaves the group.
    async fn drain(&mut self) -> Result<(), Error> {
        tracing::info!(kind = self.settings.kind, "sink.draining");
        let deadline = Instant::now() + self.settings.drain_timeout;
        self.partitions.leave(deadline, &mut self.core);
        while self.partitions.is_revoking() && Instant::now() < deadline {
            if self.turn(false).await? {
                tokio::task::yield_now().await;
            } else {
                let wake = Instant::now() + Duration::from_millis(2);
                let attempts = (&mut self.attempts, &mut self.done);
                tokio::select! {
                    () = self.consumer.wait() => {}
                    () = progress(attempts) => {}
                    () = tokio::time::sleep_until(wake) => {}
                }
            }
        }
        self.partitions
            .release_ready(&mut self.core, &self.outbox, &self.consumer, true)?;
        tracing::info!(kind = self.settings.kind, "sink.drained");
        Ok(())
    }

    /// One round; says whether there is more to do at once.
    async fn turn(&mut self, reading: bool) -> Result<bool, Error> {
        self.attempt().await;
        let now = self.now();
        self.apply_changes(now);
        self.settle()?;
        let mut busy = self.conclude_attempts(now);
        if reading && self.core.wants_more() && !self.outbox.is_full() {
            busy |= self.read(now)?;
        }
        if now.instant >= self.next_tick {
            self.next_tick = now.instant + TICK;
            self.core.tick(now);
            self.attempts.cut_overlong(now.instant);
            self.measure();
        }
        if !self.outbox.is_full() {
            self.core.pump(now);
        }
        self.carry_out(now.instant)?;
        self.partitions
            .release_ready(&mut self.core, &self.outbox, &self.consumer, false)?;
        self.partitions
            .commit_due(now.instant, &mut self.core, &self.consumer);
        Ok(busy)
    }

    fn now(&self) -> Now {
        Now {
            instant: Instant::now(),
            wall_ms: clock::now_ms(),
        }
    }

    fn next_wake(&self) -> Instant {
        let mut wake = self.next_tick;
        wake = wake.min(self.core.next_wake().unwrap_or(wake));
        if self.partitions.is_revoking() {
            wake = wake.min(Instant::now() + Duration::from_millis(2));
        }
        wake
    }

    fn apply_changes(&mut self, now: Now) {
        while let Some(id) = (self.changes)() {
            let destination = self.destinations.get(id);
            self.core.changed(now, id, destination);
        }
    }

    fn settle(&mut self) -> Result<(), Error> {
        let refused = self.outbox.poll(|source| self.core.settle(source))?;
        for source in refused {
            // Not settled and not forgotten: the partition starts over from its commit.
            if self.core.is_current(source) {
                self.metrics.rewinds.inc();
                self.partitions
                    .rewind(source.partition, &mut self.core, &self.consumer)?;
            }
        }
        Ok(())
    }

    /// Lets attempts move. They count on nobody's patience: the worker yields between its turns.
    async fn attempt(&mut self) {
        let (attempts, done) = (&mut self.attempts, &mut self.done);
        let once = std::future::poll_fn(|cx| {
            attempts.poll(cx, done);
            Poll::Ready(())
        });
        tokio::task::unconstrained(once).await;
    }

    fn conclude_attempts(&mut self, now: Now) -> bool {
        let busy = !self.done.is_empty();
        for done in self.done.drain(..) {
            match done {
                Done::Finished {
                    flight,
                    started,
                    outcome,
                } => {
                    let took = now.instant.duration_since(started);
                    self.metrics.attempt_seconds.observe(took.as_secs_f64());
                    let records = outcome.verdicts.len();
                    self.metrics.call_records.observe(records as f64);
                    self.core.finished(now, flight, outcome);
                }
                Done::Connected { lane, to, client } if self.core.expects(lane, to) => {
                    let result = client.map(|client| self.attempts.keep(lane, to, client));
                    self.core.connected(now, lane, to, result);
                }
                // For a version, or a destination, that the lane no longer stands for.
                Done::Connected { .. } => {}
            }
        }
        busy
    }

    fn read(&mut self, now: Now) -> Result<bool, Error> {
        for at in 0..BURST {
            if self.partitions.is_alone(&self.core, now.instant) {
                return Ok(false);
            }
            match self.consumer.poll() {
                Polled::Record(message) => {
                    let partition = message.partition();
                    let Some(source) = self.core.admit(partition, message.offset()) else {
                        continue;
                    };
                    self.metrics.records.inc();
                    match self.record(&message) {
                        Ok(record) => {
                            let mut item = Item {
                                source,
                                record: Arc::new(record),
                                received_at: now.instant,
                                weight: Weight::default(),
                            };
                            if self
                                .partitions
                                .is_poison(source, &mut self.core, &self.consumer)?
                            {
                                self.outbox.poisoned(item);
                                continue;
                            }
                            let destination = self.destinations.get(item.destination_id());
                            match sealed::opened(&item.record, &*self.destinations) {
                                Ok(opened) => {
                                    let opened = opened.as_ref().unwrap_or(&item.record);
                                    item.weight = self.core.weigh(opened);
                                    self.core.receive(now, item, destination.as_ref());
                                }
                                Err(Closed::Erased) => self.core.erased(item),
                                Err(Closed::Unknown) => self.core.keyless(now, item),
                            }
                            if self.partitions.is_alone(&self.core, now.instant) {
                                // A suspect that waited for company would not be found.
                                self.core.hurry();
                            }
                        }
                        Err(problem) => self.outbox.unreadable(source, &message, &problem),
                    }
                }
                Polled::Assigned(list) => {
                    self.partitions
                        .assigned_now(&list, &mut self.core, &self.consumer)?;
                }
                Polled::Revoked { partitions, lost } => {
                    let patience = if lost {
                        Duration::ZERO
                    } else {
                        self.settings.drain_timeout
                    };
                    self.partitions
                        .revoking(partitions, now.instant + patience, &mut self.core);
                }
                Polled::Problem(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(error.into());
                }
                Polled::Problem(error) => tracing::warn!(%error, "sink.consume_problem"),
                Polled::Idle => return Ok(at > 0),
            }
        }
        Ok(true)
    }

    /// Takes a record out of Kafka's memory; the only copy of its value that a delivery needs.
    fn record(&self, message: &BorrowedMessage<'_>) -> Result<Record, String> {
        let value = message.payload().ok_or("it has no value")?;
        let (schema_id, _) = wire::split(value).map_err(|e| e.to_string())?;
        if schema_id != self.settings.event_schema_id {
            return Err(format!(
                "its schema id is {schema_id}, and events have {}",
                self.settings.event_schema_id
            ));
        }
        let headers = message.headers().into_iter().flat_map(|h| h.iter());
        let delivery = Delivery::parse(headers.map(|h| (h.key, h.value.unwrap_or_default())))
            .map_err(|e| e.to_string())?;
        let event = Event::parse(Bytes::copy_from_slice(value)).map_err(|e| e.to_string())?;
        let attempt = delivery.attempt + 1;
        Ok(Record {
            event,
            delivery,
            attempt,
        })
    }

    fn carry_out(&mut self, now: Instant) -> Result<(), Error> {
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Start(start) => {
                    let (batch, gone) = sealed::in_clear(start.batch, &*self.destinations);
                    self.attempts.start(Start { batch, ..start }, gone, now);
                }
                Effect::Conclude(conclusion) => {
                    let current = self.core.is_current(conclusion.item.source);
                    self.outbox.conclude(conclusion, current);
                }
                Effect::Connect { lane, destination } => {
                    let client = self.destinations.connect(&destination);
                    self.attempts
                        .connect(lane, Target::of(&destination), client);
                }
                Effect::Forget { lane } => self.attempts.forget(lane),
                Effect::Pause(partition) => self.partitions.pause(partition, &self.consumer)?,
                Effect::Resume(partition) => self.partitions.resume(partition, &self.consumer)?,
            }
        }
        self.outbox.hand_over();
        Ok(())
    }

    fn measure(&mut self) {
        let lag = self.partitions.lag(&self.core, &self.consumer);
        let partitions = self.core.ledgers().count() as i64;
        self.show(Shown {
            census: self.core.census(),
            lag,
            partitions,
        });
    }

    fn show(&mut self, now: Shown) {
        self.metrics.show(&self.shown, &now);
        self.shown = now;
    }
}
