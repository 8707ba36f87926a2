//! Writes what a worker has concluded: encodes it and hands it to Kafka, on a thread of its own.
//!
//! That takes a sixth of what a delivery takes, and nothing waits for it; so the worker, which is what limits a sink, is
//! rid of it. What is handed over goes in the order in which it came, and in lots: a thread that woke for each turn of a
//! worker with little to do would cost as much as the turn, and be in its way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use pushrail_clock as clock;
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::{Ack, Error, Outgoing, Producer, SendError};
use pushrail_privacy::{Modes, Privacy};
use pushrail_schemas::attempt;
use pushrail_schemas::headers;
use pushrail_sink_core::Fault;
use pushrail_topology::{tier_for, topics};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use uuid::fmt::Hyphenated;

use super::{Destinations, audit, sealed};
use crate::core::{Conclusion, Next, Source};
use crate::metrics::{CauseLabel, Metrics, Outcome, Reason};
use crate::settings::Settings;

/// Longest failure detail in a header, in characters.
const DETAIL_LEN_MAX: usize = 500;
/// How long a lot gathers, and how often acknowledgements are looked for while some are missing.
const LOT: Duration = Duration::from_millis(5);
/// How long the last records may take when the worker has ended: they settle nothing any more, but tell of attempts.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// What a worker wants written.
pub(super) enum Order {
    Conclude {
        conclusion: Box<Conclusion>,
        /// `None`: the audit says nothing of it.
        audited: Option<attempt::Outcome>,
        /// Whether the record itself goes to a retry tier or to the dead letters.
        is_copied: bool,
        /// `None`: nothing is settled by it, as with the audit record of an attempt whose partition is gone.
        source: Option<Source>,
    },
    Unreadable {
        source: Source,
        raw: Box<Raw>,
    },
}

/// A record that can't be read, as it was.
pub(super) struct Raw {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
    pub(super) problem: String,
}

/// What became of an order, when all that was written for it has been answered for. There is one for each.
pub(super) struct Fate {
    pub(super) source: Option<Source>,
    /// Whether Kafka has everything.
    pub(super) is_written: bool,
}

pub(super) struct Writer {
    producer: Producer,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// What found the producer's queue full, in order.
    unsent: VecDeque<Letter>,
    acks: Vec<Ack>,
    fates: Vec<Fate>,
    kind: String,
    deliver: String,
    dlq: String,
    attempt_schema_id: u32,
    metrics: Metrics,
    /// Knows the keys of what is sealed.
    destinations: Arc<dyn Destinations>,
    modes: Modes,
    rng: SmallRng,
    value: Vec<u8>,
    text: String,
}

struct Slot {
    fate: Fate,
    left: u32,
}

/// A record on its way to the producer.
struct Letter {
    topic: Topic,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Option<OwnedHeaders>,
    token: usize,
}

#[derive(Clone, Copy)]
enum Topic {
    Named(&'static str),
    DeadLetters,
}

/// Nobody waits for what a sink writes: a request for each partition of the audit topic every 10 ms took as much of a
/// machine as consuming did.
const LINGER: Duration = Duration::from_millis(50);

impl Writer {
    pub(super) fn new(
        settings: &Settings,
        client_id: &str,
        metrics: Metrics,
        seed: u64,
        destinations: Arc<dyn Destinations>,
    ) -> Result<Self, Error> {
        let config = settings.connection.batching_producer(client_id, LINGER);
        Ok(Writer {
            producer: Producer::new(&config)?,
            slots: Vec::new(),
            free: Vec::new(),
            unsent: VecDeque::new(),
            acks: Vec::new(),
            fates: Vec::new(),
            kind: settings.kind.clone(),
            deliver: topics::deliver(&settings.kind),
            dlq: topics::dlq(&settings.kind),
            attempt_schema_id: settings.attempt_schema_id,
            metrics,
            destinations,
            modes: Modes::default(),
            rng: SmallRng::seed_from_u64(!seed),
            value: Vec::new(),
            text: String::new(),
        })
    }

    /// Writes what comes, until nobody can send any more.
    pub(super) fn run(
        mut self,
        orders: &Receiver<Vec<Order>>,
        fates: &Sender<Result<Vec<Fate>, Error>>,
        wake: &Notify,
    ) {
        let mut is_last = false;
        while !is_last {
            if self.is_idle() {
                match orders.recv() {
                    Ok(turn) => self.write(turn),
                    Err(_) => break,
                }
            }
            // Nobody unparks this thread.
            thread::park_timeout(LOT);
            is_last = loop {
                match orders.try_recv() {
                    Ok(turn) => self.write(turn),
                    Err(TryRecvError::Empty) => break false,
                    Err(TryRecvError::Disconnected) => break true,
                }
            };
            self.send_rest();
            self.poll();
            if self.producer.is_fatal() {
                let text = "the producer was fenced or lost its place";
                let _ = fates.send(Err(Error::Fatal(text.into())));
                wake.notify_one();
                return;
            }
            if !self.fates.is_empty() {
                let _ = fates.send(Ok(std::mem::take(&mut self.fates)));
                wake.notify_one();
            }
        }
        self.producer.flush(LAST_WITHIN);
    }

    /// Whether everything has been answered for.
    fn is_idle(&self) -> bool {
        self.producer.outstanding() == 0 && self.unsent.is_empty() && self.acks.is_empty()
    }

    /// What a turn of the worker came to.
    fn write(&mut self, turn: Vec<Order>) {
        for order in turn {
            match order {
                Order::Conclude {
                    conclusion,
                    audited,
                    is_copied,
                    source,
                } => self.conclude(&conclusion, audited, is_copied, source),
                Order::Unreadable { source, raw } => self.unreadable(source, *raw),
            }
        }
    }

    fn poll(&mut self) {
        let mut acks = std::mem::take(&mut self.acks);
        self.producer.poll(&mut acks);
        for ack in acks.drain(..) {
            if let Err(error) = &ack.result {
                tracing::error!(%error, "sink.write_refused");
            }
            let slot = &mut self.slots[ack.token];
            slot.fate.is_written &= ack.result.is_ok();
            slot.left -= 1;
            if slot.left == 0 {
                self.fates.push(Fate { ..slot.fate });
                self.free.push(ack.token);
            }
        }
        self.acks = acks;
    }

    fn conclude(
        &mut self,
        conclusion: &Conclusion,
        audited: Option<attempt::Outcome>,
        is_copied: bool,
        source: Option<Source>,
    ) {
        let token = self.slot(source, u32::from(is_copied) + u32::from(audited.is_some()));
        let mut key = [0; Hyphenated::LENGTH];
        let key = audit::key(conclusion.item.destination_id(), &mut key);
        if let Some(outcome) = audited {
            self.count(conclusion, outcome);
            let mut value = std::mem::take(&mut self.value);
            value.clear();
            let payload_key = sealed::key(&conclusion.item.record, &*self.destinations);
            let payload_key = payload_key.ok().flatten();
            let showing = audit::Showing {
                privacy: &self.modes.get(&conclusion.payload_mode),
                key: payload_key.as_ref(),
            };
            audit::write(
                conclusion,
                outcome,
                showing,
                &self.kind,
                self.attempt_schema_id,
                &mut self.rng,
                &mut value,
            );
            let topic = Topic::Named(topics::AUDIT_ATTEMPTS);
            self.send(topic, key, &value, None, token);
            self.value = value;
        }
        if is_copied {
            self.copy(conclusion, key, token);
        }
    }

    /// Writes the record itself to a retry tier or the dead letters: its bytes as they are, its state in the headers.
    fn copy(&mut self, conclusion: &Conclusion, key: &[u8], token: usize) {
        let record = &conclusion.item.record;
        let mut delivery = record.delivery.clone();
        delivery.first_attempt_at_ms = conclusion.first_attempt_at_ms;
        if conclusion.attempt.is_some() {
            delivery.attempt = record.attempt;
            delivery.deferrals = 0;
        }
        let (topic, not_before_ms) = match conclusion.next {
            Next::Retry { not_before_ms } => (tier(not_before_ms), Some(not_before_ms)),
            Next::Defer {
                not_before_ms,
                cause,
            } => {
                delivery.deferrals = delivery.deferrals.saturating_add(1);
                let cause = CauseLabel {
                    cause: cause.as_str(),
                };
                self.metrics.deferrals.get_or_create(&cause).inc();
                (tier(not_before_ms), Some(not_before_ms))
            }
            Next::Dead { .. } | Next::Delivered => (Topic::DeadLetters, None),
        };
        delivery.not_before_ms = not_before_ms;
        let mut headers = Some(OwnedHeaders::new_with_capacity(18));
        delivery.write(Some(&self.kind), &mut self.text, |key, value| {
            let value = Some(value);
            headers = headers.take().map(|h| h.insert(Header { key, value }));
        });
        let mut headers = headers.unwrap_or_default();
        if let Next::Dead { reason } = conclusion.next {
            let source = self.source_text(conclusion.item.source);
            let fault = conclusion.fault.as_ref().map(|fault| {
                let is_sealed = record.event.sealing().is_some();
                (&*fault.code, detail(fault, is_sealed))
            });
            headers = failure(headers, reason, fault, &source);
            let reason = Reason { reason };
            self.metrics.dead_letters.get_or_create(&reason).inc();
        }
        self.send(topic, key, record.event.value(), Some(headers), token);
    }

    fn count(&self, conclusion: &Conclusion, outcome: attempt::Outcome) {
        let Some(made) = &conclusion.attempt else {
            return;
        };
        let label = Outcome {
            outcome: outcome.as_str(),
        };
        self.metrics.attempts.get_or_create(&label).inc();
        let record = &conclusion.item.record;
        // How long a delivery took says nothing of one that was replayed days later.
        let is_live = record.delivery.origin == headers::Origin::Live;
        if conclusion.next == Next::Delivered && record.attempt == 1 && is_live {
            let until_sent = (made.started_at_us - record.event.received_at_us()) as f64 / 1e6;
            let seconds = until_sent + made.latency.as_secs_f64();
            self.metrics.delivery_seconds.observe(seconds.max(0.0));
        }
    }

    fn unreadable(&mut self, source: Source, raw: Raw) {
        let token = self.slot(Some(source), 1);
        let fault = Fault::us("undecodable", raw.problem);
        let source = self.source_text(source);
        let fault = Some((&*fault.code, &*fault.detail));
        let headers = failure(raw.headers, "undecodable", fault, &source);
        let reason = Reason {
            reason: "undecodable",
        };
        self.metrics.dead_letters.get_or_create(&reason).inc();
        self.send(
            Topic::DeadLetters,
            &raw.key,
            &raw.value,
            Some(headers),
            token,
        );
    }

    fn source_text(&self, source: Source) -> String {
        format!("{}/{}/{}", self.deliver, source.partition, source.offset)
    }

    fn slot(&mut self, source: Option<Source>, left: u32) -> usize {
        let fate = Fate {
            source,
            is_written: true,
        };
        let slot = Slot { fate, left };
        match self.free.pop() {
            Some(token) => {
                self.slots[token] = slot;
                token
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Sends, or keeps for later, behind what is kept already.
    fn send(
        &mut self,
        topic: Topic,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
        token: usize,
    ) {
        let refused = match self.unsent.is_empty() {
            true => self.try_send(topic, key, value, headers, token),
            false => Err(headers),
        };
        if let Err(headers) = refused {
            self.unsent.push_back(Letter {
                topic,
                key: key.to_vec(),
                value: value.to_vec(),
                headers,
                token,
            });
        }
    }

    /// Gives the headers back when the producer's queue is full.
    fn try_send(
        &mut self,
        topic: Topic,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
        token: usize,
    ) -> Result<(), Option<OwnedHeaders>> {
        let outgoing = Outgoing {
            topic: match topic {
                Topic::Named(name) => name,
                Topic::DeadLetters => &self.dlq,
            },
            partition: None,
            key,
            value: Some(value),
            headers,
            timestamp_ms: None,
        };
        match self.producer.send(outgoing, token) {
            Ok(()) => Ok(()),
            Err(SendError::Full(headers)) => Err(headers),
            Err(SendError::Refused(error)) => {
                // Comes back like a refusal by the broker, so that there is one way to deal with it.
                self.acks.push(Ack {
                    token,
                    result: Err(error),
                });
                Ok(())
            }
        }
    }

    fn send_rest(&mut self) {
        while let Some(letter) = self.unsent.pop_front() {
            let Letter {
                topic,
                key,
                value,
                headers,
                token,
            } = letter;
            if let Err(headers) = self.try_send(topic, &key, &value, headers, token) {
                let letter = Letter {
                    topic,
                    key,
                    value,
                    headers,
                    token,
                };
                return self.unsent.push_front(letter);
            }
        }
    }
}

/// The largest tier that fits the time that is left, or the smallest.
fn tier(not_before_ms: i64) -> Topic {
    let left_ms = not_before_ms.saturating_sub(clock::now_ms());
    Topic::Named(tier_for(left_ms.max(0) as u64).topic)
}

/// What a fault says. Of what is sealed it quotes nothing: a text that was put together when it failed may have the payload
/// in it.
fn detail(fault: &Fault, is_sealed: bool) -> &str {
    match is_sealed {
        true => Privacy::OFF.error(&fault.detail).unwrap_or_default(),
        false => &fault.detail,
    }
}

/// `fault` is its code and its detail.
fn failure(
    out: OwnedHeaders,
    reason: &str,
    fault: Option<(&str, &str)>,
    source: &str,
) -> OwnedHeaders {
    let (code, detail) = fault.unwrap_or_default();
    let detail: String = detail.chars().take(DETAIL_LEN_MAX).collect();
    let at = clock::now_ms().to_string();
    [
        (headers::FAILURE_REASON, reason),
        (headers::FAILURE_CODE, code),
        (headers::FAILURE_DETAIL, &detail),
        (headers::FAILED_AT, &at),
        (headers::FAILURE_SOURCE, source),
    ]
    .into_iter()
    .fold(out, |out, (key, value)| {
        out.insert(Header {
            key,
            value: Some(value),
        })
    })
}
