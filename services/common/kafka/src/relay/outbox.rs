//! Copies that a handler wants written.

use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;

use hashbrown::DefaultHashBuilder;
use rdkafka::message::OwnedHeaders;

/// Collects the copies of one record. Keys and values are kept in one buffer that is reused from record to record.
#[derive(Default)]
pub struct Outbox {
    pub(super) copies: Vec<Copy>,
    pub(super) bytes: Vec<u8>,
    hashing: DefaultHashBuilder,
}

#[derive(Debug)]
pub(super) struct Copy {
    /// A range of `bytes`, so that a topic's name costs no allocation.
    pub(super) topic: Range<usize>,
    pub(super) partition: Option<i32>,
    pub(super) key: Range<usize>,
    pub(super) value: Option<Range<usize>>,
    /// Taken when it is sent.
    pub(super) headers: Option<OwnedHeaders>,
    pub(super) timestamp_ms: Option<i64>,
}

impl Outbox {
    /// Writes a record; its key chooses the partition.
    pub fn send(&mut self, topic: &str, key: &[u8], value: Option<&[u8]>, headers: OwnedHeaders) {
        self.push(topic, None, key, value, headers, None);
    }

    /// Writes a record with a timestamp in Unix milliseconds; its key chooses the partition.
    pub fn send_at(
        &mut self,
        topic: &str,
        key: &[u8],
        value: Option<&[u8]>,
        headers: OwnedHeaders,
        timestamp_ms: i64,
    ) {
        self.push(topic, None, key, value, headers, Some(timestamp_ms));
    }

    /// Writes a record to a partition of its own choice, with a timestamp in Unix milliseconds.
    pub fn send_to(
        &mut self,
        topic: &str,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
        headers: OwnedHeaders,
        timestamp_ms: Option<i64>,
    ) {
        self.push(topic, Some(partition), key, value, headers, timestamp_ms);
    }

    fn push(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: &[u8],
        value: Option<&[u8]>,
        headers: OwnedHeaders,
        timestamp_ms: Option<i64>,
    ) {
        let topic = self.keep(topic.as_bytes());
        let key = self.keep(key);
        let value = value.map(|v| self.keep_value(v));
        self.copies.push(Copy {
            topic,
            partition,
            key,
            value,
            headers: Some(headers),
            timestamp_ms,
        });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Most copies of a record have the same value: it is kept once, so that a wide fan-out costs no memory.
    fn keep_value(&mut self, value: &[u8]) -> Range<usize> {
        let last = self.copies.last().and_then(|copy| copy.value.clone());
        match last {
            Some(range) if self.bytes[range.clone()] == *value => range,
            _ => self.keep(value),
        }
    }

    /// How many copies have been written for this record so far.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// A number for each copy that two equal ones share: topic, partition, key and value.
    pub(super) fn fingerprints(&self, into: &mut Vec<u64>) {
        let mut value_of = (None, 0);
        for copy in &self.copies {
            if value_of.0 != copy.value {
                let value = copy.value.clone().map(|range| &self.bytes[range]);
                value_of = (copy.value.clone(), self.hashing.hash_one(value));
            }
            let mut hasher = self.hashing.build_hasher();
            hasher.write(&self.bytes[copy.topic.clone()]);
            hasher.write_i32(copy.partition.unwrap_or(-1));
            hasher.write(&self.bytes[copy.key.clone()]);
            hasher.write_u64(value_of.1);
            into.push(hasher.finish());
        }
    }

    /// Takes copies out that have been written before, each as often as it was.
    pub(super) fn skip(&mut self, written: &[u64]) {
        let mut written = written.to_vec();
        let mut fingerprints = Vec::with_capacity(self.copies.len());
        self.fingerprints(&mut fingerprints);
        let mut fingerprints = fingerprints.into_iter();
        self.copies.retain(|_| {
            let fingerprint = fingerprints.next();
            match written.iter().position(|w| Some(*w) == fingerprint) {
                Some(at) => {
                    written.swap_remove(at);
                    false
                }
                None => true,
            }
        });
    }

    pub fn clear(&mut self) {
        self.copies.clear();
        self.bytes.clear();
    }
}
