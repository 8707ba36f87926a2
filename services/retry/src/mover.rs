//! The handler: waits for the head of each partition and places it.

use std::collections::HashMap;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_kafka::TopicPartition;
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::relay::{Flow, Handler, Incoming, Outbox, Refusal};
use pushrail_obs::health::{Condition, Heartbeat};
use pushrail_schemas::headers;
use pushrail_topology::{TIERS, Tier, topics};
use tokio::time::Instant;

use crate::hop::due_ms;
use crate::metrics::{Moves, Went};
use crate::place::{Answer, Failure, Place, UNKNOWN_MAX, Wish, place};

/// How long a topic that Kafka does not have is not tried again: one record in this time waits for its refusals, not each.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// More missing topics than this are not remembered; each record for them then waits for its own refusals.
const MISSING_MAX: usize = 64;

/// One worker's mover.
pub(crate) struct Mover {
    clock: Clock,
    moves: Moves,
    ready: Condition,
    heartbeat: Heartbeat,
    missing: HashMap<String, Instant>,
}

impl Mover {
    pub(crate) fn new(clock: Clock, moves: Moves, ready: Condition, heartbeat: Heartbeat) -> Self {
        Mover {
            clock,
            moves,
            ready,
            heartbeat,
            missing: HashMap::new(),
        }
    }

    fn answer(&mut self, wish: &Wish<'_>, refused: Option<Refusal>) -> Answer {
        let Some(refusal) = refused.filter(Refusal::is_final) else {
            return Answer::None;
        };
        if !refusal.is_topic_unknown() {
            return Answer::Never(refusal.times);
        }
        if refusal.times >= UNKNOWN_MAX
            && self.missing.len() < MISSING_MAX
            && let Some(kind) = wish.kind
        {
            let until = Instant::now() + MISSING_FOR;
            self.missing.insert(topics::deliver(kind), until);
            if refusal.times > UNKNOWN_MAX {
                self.missing.insert(topics::dlq(kind), until);
            }
        }
        Answer::Unknown(refusal.times)
    }
}

impl Handler for Mover {
    fn assigned(&mut self, _: &TopicPartition, _: Option<i64>) {
        self.ready.met();
    }

    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
        let tier = Tier::of_topic(record.topic).unwrap_or(&TIERS[0]);
        let now_ms = self.clock.now_ms();
        let due_ms = due_ms(now_ms, record.timestamp_ms, tier);
        if due_ms > now_ms {
            return Flow::Hold(Instant::now() + Duration::from_millis((due_ms - now_ms) as u64));
        }
        let wish = Wish::read(record.headers());
        let answer = self.answer(&wish, record.refused);
        let missing = &self.missing;
        let chosen = place(now_ms, &wish, tier, answer, |topic| {
            missing.contains_key(topic)
        });
        let copied = record.copy_headers();
        let (topic, headers, went) = match &chosen {
            Place::Deliver(topic) => (topic.as_str(), copied, Went::Deliver),
            Place::Tier(topic) => (*topic, copied, Went::Tier),
            Place::Dead(topic, failure) => {
                tracing::warn!(
                    topic,
                    code = failure.code,
                    from = record.topic,
                    partition = record.partition,
                    offset = record.offset,
                    "retry.dead_lettered"
                );
                (
                    topic.as_str(),
                    with_failure(copied, failure, record, now_ms),
                    Went::Dead,
                )
            }
        };
        let key = record.key.unwrap_or_default();
        out.send_at(topic, key, record.value, headers, now_ms);
        self.moves.observe(tier, went, now_ms - due_ms);
        Flow::Done
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        if !self.missing.is_empty() {
            let now = Instant::now();
            self.missing.retain(|_, until| *until > now);
        }
    }
}

fn with_failure(
    copied: OwnedHeaders,
    failure: &Failure,
    record: &Incoming<'_>,
    now_ms: i64,
) -> OwnedHeaders {
    let source = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    let at = now_ms.to_string();
    [
        (headers::FAILURE_REASON, failure.reason),
        (headers::FAILURE_CODE, failure.code),
        (headers::FAILURE_DETAIL, &failure.detail),
        (headers::FAILED_AT, &at),
        (headers::FAILURE_SOURCE, &source),
    ]
    .into_iter()
    .fold(copied, |all, (key, value)| {
        all.insert(Header {
            key,
            value: Some(value),
        })
    })
}
