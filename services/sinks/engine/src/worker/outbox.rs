//! What a sink writes: audit records, retries, dead letters. A source is settled when all that was written for it has been
//! acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use pushrail_clock as clock;
use pushrail_kafka::rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use pushrail_kafka::{Ack, Error, Outgoing, Producer, SendError};
use pushrail_privacy::Modes;
use pushrail_schemas::headers;
use pushrail_sink_core::Fault;
use pushrail_topology::{tier_for, topics};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use uuid::fmt::Hyphenated;

use super::audit;
use crate::core::{Conclusion, Item, Next, Source};
use crate::metrics::{CauseLabel, Metrics, Outcome, Reason};
use crate::settings::Settings;

/// Records that may await their acknowledgement before reading and attempting stop.
const OUTSTANDING_MAX: usize = 20_000;
/// Longest failure detail in a header, in characters.
const DETAIL_LEN_MAX: usize = 500;

pub(super) struct Outbox {
    producer: Producer,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// What found the producer's queue full, in order.
    unsent: VecDeque<Letter>,
    acks: Vec<Ack>,
    kind: String,
    dlq: String,
    attempt_schema_id: u32,
    metrics: Metrics,
    modes: Modes,
    rng: SmallRng,
    value: Vec<u8>,
    text: String,
}

struct Slot {
    /// `None`: nothing is settled by it, as with the audit record of an attempt whose partition is gone.
    source: Option<Source>,
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

impl Outbox {
    pub(super) fn new(
        settings: &Settings,
        client_id: &str,
        metrics: Metrics,
        seed: u64,
    ) -> Result<Self, Error> {
        let config = settings.connection.batching_producer(client_id, LINGER);
        Ok(Outbox {
            producer: Producer::new(&config)?,
            slots: Vec::new(),
            free: Vec::new(),
            unsent: VecDeque::new(),
            acks: Vec::new(),
            kind: settings.kind.clone(),
            dlq: topics::dlq(&settings.kind),
            attempt_schema_id: settings.attempt_schema_id,
            metrics,
            modes: Modes::default(),
            rng: SmallRng::seed_from_u64(!seed),
            value: Vec::new(),
            text: String::new(),
        })
    }

    /// Hands settled sources to `settle`; gives back those of which Kafka refused something.
    pub(super) fn poll(&mut self, mut settle: impl FnMut(Source)) -> Result<Vec<Source>, Error> {
        let mut refused = Vec::new();
        let mut acks = std::mem::take(&mut self.acks);
        self.producer.poll(&mut acks);
        for ack in acks.drain(..) {
            if let Err(error) = &ack.result {
                tracing::error!(%error, "sink.write_refused");
            }
            self.acknowledged(ack.token, ack.result.is_ok(), &mut settle, &mut refused);
        }
        self.acks = acks;
        if self.producer.is_fatal() {
            return Err(Error::Fatal(
                "the producer was fenced or lost its place".into(),
            ));
        }
        Ok(refused)
    }

    fn acknowledged(
        &mut self,
        token: usize,
        written: bool,
        settle: &mut impl FnMut(Source),
        refused: &mut Vec<Source>,
    ) {
        let slot = &mut self.slots[token];
        slot.left -= 1;
        if !written {
            // Takes the source out, so that what else is acknowledged of it settles nothing.
            refused.extend(slot.source.take());
        }
        if slot.left == 0 {
            if let Some(source) = slot.source.take() {
                settle(source);
            }
            self.free.push(token);
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.producer.outstanding()
    }

    pub(super) fn is_full(&self) -> bool {
        !self.unsent.is_empty() || self.producer.outstanding() >= OUTSTANDING_MAX
    }

    /// Whether something written for the partition still awaits its acknowledgement.
    pub(super) fn awaits(&self, partition: i32) -> bool {
        self.slots
            .iter()
            .any(|s| s.source.is_some_and(|source| source.partition == partition))
    }

    /// Writes what a conclusion calls for. Where its partition is no longer ours only the attempt is recorded: the record
    /// itself is the next owner's.
    pub(super) fn conclude(&mut self, conclusion: Conclusion, current: bool) {
        let outcome = audit::outcome(&conclusion);
        let copied = current && conclusion.next != Next::Delivered;
        let audited = outcome.filter(|_| current || conclusion.attempt.is_some());
        if !copied && audited.is_none() {
            return;
        }
        let source = current.then_some(conclusion.item.source);
        let token = self.slot(source, u32::from(copied) + u32::from(audited.is_some()));
        let mut key = [0; Hyphenated::LENGTH];
        let key = audit::key(conclusion.item.destination_id(), &mut key);
        if let Some(outcome) = audited {
            self.count(&conclusion, outcome);
            let mut value = std::mem::take(&mut self.value);
            value.clear();
            audit::write(
                &conclusion,
                outcome,
                &self.modes.get(&conclusion.payload_mode),
                &self.kind,
                self.attempt_schema_id,
                &mut self.rng,
                &mut value,
            );
            let topic = Topic::Named(topics::AUDIT_ATTEMPTS);
            self.send(topic, key, &value, None, token);
            self.value = value;
        }
        if copied {
            self.copy(&conclusion, key, token);
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
            headers = failure(headers, reason, conclusion.fault.as_ref(), &source);
            let reason = Reason { reason };
            self.metrics.dead_letters.get_or_create(&reason).inc();
        }
        self.send(topic, key, record.event.value(), Some(headers), token);
    }

    fn count(&self, conclusion: &Conclusion, outcome: pushrail_schemas::attempt::Outcome) {
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

    /// A record that kills its reader, set aside without touching it.
    pub(super) fn poisoned(&mut self, item: Item) {
        let fault = Fault::us(
            "poison",
            "The process died each time it handled this record alone.",
        );
        let next = Next::Dead { reason: "poison" };
        let payload_mode = pushrail_schemas::config::PayloadMode::Off;
        self.conclude(
            Conclusion {
                item,
                next,
                attempt: None,
                fault: Some(fault),
                payload_mode,
                first_attempt_at_ms: None,
            },
            true,
        );
    }

    /// A record that can't be read goes to the dead letters with its original key, value and headers.
    pub(super) fn unreadable(
        &mut self,
        source: Source,
        message: &BorrowedMessage<'_>,
        problem: &str,
    ) {
        tracing::warn!(
            partition = source.partition,
            offset = source.offset,
            problem,
            "sink.record_unreadable"
        );
        let token = self.slot(Some(source), 1);
        let mut out = message
            .headers()
            .map_or_else(OwnedHeaders::new, |h| h.detach());
        let fault = Fault::us("undecodable", problem.to_owned());
        out = failure(out, "undecodable", Some(&fault), &self.source_text(source));
        self.metrics
            .dead_letters
            .get_or_create(&Reason {
                reason: "undecodable",
            })
            .inc();
        let (key, value) = (
            message.key().unwrap_or_default(),
            message.payload().unwrap_or_default(),
        );
        self.send(Topic::DeadLetters, key, value, Some(out), token);
    }

    fn source_text(&self, source: Source) -> String {
        format!(
            "{}/{}/{}",
            topics::deliver(&self.kind),
            source.partition,
            source.offset
        )
    }

    fn slot(&mut self, source: Option<Source>, left: u32) -> usize {
        let slot = Slot { source, left };
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

    pub(super) fn send_rest(&mut self) {
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

fn failure(out: OwnedHeaders, reason: &str, fault: Option<&Fault>, source: &str) -> OwnedHeaders {
    let detail: String = fault.map_or_else(String::new, |f| {
        f.detail.chars().take(DETAIL_LEN_MAX).collect()
    });
    let code = fault.map_or("", |f| &*f.code);
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
