//! One record: whose it is, what it says, whether that is an event.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use pushrail_kafka::TopicPartition;
use pushrail_kafka::relay::{Counters, Flow, Handler, Incoming, Outbox};
use pushrail_obs::{Condition, Span, SpanKind, Traceparent};
use pushrail_schemas::config::Tenant;
use pushrail_schemas::event_input::EventInput;
use pushrail_schemas::{headers, identity, wire};
use pushrail_topology::topics;
use tokio::time::Instant;

use super::Shared;
use super::dead::{self, Death};
use super::schemas::{Known, Schemas};
use crate::event::{Batch, Envelope, Id, Origin};
use crate::input::rules::{
    Cause, Limits, OCCURRED_AHEAD_US_MAX, OCCURRED_AT_US_MIN, Rejection, Rules,
};
use crate::input::{Draft, NO_METADATA};
use crate::json::Value;

/// How soon a record is looked at again whose schema is being fetched.
const SCHEMA_PAUSE: Duration = Duration::from_millis(10);
/// How soon, when its tenant is not known, or what its payload is to be sealed with.
const TENANT_PAUSE: Duration = Duration::from_millis(200);
/// A tenant and its first records come over different topics: for this long after a record was written, its tenant may
/// merely not be known yet.
const TENANT_GRACE_MS: i64 = 10_000;

/// The handler of one worker.
pub struct Direct {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    schemas: Schemas,
    batch: Batch,
}

/// Why a record does not become an event now.
#[derive(Debug)]
enum Stop {
    Hold(Duration),
    Dead(Death),
}

impl From<Death> for Stop {
    fn from(death: Death) -> Self {
        Stop::Dead(death)
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        match rejection.cause {
            Cause::NotNow => Stop::Hold(TENANT_PAUSE),
            _ => Stop::Dead(rejection.into()),
        }
    }
}

impl Direct {
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>, registry: Condition) -> Self {
        Direct {
            schemas: Schemas::new(Arc::clone(&shared.registry), registry),
            shared,
            counters,
            batch: Batch::default(),
        }
    }

    fn take(&mut self, record: &Incoming<'_>) -> Result<(), Stop> {
        if let Some(death) = dead::refused(record) {
            return Err(death.into());
        }
        let tenant = self.tenant(record)?;
        let value = record
            .value
            .ok_or_else(|| Death::undecodable("no_value", "the record has no value"))?;
        let (schema_id, _) = wire::split(value)
            .map_err(|error| Death::undecodable("not_confluent_avro", error.to_string()))?;
        let writer = match self.schemas.get(schema_id) {
            Some(Known::Writer(writer)) => writer,
            Some(Known::Refused(code, why)) => return Err(Death::undecodable(code, &*why).into()),
            None => return Err(Stop::Hold(SCHEMA_PAUSE)),
        };
        let input = writer
            .decode(value)
            .map_err(|error| Death::undecodable("unreadable", error.to_string()))?;
        let now_us = self.shared.clock.now_us();
        let draft = judge(&input, record, &self.shared.limits, now_us)?;
        let draft = self.shared.catalogue.judge(&tenant, draft)?;
        self.write(&tenant, &draft, record, now_us)
    }

    /// The tenant that the topic belongs to.
    fn tenant(&self, record: &Incoming<'_>) -> Result<Arc<Tenant>, Stop> {
        let topic = record.topic;
        let tenant = topics::tenant_of_direct(topic)
            .ok_or_else(|| Death::foreign("foreign_topic", format!("{topic} names no tenant")))?;
        if let Some(tenant) = self.shared.keys.tenant(tenant) {
            return Ok(tenant);
        }
        let age_ms = self.shared.clock.now_ms() - record.timestamp_ms.unwrap_or(0);
        if (0..TENANT_GRACE_MS).contains(&age_ms) {
            return Err(Stop::Hold(TENANT_PAUSE));
        }
        Err(Death::foreign("unknown_tenant", format!("there is no tenant {tenant}")).into())
    }

    fn write(
        &mut self,
        tenant: &Tenant,
        draft: &Draft<'_>,
        record: &Incoming<'_>,
        now_us: i64,
    ) -> Result<(), Stop> {
        let incoming = record
            .header(headers::TRACEPARENT)
            .and_then(Traceparent::parse);
        let mut span = Span::root("events.direct", SpanKind::Consumer, incoming);
        let traceparent = span.traceparent().or(incoming).map(|t| t.to_string());
        let envelope = Envelope {
            tenant: &tenant.tenant_id,
            origin: Origin::Direct,
            schema_id: self.shared.schema_id,
            received_at_us: now_us,
            traceparent: traceparent.as_deref(),
        };
        let id = Id::of_key(&tenant.tenant_id, draft).unwrap_or_else(|| Id {
            uuid: identity::event_id_at(
                record.topic,
                record.partition,
                record.offset,
                record.timestamp_ms.unwrap_or(0),
            ),
            derived: true,
        });
        if span.is_recording() {
            span.set_text("pushrail.event_id", &id.uuid.to_string());
        }
        let seals = &self.shared.seals;
        self.batch.push(&envelope, draft, id, |customer_id| {
            seals.of(tenant, draft, customer_id, id.uuid)
        })?;
        Ok(())
    }
}

impl Handler for Direct {
    fn ready(&mut self, _: &TopicPartition) -> bool {
        self.shared.keys.is_ready()
    }

    fn tick(&mut self) {
        self.shared.metrics.relay(&self.counters);
    }

    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
        self.batch.clear();
        match self.take(record) {
            Ok(()) => {
                for (key, value, headers) in self.batch.drain() {
                    out.send(topics::EVENTS, key, Some(value), headers);
                }
                self.shared.metrics.accepted(Origin::Direct, 1);
                Flow::Done
            }
            Err(Stop::Hold(pause)) => Flow::Hold(Instant::now() + pause),
            Err(Stop::Dead(death)) => {
                dead::bury(record, &death, self.shared.clock.now_ms(), out);
                let metrics = &self.shared.metrics;
                metrics.rejected(Origin::Direct, death.counted, 1);
                Flow::Done
            }
        }
    }
}

/// The same rules as over HTTP, in the same words; fields are called as JSON calls them.
fn judge<'a>(
    input: &'a EventInput<'_>,
    record: &Incoming<'_>,
    limits: &Limits,
    now_us: i64,
) -> Result<Draft<'a>, Rejection> {
    let mut rules = Rules::new(limits, now_us);
    rules.event_type(Some(&input.event_type));
    rules.customer_external_id(Some(&input.customer_external_id));
    let payload = scan("payload", &input.payload, &mut rules);
    if payload.is_some() {
        rules.payload(payload.as_ref());
    }
    let occurred_at_us = match input.occurred_at_us {
        Some(us) => rules.occurred_at_us(us),
        None => record.timestamp_ms.and_then(|ms| believable(ms, now_us)),
    };
    rules.idempotency_key(input.idempotency_key.as_deref());
    rules.source(input.source.as_deref());
    let metadata = scan("metadata", &input.metadata, &mut rules);
    rules.metadata(metadata.as_ref());
    rules.subject(input.subject.as_deref());
    // White space around the JSON is not part of it, and would end up in every copy.
    let raw = |value: Option<Value<'a>>| value.map_or(NO_METADATA, |value| value.raw.as_bytes());
    rules.passed(Draft {
        event_type: Cow::Borrowed(&input.event_type),
        customer_external_id: Cow::Borrowed(&input.customer_external_id),
        occurred_at_us,
        idempotency_key: input.idempotency_key.as_deref().map(Cow::Borrowed),
        source: input.source.as_deref().map(Cow::Borrowed),
        payload: raw(payload),
        metadata: raw(metadata),
        subject: input.subject.as_deref().map(Cow::Borrowed),
    })
}

/// The JSON in `bytes`; what is none is refused.
fn scan<'a>(name: &'static str, bytes: &'a [u8], rules: &mut Rules<'_>) -> Option<Value<'a>> {
    let scanned = match std::str::from_utf8(bytes) {
        Ok(text) => Value::of(text).map_err(|error| format!("is not valid JSON: {error}")),
        Err(error) => Err(format!("is not UTF-8 at byte {}", error.valid_up_to())),
    };
    scanned.map_err(|problem| rules.refuse(name, problem)).ok()
}

/// A record's timestamp as the time of the event, unless its clock is wrong: then the time of acceptance is better.
fn believable(timestamp_ms: i64, now_us: i64) -> Option<i64> {
    let us = timestamp_ms.checked_mul(1_000)?;
    (OCCURRED_AT_US_MIN..=now_us.saturating_add(OCCURRED_AHEAD_US_MAX))
        .contains(&us)
        .then_some(us)
}
