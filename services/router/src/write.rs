//! What is decided, as Kafka records.

use std::fmt::Write as _;

use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::relay::{Incoming, Outbox};
use pushrail_schemas::attempt::Attempt;
use pushrail_schemas::headers::{self, Delivery};
use pushrail_topology::topics;
use uuid::Uuid;

use crate::accepted::Unreadable;
use crate::dedup::changelog;
use crate::fanout::Out;
use crate::route::Kind;

/// Headers of a delivery; more make the list grow.
const HEADERS: usize = 12;

/// Longest reason in a header, in bytes.
const DETAIL_LEN_MAX: usize = 512;

/// What a worker reuses from record to record.
pub(crate) struct Writer {
    attempt_schema_id: u32,
    text: String,
    value: Vec<u8>,
}

/// A writer and where it writes to.
pub(crate) struct Writing<'a> {
    writer: &'a mut Writer,
    outbox: &'a mut Outbox,
}

impl Writer {
    pub(crate) fn new(attempt_schema_id: u32) -> Self {
        Writer {
            attempt_schema_id,
            text: String::new(),
            value: Vec::new(),
        }
    }

    pub(crate) fn to<'a>(&'a mut self, outbox: &'a mut Outbox) -> Writing<'a> {
        Writing {
            writer: self,
            outbox,
        }
    }
}

impl Writing<'_> {
    /// The entry of an original in the window of its partition.
    pub(crate) fn dedup_entry(
        &mut self,
        partition: i32,
        event_id: Uuid,
        offset: i64,
        accepted_ms: i64,
    ) {
        let value = changelog::encode(offset, accepted_ms);
        let headers = OwnedHeaders::new_with_capacity(0);
        self.outbox.send_to(
            topics::DEDUP,
            partition,
            event_id.as_bytes(),
            Some(&value),
            headers,
            None,
        );
    }

    /// A record that is no event: its bytes and headers as they came, and why.
    pub(crate) fn dead_letter(&mut self, record: &Incoming<'_>, why: &Unreadable, now_ms: i64) {
        let mut headers = record.copy_headers();
        let mut detail = why.to_string();
        detail.truncate(detail.floor_char_boundary(DETAIL_LEN_MAX));
        let source = format!("{}/{}/{}", record.topic, record.partition, record.offset);
        let failed_at = now_ms.to_string();
        for (key, value) in [
            (headers::FAILURE_REASON, "undecodable"),
            (headers::FAILURE_CODE, why.code()),
            (headers::FAILURE_DETAIL, &detail),
            (headers::FAILED_AT, &failed_at),
            (headers::FAILURE_SOURCE, &source),
        ] {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let key = record.key.unwrap_or_default();
        self.outbox
            .send(topics::DLQ_EVENTS, key, record.value, headers);
    }
}

impl Out for Writing<'_> {
    fn deliver(&mut self, kind: &Kind, delivery: &Delivery, value: &[u8]) {
        let mut headers = Some(OwnedHeaders::new_with_capacity(HEADERS));
        delivery.write(None, &mut self.writer.text, |key, value| {
            let value = Some(value);
            headers = headers
                .take()
                .map(|headers| headers.insert(Header { key, value }));
        });
        let mut key = [0; uuid::fmt::Hyphenated::LENGTH];
        let key = delivery.destination_id.hyphenated().encode_lower(&mut key);
        self.outbox.send(
            &kind.topic,
            key.as_bytes(),
            Some(value),
            headers.unwrap_or_default(),
        );
    }

    fn record(&mut self, key: Uuid, attempt: &Attempt<'_>) {
        self.writer.value.clear();
        attempt.encode(self.writer.attempt_schema_id, &mut self.writer.value);
        self.writer.text.clear();
        let _ = write!(self.writer.text, "{}", key.hyphenated());
        let (key, value) = (self.writer.text.as_bytes(), &self.writer.value);
        let headers = OwnedHeaders::new_with_capacity(0);
        self.outbox
            .send(topics::AUDIT_ATTEMPTS, key, Some(value), headers);
    }
}
