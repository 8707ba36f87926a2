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
    /// A keyed hash of whom it is about.
    pub subject_id: Option<Uuid>,
    /// How `payload` and `metadata` are sealed, where they are; `pushrail-shred` reads it.
    pub sealing: Option<&'a [u8]>,
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
        wire::put_optional(self.subject_id, out, wire::put_uuid);
        wire::put_optional(self.sealing, out, wire::put_bytes);
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
    subject_id: Option<Uuid>,
    sealing: Option<Span>,
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
        let mut event = Event {
            event_id: reader.uuid()?,
            event_type: span(reader.text()?),
            occurred_at_us: reader.long()?,
            customer_external_id: span(reader.text()?),
            idempotency_key: reader.optional(wire::Reader::text)?.map(span),
            source: reader.optional(wire::Reader::text)?.map(span),
            payload: span(reader.bytes()?),
            metadata: span(reader.bytes()?),
            received_at_us: reader.long()?,
            subject_id: None,
            sealing: None,
            value: Bytes::new(),
        };
        // The first versions ended here.
        if reader.end().is_err() {
            event.subject_id = reader.optional(wire::Reader::uuid)?;
            event.sealing = reader.optional(wire::Reader::bytes)?.map(span);
        }
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

    /// JSON, as it was published; ciphertext where the event is sealed.
    pub fn payload(&self) -> &[u8] {
        self.slice(self.payload)
    }

    /// The payload as a reference into the event's bytes.
    pub fn payload_bytes(&self) -> Bytes {
        self.value
            .slice(self.payload.start as usize..self.payload.end as usize)
    }

    /// JSON, as it was published; ciphertext where the event is sealed.
    pub fn metadata(&self) -> &[u8] {
        self.slice(self.metadata)
    }

    /// A keyed hash of whom it is about.
    pub fn subject_id(&self) -> Option<Uuid> {
        self.subject_id
    }

    /// How payload and metadata are sealed; `None` where they are in clear.
    pub fn sealing(&self) -> Option<&[u8]> {
        self.sealing.map(|span| self.slice(span))
    }

    /// Id of the schema that it was written with.
    pub fn schema_id(&self) -> u32 {
        wire::split(&self.value).map_or(0, |(id, _)| id)
    }

    /// A sealed event in clear: `open` is given the name and the bytes of each sealed part. `None` where one does not open.
    pub fn opened(&self, open: impl Fn(&str, &[u8]) -> Option<Vec<u8>>) -> Option<Event> {
        let payload = open("payload", self.payload())?;
        let metadata = open("metadata", self.metadata())?;
        let parts = Parts {
            payload: &payload,
            metadata: &metadata,
            sealing: None,
            ..self.parts()
        };
        let mut value = Vec::new();
        parts.encode(self.schema_id(), &mut value);
        Event::parse(value.into()).ok()
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
            subject_id: self.subject_id,
            sealing: self.sealing(),
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
