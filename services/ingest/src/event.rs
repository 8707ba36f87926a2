//! From a checked event to the record on `events`: id, key, value, headers. The same for HTTP and direct publishing.

use std::ops::Range;

use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_schemas::event::Parts;
use pushrail_schemas::{headers, identity};
use uuid::Uuid;

use crate::input::Draft;
use crate::input::rules::Rejection;
use crate::seals::Seal;

/// How an event came in; the header `origin` on `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Http,
    Direct,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Http => "http",
            Origin::Direct => "direct",
        }
    }
}

/// An event's id, and whether it is derived: then a repeat has the same one, and can be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pub uuid: Uuid,
    pub derived: bool,
}

impl Id {
    /// The id of an event that carries an idempotency key.
    pub fn of_key(tenant: &str, draft: &Draft<'_>) -> Option<Self> {
        let key = draft.idempotency_key.as_deref()?;
        let uuid = identity::event_id(tenant, &draft.event_type, key);
        Some(Id {
            uuid,
            derived: true,
        })
    }

    /// A new one, for an event without a key.
    pub fn new(now_ms: i64) -> Self {
        let random: [u8; 10] = rand::random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms.max(0) as u64, &random);
        Id {
            uuid: uuid.into_uuid(),
            derived: false,
        }
    }
}

/// What all events of one request, or one record, have in common.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub tenant: &'a str,
    pub origin: Origin,
    /// Id of `Event.avsc` in the registry.
    pub schema_id: u32,
    pub received_at_us: i64,
    /// W3C trace context, where the event is followed.
    pub traceparent: Option<&'a str>,
}

/// Records for `events`, in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    key: Range<usize>,
    value: Range<usize>,
    customer_id: Uuid,
    headers: OwnedHeaders,
}

impl Batch {
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Batch {
            bytes: Vec::with_capacity(bytes),
            records: Vec::with_capacity(records),
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the record of an event, sealed as `seal` says of its customer's; nothing where it can't be.
    pub fn push(
        &mut self,
        envelope: &Envelope<'_>,
        draft: &Draft<'_>,
        id: Id,
        seal: impl FnOnce(Uuid) -> Result<Seal, Rejection>,
    ) -> Result<(), Rejection> {
        let start = self.bytes.len();
        let key = identity::event_key(envelope.tenant, &draft.customer_external_id);
        let customer_id = match self.records.last() {
            // In a batch the next customer is often the same.
            Some(last) if self.bytes[last.key.clone()] == key => last.customer_id,
            _ => identity::customer_id(envelope.tenant, &draft.customer_external_id),
        };
        let seal = seal(customer_id)?;
        let content = seal.content.as_ref();
        self.bytes.extend_from_slice(&key);
        let parts = Parts {
            event_id: id.uuid,
            event_type: &draft.event_type,
            occurred_at_us: draft.occurred_at_us.unwrap_or(envelope.received_at_us),
            customer_external_id: &draft.customer_external_id,
            idempotency_key: draft.idempotency_key.as_deref(),
            source: draft.source.as_deref(),
            payload: content.map_or(draft.payload, |content| &content.payload),
            metadata: content.map_or(draft.metadata, |content| &content.metadata),
            received_at_us: envelope.received_at_us,
            subject_id: seal.subject_id,
            sealing: content.map(|content| &content.sealing[..]),
        };
        parts.encode(envelope.schema_id, &mut self.bytes);
        let key = start..start + key.len();
        self.records.push(Record {
            value: key.end..self.bytes.len(),
            key,
            customer_id,
            headers: headers(envelope, &draft.event_type, id, customer_id),
        });
        Ok(())
    }

    /// Takes the last record back.
    pub fn pop(&mut self) {
        if let Some(record) = self.records.pop() {
            self.bytes.truncate(record.key.start);
        }
    }

    /// Takes the records out, as key, value and headers, in their order.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = (&[u8], &[u8], OwnedHeaders)> {
        let bytes = &self.bytes;
        let parts = |record: Record| (&bytes[record.key], &bytes[record.value], record.headers);
        self.records.drain(..).map(parts)
    }

    /// Empties it, to be used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}

fn headers(envelope: &Envelope<'_>, event_type: &str, id: Id, customer_id: Uuid) -> OwnedHeaders {
    let (mut event, mut customer) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let mut headers = OwnedHeaders::new_with_capacity(7)
        .insert(header(
            headers::EVENT_ID,
            id.uuid.hyphenated().encode_lower(&mut event),
        ))
        .insert(header(headers::EVENT_TYPE, event_type))
        .insert(header(headers::TENANT_ID, envelope.tenant))
        .insert(header(
            headers::CUSTOMER_ID,
            customer_id.hyphenated().encode_lower(&mut customer),
        ))
        .insert(header(headers::ORIGIN, envelope.origin.as_str()));
    if let Some(traceparent) = envelope.traceparent {
        headers = headers.insert(header(headers::TRACEPARENT, traceparent));
    }
    if id.derived {
        headers = headers.insert(header(headers::DEDUPLICATE, "1"));
    }
    headers
}

/// A header as text.
pub fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header {
        key,
        value: Some(value),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bytes::Bytes;
    use pushrail_kafka::rdkafka::message::Headers as _;
    use pushrail_schemas::Event;

    use super::*;

    fn draft(customer: &'static str, key: Option<&'static str>) -> Draft<'static> {
        Draft {
            event_type: "order.completed".into(),
            customer_external_id: customer.into(),
            occurred_at_us: None,
            idempotency_key: key.map(Cow::from),
            source: None,
            payload: br#"{ "a":1}"#,
            metadata: b"{}",
            subject: None,
        }
    }

    #[test]
    fn a_record_says_what_the_contract_says() {
        let envelope = Envelope {
            tenant: "acme",
            origin: Origin::Http,
            schema_id: 7,
            received_at_us: 1_782_900_000_000_000,
            traceparent: None,
        };
        let mut batch = Batch::default();
        for (customer, key) in [("c-1", Some("k")), ("c-1", None), ("c-2", None)] {
            let draft = draft(customer, key);
            let id = Id::of_key("acme", &draft).unwrap_or_else(|| Id::new(1_782_900_000_000));
            batch
                .push(&envelope, &draft, id, |_| Ok(Seal::default()))
                .unwrap();
        }
        let records: Vec<_> = batch.drain().collect();
        let (key, value, headers) = &records[0];
        assert_eq!(*key, b"acme/c-1");
        let event = Event::parse(Bytes::copy_from_slice(value)).unwrap();
        assert_eq!(event.payload(), br#"{ "a":1}"#);
        assert_eq!(event.occurred_at_us(), event.received_at_us());
        let headers: Vec<_> = headers
            .iter()
            .map(|h| {
                (
                    h.key.to_owned(),
                    String::from_utf8(h.value.unwrap().to_vec()).unwrap(),
                )
            })
            .collect();
        let expected = [
            (
                "event_id",
                identity::event_id("acme", "order.completed", "k").to_string(),
            ),
            ("event_type", "order.completed".into()),
            ("tenant_id", "acme".into()),
            (
                "customer_id",
                identity::customer_id("acme", "c-1").to_string(),
            ),
            ("origin", "http".into()),
            ("deduplicate", "1".into()),
        ];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        let customer = |at: usize| {
            let headers = &records[at].2;
            let header = headers.iter().find(|h| h.key == "customer_id").unwrap();
            String::from_utf8(header.value.unwrap().to_vec()).unwrap()
        };
        assert_eq!(
            customer(1),
            identity::customer_id("acme", "c-1").to_string()
        );
        assert_eq!(
            customer(2),
            identity::customer_id("acme", "c-2").to_string()
        );
        let event = Event::parse(Bytes::copy_from_slice(records[1].1)).unwrap();
        assert_eq!(event.event_id().get_version_num(), 7);
    }
}
