//! The audit record: one per attempt, and one per reason why none was made.

use uuid::Uuid;

use crate::wire::{self, DecodeError, Reader};

/// What became of a delivery with this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Delivered,
    Retrying,
    Dead,
    Suspended,
    Skipped,
    Duplicate,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retrying => "retrying",
            Outcome::Dead => "dead",
            Outcome::Suspended => "suspended",
            Outcome::Skipped => "skipped",
            Outcome::Duplicate => "duplicate",
        }
    }
}

/// An audit record, borrowed from whoever writes it. Fields are as `Attempt.avsc` documents them.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub attempt_id: Uuid,
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    pub event_id: Uuid,
    pub event_type: &'a str,
    pub delivery_id: Option<Uuid>,
    pub destination_id: Option<Uuid>,
    pub kind: Option<&'a str>,
    pub attempt: u32,
    pub outcome: Outcome,
    pub class: &'a str,
    pub code: Option<&'a str>,
    pub status_code: Option<u16>,
    pub started_at_us: i64,
    pub latency_us: i64,
    pub error: Option<&'a str>,
    pub response_headers: Option<&'a str>,
    pub response_excerpt: Option<&'a [u8]>,
    pub payload: Option<&'a [u8]>,
    pub payload_form: &'a str,
    pub next_attempt_at_us: Option<i64>,
    pub first_attempt_at_us: Option<i64>,
    pub origin: &'a str,
    pub replay_id: Option<Uuid>,
    pub traceparent: Option<&'a str>,
}

impl Attempt<'_> {
    /// Appends the record in Confluent wire format, field by field as `Attempt.avsc` orders them.
    pub fn encode(&self, schema_id: u32, out: &mut Vec<u8>) {
        let text = |value: &str, out: &mut Vec<u8>| wire::put_bytes(value.as_bytes(), out);
        let bytes = |value: &[u8], out: &mut Vec<u8>| wire::put_bytes(value, out);
        out.reserve(
            512 + self.payload.map_or(0, <[u8]>::len)
                + self.response_excerpt.map_or(0, <[u8]>::len)
                + self.response_headers.map_or(0, str::len)
                + self.error.map_or(0, str::len),
        );
        wire::start(schema_id, out);
        wire::put_uuid(self.attempt_id, out);
        text(self.tenant_id, out);
        wire::put_uuid(self.customer_id, out);
        wire::put_uuid(self.event_id, out);
        text(self.event_type, out);
        wire::put_optional(self.delivery_id, out, wire::put_uuid);
        wire::put_optional(self.destination_id, out, wire::put_uuid);
        wire::put_optional(self.kind, out, text);
        wire::put_long(self.attempt.into(), out);
        text(self.outcome.as_str(), out);
        text(self.class, out);
        wire::put_optional(self.code, out, text);
        wire::put_optional(self.status_code, out, |v, out| {
            wire::put_long(v.into(), out)
        });
        wire::put_long(self.started_at_us, out);
        wire::put_long(self.latency_us, out);
        wire::put_optional(self.error, out, text);
        wire::put_optional(self.response_headers, out, text);
        wire::put_optional(self.response_excerpt, out, bytes);
        wire::put_optional(self.payload, out, bytes);
        text(self.payload_form, out);
        wire::put_optional(self.next_attempt_at_us, out, wire::put_long);
        wire::put_optional(self.first_attempt_at_us, out, wire::put_long);
        text(self.origin, out);
        wire::put_optional(self.replay_id, out, wire::put_uuid);
        wire::put_optional(self.traceparent, out, text);
    }
}

/// The tenant that the audit record in `value` belongs to. Reads no further than that, so what follows may be anything.
pub fn tenant_id(value: &[u8]) -> Result<&str, DecodeError> {
    wire::split(value)?;
    let mut reader = Reader::new(value, wire::PREFIX_LEN);
    reader.uuid()?;
    reader.str()
}
