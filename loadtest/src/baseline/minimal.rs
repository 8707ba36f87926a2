//! Baseline (b): the least that may be called a sink. Kafka → parse → sign → POST → audit record → contiguous commit
//! every 500 ms, in one current-thread runtime that owns the consumer, the connections and the producer.
//!
//! Every message takes whichever connection is free: no lanes, so one hanging receiver would stop it all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hashbrown::HashMap;
use hyper::Uri;
use pushrail_schemas::Event;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::headers::Delivery;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;
use uuid::Uuid;

use super::post::Poster;
use super::{Drained, Meter};
use crate::http::Connection;
use pushrail_clock::now_us;

const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// What to drain, and how.
pub struct Job {
    pub bootstrap: String,
    pub topic: String,
    pub audit_topic: String,
    pub group: String,
    pub partitions: i32,
    /// Path number on the receiver of each destination.
    pub destinations: HashMap<Uuid, u32>,
    pub receiver: SocketAddr,
    pub count: u64,
    pub concurrency: usize,
}

/// Collects the offsets whose audit records the broker has.
#[derive(Default)]
struct Acks(Mutex<Vec<(usize, bool)>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push((token, result.is_ok()));
    }
}

/// Offsets of one partition that are on their way, from the first unfinished one.
#[derive(Default)]
struct Track {
    first: i64,
    done: VecDeque<bool>,
    committed: i64,
}

/// One message that is being delivered.
struct Work {
    partition: i32,
    offset: i64,
    event: Event,
    delivery: Delivery,
    path: Uri,
}

/// Drains `job.count` messages, then commits and returns.
pub async fn run(job: Job) -> anyhow::Result<Drained> {
    let consumer = consumer(&job)?;
    let producer: BaseProducer<Acks> = ClientConfig::new()
        .set("bootstrap.servers", &job.bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "10")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create_with_context(Acks::default())?;
    let poster = Poster::new(crate::destinations::SIGNING_KEY, &job.receiver.to_string())?;
    let connections =
        try_join_all((0..job.concurrency).map(|_| Connection::open(job.receiver))).await?;
    let state = Sink {
        job,
        consumer,
        producer,
        poster,
        tracks: RefCell::default(),
    };
    let meter = Meter::start();
    state.drain(connections).await?;
    Ok(meter.stop(state.job.count))
}

fn consumer(job: &Job) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &job.bootstrap)
        .set("group.id", &job.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..job.partitions {
        assignment.add_partition_offset(&job.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

struct Sink {
    job: Job,
    consumer: BaseConsumer,
    producer: BaseProducer<Acks>,
    poster: Poster,
    tracks: RefCell<HashMap<i32, Track>>,
}

impl Sink {
    async fn drain(&self, mut idle: Vec<Connection>) -> anyhow::Result<()> {
        let mut in_flight = FuturesUnordered::new();
        let (mut taken, mut settled, mut commit_at) = (0, 0, Instant::now() + COMMIT_EVERY);
        while settled < self.job.count {
            while taken < self.job.count
                && let Some(connection) = idle.pop()
            {
                match self.poll()? {
                    Some(work) => in_flight.push(self.deliver(connection, work)),
                    None => {
                        idle.push(connection);
                        break;
                    }
                }
                taken += 1;
            }
            // Below the cap there may be more to consume soon; otherwise only a finished delivery can help.
            let patience = Duration::from_millis(1);
            if idle.is_empty() {
                idle.extend(in_flight.next().await.transpose()?);
            } else if in_flight.is_empty() {
                tokio::time::sleep(patience).await;
            } else if let Ok(finished) = tokio::time::timeout(patience, in_flight.next()).await {
                idle.extend(finished.transpose()?);
            }
            while let Some(Some(finished)) = in_flight.next().now_or_never() {
                idle.push(finished?);
            }
            settled += self.settle()?;
            if Instant::now() >= commit_at {
                self.commit(CommitMode::Async)?;
                commit_at = Instant::now() + COMMIT_EVERY;
            }
        }
        drop(in_flight);
        self.commit(CommitMode::Sync)
    }

    fn poll(&self) -> anyhow::Result<Option<Work>> {
        let Some(message) = self.consumer.poll(Duration::ZERO) else {
            return Ok(None);
        };
        let message = message?;
        let (partition, offset) = (message.partition(), message.offset());
        let headers = message.headers().context("a record without headers")?;
        let pairs = headers
            .iter()
            .filter_map(|header| Some((header.key, header.value?)));
        let delivery = Delivery::parse(pairs)?;
        let event = Event::parse(Bytes::copy_from_slice(
            message.payload().context("a record without a value")?,
        ))?;
        let number = self
            .job
            .destinations
            .get(&delivery.destination_id)
            .context("a foreign destination")?;
        let path = Uri::try_from(format!("/d/{number}"))?;
        let mut tracks = self.tracks.borrow_mut();
        let track = tracks.entry(partition).or_default();
        if track.done.is_empty() {
            track.first = offset;
        }
        track.done.push_back(false);
        Ok(Some(Work {
            partition,
            offset,
            event,
            delivery,
            path,
        }))
    }

    /// Posts one message and writes its audit record; the connection comes back.
    async fn deliver(&self, mut connection: Connection, work: Work) -> anyhow::Result<Connection> {
        let started_us = now_us();
        let (headers, body) = self.poster.request(&work.event, started_us / 1_000_000);
        let answer = connection.post(work.path.clone(), headers, body).await?;
        if !answer.status.is_success() {
            bail!("the receiver answered {}", answer.status);
        }
        self.audit(&work, started_us, answer.status.as_u16(), &answer.first)?;
        Ok(connection)
    }

    fn audit(
        &self,
        work: &Work,
        started_us: i64,
        status: u16,
        excerpt: &[u8],
    ) -> anyhow::Result<()> {
        let attempt = Attempt {
            attempt_id: Uuid::now_v7(),
            tenant_id: &work.delivery.tenant_id,
            customer_id: work.delivery.customer_id,
            event_id: work.delivery.event_id,
            event_type: work.event.event_type(),
            delivery_id: Some(work.delivery.delivery_id),
            destination_id: Some(work.delivery.destination_id),
            kind: Some("webhook"),
            attempt: 1,
            outcome: Outcome::Delivered,
            class: "delivered",
            code: None,
            status_code: Some(status),
            started_at_us: started_us,
            latency_us: now_us() - started_us,
            error: None,
            response_headers: None,
            response_excerpt: Some(excerpt),
            payload: Some(work.event.payload()),
            payload_form: "json",
            next_attempt_at_us: None,
            first_attempt_at_us: Some(started_us),
            origin: work.delivery.origin.as_str(),
            replay_id: None,
            traceparent: None,
            received_at_us: Some(work.event.received_at_us()),
            subject_id: None,
            sealing: None,
        };
        let mut value = Vec::new();
        attempt.encode(1, &mut value);
        let mut key = [0u8; uuid::fmt::Hyphenated::LENGTH];
        let key = &*work
            .delivery
            .destination_id
            .hyphenated()
            .encode_lower(&mut key);
        let token = (work.partition as usize) << 48 | work.offset as usize;
        let mut record = BaseRecord::with_opaque_to(&self.job.audit_topic, token)
            .key(key)
            .payload(&value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Takes in what the broker has acknowledged. Returns how many deliveries that settles.
    fn settle(&self) -> anyhow::Result<u64> {
        self.producer.poll(Duration::ZERO);
        let acks = self.producer.context();
        let acks = std::mem::take(
            &mut *acks
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let mut tracks = self.tracks.borrow_mut();
        for (token, ok) in &acks {
            anyhow::ensure!(ok, "an audit record was not written");
            let (partition, offset) = ((token >> 48) as i32, (token & ((1 << 48) - 1)) as i64);
            let track = tracks.get_mut(&partition).context("an unknown partition")?;
            track.done[(offset - track.first) as usize] = true;
            while track.done.front() == Some(&true) {
                track.done.pop_front();
                track.first += 1;
            }
        }
        Ok(acks.len() as u64)
    }

    fn commit(&self, mode: CommitMode) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, track) in self
            .tracks
            .borrow_mut()
            .iter_mut()
            .filter(|(_, t)| t.first > t.committed)
        {
            list.add_partition_offset(&self.job.topic, *partition, Offset::Offset(track.first))?;
            track.committed = track.first;
        }
        if list.count() > 0 {
            self.consumer.commit(&list, mode)?;
        }
        Ok(())
    }
}

/// Reads which path number belongs to which destination: `salt` and `count` of [`crate::sample::destination_id`].
pub fn destinations(salt: u64, count: u32) -> HashMap<Uuid, u32> {
    (0..count)
        .map(|n| (crate::sample::destination_id(salt, n.into()), n))
        .collect()
}
