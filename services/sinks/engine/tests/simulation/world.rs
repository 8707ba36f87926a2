//! A world for the core: see `simulation.rs`.

#[path = "judge.rs"]
mod judge;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pushrail_ledger::Ledger;
use pushrail_schemas::config::{Destination, PayloadMode, RetryPolicy, State};
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::{Event, identity};
use pushrail_sink_core::{
    Batch, BatchLimits, Batching, Evidence, Fault, Outcome, Record, Verdict, group_of,
};
use pushrail_sink_engine::Limits;
use pushrail_sink_engine::core::{
    Census, Conclusion, Core, Effect, Flight, Item, Kind, Next, Now, Source, Target, Unsent,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(100);

/// How a destination behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Answers within milliseconds.
    Well,
    /// Answers after a second or two.
    Slow,
    /// Never answers.
    Hang,
    /// Answers 503.
    Fail,
    /// Fails every other time.
    Flaky,
    /// Refuses some records for good.
    Refuse,
    /// Takes some records of a call, and the others later.
    Throttle,
    /// Answers 410: wants nothing any more.
    Gone,
}

#[derive(Clone, Debug)]
struct Entry {
    delivery: Delivery,
    event: Event,
    published_at: Duration,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A record comes back from a retry tier, or is published.
    Append(usize),
    Arrive {
        flight: (usize, u64),
        generation: u64,
    },
    Answer {
        flight: (usize, u64),
        generation: u64,
    },
    Acknowledge {
        ack: usize,
        generation: u64,
    },
    Tick,
    Commit,
}

/// What is on its way, and what of it has been taken.
type Flying = (Batch, Vec<bool>);

/// See the module.
pub(crate) struct World {
    rng: SmallRng,
    start: Instant,
    at: Duration,
    wall_offset_ms: i64,
    kind: Kind,
    core: Core,
    /// Rises with each crash: what belongs to an earlier process comes to nothing.
    generation: u64,
    log: Vec<Vec<Entry>>,
    read: Vec<usize>,
    paused: HashSet<i32>,
    committed: Vec<(i64, String)>,
    agenda: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    sequence: u64,
    waiting: Vec<(i32, Entry)>,
    flights: HashMap<(usize, u64), Flying>,
    acks: Vec<Source>,
    destinations: HashMap<Uuid, (Arc<Destination>, Temper)>,
    order: Vec<Uuid>,
    healed: bool,
    published: HashSet<Uuid>,
    delivered: HashMap<Uuid, u32>,
    dead: HashSet<Uuid>,
    under_way_at_crash: HashSet<Uuid>,
    admitted_at: HashMap<Uuid, Duration>,
    worst_wait: Duration,
    healthy_deferrals: usize,
    unconcluded: HashSet<Source>,
    /// Attempts of each delivery that has ended.
    attempts: HashMap<Uuid, u32>,
    /// Calls that reached a destination, by the deliveries in them.
    pub(crate) calls: Vec<Vec<Uuid>>,
    /// Times that a partition was paused.
    pub(crate) pauses: usize,
    /// What was written for the records of one call is acknowledged at one time.
    pub(crate) acks_together: bool,
    pub(crate) peak: Census,
}

/// One record a call.
pub(crate) fn single() -> Kind {
    Kind {
        batch: BatchLimits::SINGLE,
        batch_max: BatchLimits::SINGLE,
        batching: Batching {
            group: |_| 0,
            weigh: |record| record.event.value().len(),
            calls_max: 64,
        },
        timeout_default: TIMEOUT,
        timeout_max: Duration::from_secs(30),
    }
}

/// Several records a call, in two groups a destination.
pub(crate) fn batching(batch: BatchLimits) -> Kind {
    Kind {
        batch,
        batch_max: batch,
        batching: Batching {
            group: |record| group_of(record.event.event_id().as_u128() % 2),
            ..single().batching
        },
        ..single()
    }
}

impl World {
    pub(crate) fn new(seed: u64, partitions: usize) -> Self {
        World::of(single(), seed, partitions)
    }

    pub(crate) fn of(kind: Kind, seed: u64, partitions: usize) -> Self {
        let mut world = World {
            rng: SmallRng::seed_from_u64(seed),
            start: Instant::now(),
            at: Duration::ZERO,
            wall_offset_ms: 1_700_000_000_000,
            core: Core::new(Limits::default(), kind, seed),
            kind,
            generation: 0,
            log: vec![Vec::new(); partitions],
            read: vec![0; partitions],
            paused: HashSet::new(),
            committed: vec![(0, String::new()); partitions],
            agenda: BinaryHeap::new(),
            sequence: 0,
            waiting: Vec::new(),
            flights: HashMap::new(),
            acks: Vec::new(),
            destinations: HashMap::new(),
            order: Vec::new(),
            healed: false,
            published: HashSet::new(),
            delivered: HashMap::new(),
            dead: HashSet::new(),
            under_way_at_crash: HashSet::new(),
            admitted_at: HashMap::new(),
            worst_wait: Duration::ZERO,
            healthy_deferrals: 0,
            unconcluded: HashSet::new(),
            attempts: HashMap::new(),
            calls: Vec::new(),
            pauses: 0,
            acks_together: false,
            peak: Census::default(),
        };
        world.assign();
        world.plan(Duration::ZERO, Happening::Tick);
        world.plan(Duration::from_millis(500), Happening::Commit);
        world
    }

    pub(crate) fn destination(&mut self, temper: Temper) -> Uuid {
        let id = Uuid::from_u128(self.rng.random());
        let destination = Destination {
            destination_id: id,
            tenant_id: "acme".into(),
            customer_id: Uuid::nil(),
            customer_external_id: "c".into(),
            kind: "webhook".into(),
            name: "d".into(),
            state: State::Active,
            version: 1,
            config: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            secrets: None,
            event_types: vec!["*".into()],
            filter: None,
            transform: Vec::new(),
            retry: RetryPolicy {
                max_attempts: 40,
                max_delay_ms: 60_000,
                ..RetryPolicy::default()
            },
            rate_limit: None,
            batch: None,
            payload_mode: PayloadMode::Full,
            payload_mode_inherited: false,
            timeout_ms: None,
        };
        self.destinations
            .insert(id, (Arc::new(destination), temper));
        self.order.push(id);
        id
    }

    /// Publishes records to all destinations in turn, spread over a time.
    pub(crate) fn publish_evenly(&mut self, count: usize, over: Duration) {
        for n in 0..count {
            let to = self.order[n % self.order.len()];
            self.publish(to, self.at + over.mul_f64(n as f64 / count as f64));
        }
    }

    pub(crate) fn flood(&mut self, to: Uuid, count: usize, over: Duration) {
        for n in 0..count {
            self.publish(to, self.at + over.mul_f64(n as f64 / count as f64));
        }
    }

    fn publish(&mut self, to: Uuid, at: Duration) {
        let event_id = Uuid::from_u128(self.rng.random());
        let mut value = Vec::new();
        let parts = Parts {
            event_id,
            event_type: "t",
            occurred_at_us: 0,
            customer_external_id: "c",
            idempotency_key: None,
            source: None,
            payload: b"{}",
            metadata: b"{}",
            received_at_us: 0,
            subject_id: None,
            sealing: None,
        };
        parts.encode(1, &mut value);
        let delivery = Delivery {
            delivery_id: identity::delivery_id(event_id, to),
            event_id,
            tenant_id: "acme".into(),
            customer_id: Uuid::nil(),
            destination_id: to,
            attempt: 0,
            deferrals: 0,
            first_attempt_at_ms: None,
            not_before_ms: None,
            origin: Origin::Live,
            replay_id: None,
            traceparent: None,
        };
        self.published.insert(delivery.delivery_id);
        let entry = Entry {
            delivery,
            event: Event::parse(Bytes::from(value)).unwrap(),
            published_at: at,
        };
        self.append_at(at, entry);
    }

    fn append_at(&mut self, at: Duration, entry: Entry) {
        let partition = (entry.delivery.destination_id.as_u128() % self.log.len() as u128) as i32;
        self.waiting.push((partition, entry));
        self.plan(at, Happening::Append(self.waiting.len() - 1));
    }

    fn plan(&mut self, at: Duration, happening: Happening) {
        self.sequence += 1;
        self.agenda.push(Reverse((at, self.sequence, happening)));
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start + self.at,
            wall_ms: self.wall_offset_ms + self.at.as_millis() as i64,
        }
    }

    pub(crate) fn jump_clock(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// From here on every destination is well.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
    }

    pub(crate) fn run_for_some_time(&mut self, at_most: Duration) {
        let time = at_most.mul_f64(self.rng.random());
        self.run(time);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.at + time;
        while self
            .agenda
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= end)
        {
            self.step();
        }
        self.at = end;
    }

    /// Runs until every record has come to its end; fails when that takes longer than `at_most`.
    pub(crate) fn run_until_settled(&mut self, at_most: Duration) {
        let end = self.at + at_most;
        let finished = |world: &World| {
            world
                .published
                .iter()
                .all(|id| world.delivered.contains_key(id) || world.dead.contains(id))
        };
        let mut steps = 0u64;
        loop {
            steps += 1;
            if steps.is_multiple_of(512) && finished(self) {
                return;
            }
            assert!(
                self.at < end,
                "{} of {} ended",
                self.delivered.len() + self.dead.len(),
                self.published.len()
            );
            self.step();
        }
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, happening))) = self.agenda.pop() else {
            return;
        };
        self.at = self.at.max(at);
        let now = self.now();
        match happening {
            Happening::Append(index) => {
                let (partition, entry) = self.waiting[index].clone();
                self.log[partition as usize].push(entry);
            }
            Happening::Arrive { flight, generation } => self.arrive(flight, generation),
            Happening::Answer { flight, generation } => {
                if generation == self.generation
                    && let Some((batch, delivered)) = self.flights.remove(&flight)
                {
                    let outcome = self.outcome(&batch, &delivered);
                    self.core.finished(
                        now,
                        Flight {
                            lane: flight.0,
                            number: flight.1,
                        },
                        outcome,
                    );
                }
            }
            Happening::Acknowledge { ack, generation } => {
                if generation == self.generation {
                    self.core.settle(self.acks[ack]);
                }
            }
            Happening::Tick => {
                self.core.tick(now);
                self.plan(self.at + TICK, Happening::Tick);
            }
            Happening::Commit => {
                self.commit();
                self.plan(self.at + Duration::from_millis(500), Happening::Commit);
            }
        }
        self.read_log();
        self.core.pump(now);
        self.carry_out();
        let census = self.core.census();
        self.peak.queued = self.peak.queued.max(census.queued);
        self.peak.active = self.peak.active.max(census.active);
        self.peak.overdue = self.peak.overdue.max(census.overdue);
        self.peak.queued_bytes = self.peak.queued_bytes.max(census.queued_bytes);
        self.peak.in_flight_bytes = self.peak.in_flight_bytes.max(census.in_flight_bytes);
    }

    fn read_log(&mut self) {
        let now = self.now();
        for partition in 0..self.log.len() {
            while self.core.wants_more() && !self.paused.contains(&(partition as i32)) {
                let offset = self.read[partition];
                let Some(entry) = self.log[partition].get(offset).cloned() else {
                    break;
                };
                self.read[partition] += 1;
                let Some(source) = self.core.admit(partition as i32, offset as i64) else {
                    continue;
                };
                self.unconcluded.insert(source);
                self.admitted_at
                    .entry(entry.delivery.delivery_id)
                    .or_insert(entry.published_at);
                let attempt = entry.delivery.attempt + 1;
                let (destination, _) = &self.destinations[&entry.delivery.destination_id];
                let record = Record {
                    event: entry.event,
                    delivery: entry.delivery,
                    attempt,
                };
                let item = Item {
                    source,
                    weight: self.core.weigh(&record),
                    record: Arc::new(record),
                    received_at: now.instant,
                };
                self.core.receive(now, item, Some(&Arc::clone(destination)));
                self.carry_out_pauses();
            }
        }
    }

    /// Pauses take effect at once, as in the worker.
    fn carry_out_pauses(&mut self) {
        let mut rest = Vec::new();
        while let Some(effect) = self.core.next_effect() {
            match effect {
                effect @ (Effect::Pause(_) | Effect::Resume(_)) => self.carry_out_one(effect),
                other => rest.push(other),
            }
        }
        for effect in rest {
            self.carry_out_one(effect);
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { lane, destination } => {
                let now = self.now();
                self.core
                    .connected(now, lane, Target::of(&destination), Ok(()));
                self.core.pump(now);
            }
            Effect::Start(start) => {
                let id = start.destination.destination_id;
                let temper = self.temper(id);
                for record in start
                    .batch
                    .iter()
                    .filter(|r| r.attempt == 1 && r.delivery.deferrals == 0)
                {
                    if temper == Temper::Well {
                        let wait = self
                            .at
                            .saturating_sub(self.admitted_at[&record.delivery.delivery_id]);
                        self.worst_wait = self.worst_wait.max(wait);
                    }
                }
                self.assert_batch(&start.batch);
                let latency = self.latency(temper);
                let flight = (start.flight.lane, start.flight.number);
                let taken = vec![false; start.batch.len()];
                self.flights.insert(flight, (start.batch, taken));
                let generation = self.generation;
                self.plan(
                    self.at + latency.mul_f64(0.5),
                    Happening::Arrive { flight, generation },
                );
                self.plan(
                    self.at + latency.min(start.timeout),
                    Happening::Answer { flight, generation },
                );
            }
            Effect::Conclude(conclusion) => self.conclude(*conclusion),
            Effect::Pause(partition) => {
                self.pauses += 1;
                self.paused.insert(partition);
            }
            Effect::Resume(partition) => _ = self.paused.remove(&partition),
            Effect::Forget { .. } => {}
        }
    }

    fn temper(&self, id: Uuid) -> Temper {
        if self.healed {
            Temper::Well
        } else {
            self.destinations[&id].1
        }
    }

    fn latency(&mut self, temper: Temper) -> Duration {
        let ms = match temper {
            Temper::Slow => self.rng.random_range(1_000..2_500),
            Temper::Hang => 3_600_000,
            _ => self.rng.random_range(1..10),
        };
        Duration::from_millis(ms)
    }

    /// The request reaches the destination: from here on it counts there, whatever becomes of the answer.
    fn arrive(&mut self, flight: (usize, u64), generation: u64) {
        if generation != self.generation {
            return;
        }
        let Some((batch, _)) = self.flights.get(&flight).cloned() else {
            return;
        };
        let ids = batch.iter().map(|r| r.delivery.delivery_id);
        self.calls.push(ids.collect());
        let temper = self.temper(batch[0].delivery.destination_id);
        let takes_all = self.rng.random();
        let takes = |rng: &mut SmallRng, record: &Record| match temper {
            Temper::Well | Temper::Slow => true,
            Temper::Hang | Temper::Fail | Temper::Gone => false,
            Temper::Flaky => takes_all,
            Temper::Throttle => rng.random_bool(0.7),
            Temper::Refuse => !refused(record.delivery.event_id),
        };
        let taken: Vec<bool> = batch.iter().map(|r| takes(&mut self.rng, r)).collect();
        for (record, _) in batch.iter().zip(&taken).filter(|(_, taken)| **taken) {
            let times = self.delivered.entry(record.delivery.delivery_id);
            *times.or_default() += 1;
        }
        self.flights.insert(flight, (batch, taken));
    }

    fn outcome(&mut self, batch: &Batch, taken: &[bool]) -> Outcome {
        let temper = self.temper(batch[0].delivery.destination_id);
        let verdict = |taken: &bool| match (*taken, temper) {
            (true, _) => Verdict::Delivered,
            (false, Temper::Refuse) => Verdict::Reject {
                fault: Fault::record("http_400", "no"),
            },
            (false, Temper::Gone) => Verdict::Suspend {
                fault: Fault::destination("http_410", "gone"),
            },
            (false, _) => Verdict::Retry {
                fault: Fault::destination("http_503", "later"),
                after: None,
            },
        };
        Outcome {
            verdicts: taken.iter().map(verdict).collect(),
            evidence: Evidence::default(),
        }
    }

    fn conclude(&mut self, conclusion: Conclusion) {
        let source = conclusion.item.source;
        if !self.core.is_current(source) {
            return;
        }
        assert!(self.unconcluded.remove(&source), "{source:?} ended twice");
        let conclusion_first = conclusion.first_attempt_at_ms;
        let Conclusion {
            item,
            next,
            attempt,
            ..
        } = conclusion;
        let mut delivery = item.record.delivery.clone();
        delivery.first_attempt_at_ms = conclusion_first;
        let (id, to) = (delivery.delivery_id, delivery.destination_id);
        if attempt.is_some() {
            delivery.attempt = item.record.attempt;
            delivery.deferrals = 0;
            self.attempts.insert(id, item.record.attempt);
        }
        // The copy is in the broker's hands a little before we hear of it, or, at a crash, without our ever hearing.
        let ack_ms = match self.acks_together {
            true => 4,
            false => self.rng.random_range(1..8),
        };
        let ack_at = self.at + Duration::from_millis(ack_ms);
        match next {
            Next::Delivered => {}
            Next::Dead { .. } => _ = self.dead.insert(id),
            Next::Retry { not_before_ms } | Next::Defer { not_before_ms, .. } => {
                if attempt.is_none() {
                    delivery.deferrals += 1;
                    self.healthy_deferrals += usize::from(self.destinations[&to].1 == Temper::Well);
                }
                delivery.not_before_ms = Some(not_before_ms);
                let wait =
                    Duration::from_millis((not_before_ms - self.now().wall_ms).max(0) as u64);
                let entry = Entry {
                    delivery,
                    event: item.record.event.clone(),
                    published_at: self.at + wait,
                };
                self.append_at(self.at + wait, entry);
            }
        }
        self.acks.push(source);
        let ack = self.acks.len() - 1;
        self.plan(
            ack_at,
            Happening::Acknowledge {
                ack,
                generation: self.generation,
            },
        );
    }

    fn commit(&mut self) {
        for (partition, ledger) in self.core.ledgers() {
            self.committed[partition as usize] = (ledger.committable(), ledger.metadata(4_096));
        }
    }

    fn assign(&mut self) {
        for partition in 0..self.log.len() {
            let (offset, metadata) = self.committed[partition].clone();
            self.core
                .assign(partition as i32, Ledger::new(offset, &metadata));
            self.read[partition] = offset as usize;
        }
        self.paused.clear();
    }

    /// The process dies without a word, and another takes over from what was committed.
    pub(crate) fn crash(&mut self) {
        for (batch, _) in self.flights.values() {
            self.under_way_at_crash
                .extend(batch.iter().map(|r| r.delivery.delivery_id));
        }
        // What ended after the last commit is repeated too: nobody else knows of it.
        let committed: Vec<Ledger> = self
            .committed
            .iter()
            .map(|(o, m)| Ledger::new(*o, m))
            .collect();
        for (partition, mut ledger) in committed.into_iter().enumerate() {
            for (offset, entry) in self.log[partition]
                .iter()
                .enumerate()
                .take(self.read[partition])
            {
                if offset as i64 >= self.committed[partition].0
                    && ledger.receive(offset as i64) == pushrail_ledger::Receipt::New
                {
                    self.under_way_at_crash.insert(entry.delivery.delivery_id);
                }
            }
        }
        self.generation += 1;
        self.flights.clear();
        self.unconcluded.clear();
        self.core = Core::new(Limits::default(), self.kind, self.rng.random());
        self.assign();
    }

    /// All partitions move to another process in good order.
    pub(crate) fn hand_over(&mut self) {
        for partition in 0..self.log.len() as i32 {
            let now = self.now().instant;
            self.core.revoke(now, partition, Unsent::Flush);
        }
        let deadline = self.at + Duration::from_secs(20);
        while self.at < deadline && (0..self.log.len() as i32).any(|p| self.core.is_under_way(p)) {
            self.step();
        }
        // The last acknowledgements.
        self.run(Duration::from_millis(20));
        self.commit();
        self.crash();
    }
}

/// What a destination that refuses refuses.
pub(crate) fn refused(event_id: Uuid) -> bool {
    event_id.as_u128().is_multiple_of(3)
}
