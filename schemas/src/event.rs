//! An accepted event: a view over the bytes that travel.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire;

/// What an [`Event`] is written from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub event_id: Uuid,
    pub event_type: &'a str,
    pub occurred_at_us: i64,
    pub customer_external_id: &'a str,
    pub idempotency_key: Option<&'a str>,
    pub source: Option<&'a str>,
    /// A JSON object; written as it is.
    pub payload: &'a [u8],
    /// A flat JSON object of strings; written as it is.
    pub metadata: &'a [u8],
    pub received_at_us: i64,
}

impl Parts<'_> {
    /// Appends the event in Confluent wire format, field by field as `Event.avsc` orders them.
    pub fn encode(&self, schema_id: u32, out: &mut Vec<u8>) {
        out.reserve(
            128 + self.event_type.len()
                + self.customer_external_id.len()
                + self.idempotency_key.map_or(0, str::len)
                + self.source.map_or(0, str::len)
                + self.payload.len()
                + self.metadata.len(),
        );
        wire::start(schema_id, out);
        wire::put_uuid(self.event_id, out);
        wire::put_bytes(self.event_type.as_bytes(), out);
        wire::put_long(self.occurred_at_us, out);
        wire::put_bytes(self.customer_external_id.as_bytes(), out);
        wire::put_optional(self.idempotency_key, out, |v, out| {
            wire::put_bytes(v.as_bytes(), out)
        });
        wire::put_optional(self.source, out, |v, out| {
            wire::put_bytes(v.as_bytes(), out)
        });
        wire::put_bytes(self.payload, out);
        wire::put_bytes(self.metadata, out);
        wire::put_long(self.received_at_us, out);
    }
}

/// An event, read from the bytes of a Kafka value, which it keeps: reading copies nothing.
#[derive(Clone, Debug)]
pub struct Event {
    value: Bytes,
    event_id: Uuid,
    occurred_at_us: i64,
    received_at_us: i64,
    event_type: Span,
    customer_external_id: Span,
    idempotency_key: Option<Span>,
    source: Option<Span>,
    payload: Span,
    metadata: Span,
}

/// A stretch of an event's bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Event {
    /// Reads an event that was written with `Event.avsc` by [`Parts::encode`] or by any Avro library.
    /// `value` is in Confluent wire format; the schema's id is the caller's to judge.
    ///
    /// What follows the last field is passed over: a newer version of the schema only ever appends fields (the compatibility
    /// test sees to it), so that while services are upgraded one by one the old ones read what the new ones write.
    pub fn parse(value: Bytes) -> Result<Self, wire::DecodeError> {
        wire::split(&value)?;
        let mut reader = wire::Reader::new(&value, wire::PREFIX_LEN);
        let event = Event {
            event_id: reader.uuid()?,
            event_type: span(reader.text()?),
            occurred_at_us: reader.long()?,
            customer_external_id: span(reader.text()?),
            idempotency_key: reader.optional(wire::Reader::text)?.map(span),
            source: reader.optional(wire::Reader::text)?.map(span),
            payload: span(reader.bytes()?),
            metadata: span(reader.bytes()?),
            received_at_us: reader.long()?,
            value: Bytes::new(),
        };
        Ok(Event { value, ..event })
    }

    /// The whole value, as it travels.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    pub fn event_id(&self) -> Uuid {
        self.event_id
    }

    pub fn event_type(&self) -> &str {
        self.str(self.event_type)
    }

    /// Microseconds since the Unix epoch.
    pub fn occurred_at_us(&self) -> i64 {
        self.occurred_at_us
    }

    /// Microseconds since the Unix epoch.
    pub fn received_at_us(&self) -> i64 {
        self.received_at_us
    }

    pub fn customer_external_id(&self) -> &str {
        self.str(self.customer_external_id)
    }

    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.map(|span| self.str(span))
    }

    pub fn source(&self) -> Option<&str> {
        self.source.map(|span| self.str(span))
    }

    /// JSON, as it was published.
    pub fn payload(&self) -> &[u8] {
        self.slice(self.payload)
    }

    /// The payload as a reference into the event's bytes.
    pub fn payload_bytes(&self) -> Bytes {
        self.value
            .slice(self.payload.start as usize..self.payload.end as usize)
    }

    /// JSON, as it was published.
    pub fn metadata(&self) -> &[u8] {
        self.slice(self.metadata)
    }

    /// The fields, to write a changed event from.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            event_id: self.event_id,
            event_type: self.event_type(),
            occurred_at_us: self.occurred_at_us,
            customer_external_id: self.customer_external_id(),
            idempotency_key: self.idempotency_key(),
            source: self.source(),
            payload: self.payload(),
            metadata: self.metadata(),
            received_at_us: self.received_at_us,
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.value[span.start as usize..span.end as usize]
    }

    fn str(&self, span: Span) -> &str {
        // Checked to be UTF-8 when it was read; checking again costs a few ns and spares an `unsafe`.
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

fn span(range: std::ops::Range<usize>) -> Span {
    // A Kafka value has at most 2 GiB.
    Span {
        start: range.start as u32,
        end: range.end as u32,
    }
}
