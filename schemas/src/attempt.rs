//! The audit record: one per attempt, and one per reason why none was made.

use uuid::Uuid;

use crate::wire::{self, DecodeError, PREFIX_LEN, Reader};

/// What became of a delivery with this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Delivered,
    Retrying,
    Dead,
    Suspended,
    Skipped,
    Duplicate,
    /// Put off before its first attempt: nothing has been tried, and it is still owed.
    Queued,
}

impl Outcome {
    pub const ALL: [Outcome; 7] = [
        Outcome::Delivered,
        Outcome::Retrying,
        Outcome::Dead,
        Outcome::Suspended,
        Outcome::Skipped,
        Outcome::Duplicate,
        Outcome::Queued,
    ];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retrying => "retrying",
            Outcome::Dead => "dead",
            Outcome::Suspended => "suspended",
            Outcome::Skipped => "skipped",
            Outcome::Duplicate => "duplicate",
            Outcome::Queued => "queued",
        }
    }
}

/// An audit record, borrowed from whoever writes it or from the value it was read from. Fields are as `Attempt.avsc` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub received_at_us: Option<i64>,
    pub subject_id: Option<Uuid>,
    pub sealing: Option<&'a [u8]>,
}

impl<'a> Attempt<'a> {
    /// Reads a record that was written with any version of `Attempt.avsc`: fields that it does not have yet are absent,
    /// and what follows the last field that is known here is passed over.
    pub fn parse(value: &'a [u8]) -> Result<Self, DecodeError> {
        wire::split(value)?;
        let mut reader = Reader::new(value, PREFIX_LEN);
        let reader = &mut reader;
        let mut attempt = Attempt {
            attempt_id: reader.uuid()?,
            tenant_id: reader.str()?,
            customer_id: reader.uuid()?,
            event_id: reader.uuid()?,
            event_type: reader.str()?,
            delivery_id: reader.optional(Reader::uuid)?,
            destination_id: reader.optional(Reader::uuid)?,
            kind: reader.optional(Reader::str)?,
            attempt: number(reader, "not a number of attempts")?,
            outcome: outcome(reader)?,
            class: reader.str()?,
            code: reader.optional(Reader::str)?,
            status_code: reader.optional(|reader| number(reader, "not a status code"))?,
            started_at_us: reader.long()?,
            latency_us: reader.long()?,
            error: reader.optional(Reader::str)?,
            response_headers: reader.optional(Reader::str)?,
            response_excerpt: reader.optional(Reader::slice)?,
            payload: reader.optional(Reader::slice)?,
            payload_form: reader.str()?,
            next_attempt_at_us: reader.optional(Reader::long)?,
            first_attempt_at_us: reader.optional(Reader::long)?,
            origin: reader.str()?,
            replay_id: reader.optional(Reader::uuid)?,
            traceparent: reader.optional(Reader::str)?,
            received_at_us: match reader.end() {
                // The first version ended here.
                Ok(()) => None,
                Err(_) => reader.optional(Reader::long)?,
            },
            subject_id: None,
            sealing: None,
        };
        // As the second did here.
        if reader.end().is_err() {
            attempt.subject_id = reader.optional(Reader::uuid)?;
            attempt.sealing = reader.optional(Reader::slice)?;
        }
        Ok(attempt)
    }
}

fn number<T: TryFrom<i64>>(
    reader: &mut Reader<'_>,
    problem: &'static str,
) -> Result<T, DecodeError> {
    let at = reader.at();
    T::try_from(reader.long()?).map_err(|_| DecodeError::Field { at, problem })
}

fn outcome(reader: &mut Reader<'_>) -> Result<Outcome, DecodeError> {
    let at = reader.at();
    let problem = "an outcome that is not known";
    Outcome::parse(reader.str()?).ok_or(DecodeError::Field { at, problem })
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
        wire::put_optional(self.received_at_us, out, wire::put_long);
        wire::put_optional(self.subject_id, out, wire::put_uuid);
        wire::put_optional(self.sealing, out, bytes);
    }
}

/// The tenant that the audit record in `value` belongs to. Reads no further than that, so what follows may be anything.
pub fn tenant_id(value: &[u8]) -> Result<&str, DecodeError> {
    wire::split(value)?;
    let mut reader = Reader::new(value, wire::PREFIX_LEN);
    reader.uuid()?;
    reader.str()
}
