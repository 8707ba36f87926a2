//! Records that were read and can't be handled yet.
//!
//! Pausing a partition throws away what was prefetched of it and fetches it again, so a partition that is held is read on
//! into a small buffer first, and paused only when that is full.

use std::collections::VecDeque;

use rdkafka::message::{Message as _, OwnedMessage};
use tokio::time::Instant;

use super::{Incoming, Refusal};

/// Records of one partition, in order, that wait for the first of them.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<OwnedMessage>,
    bytes: usize,
    /// When the first may be offered again.
    pub(super) until: Option<Instant>,
    /// Whether librdkafka has been told to stop reading.
    pub(super) paused: bool,
}

const LEN_MAX: usize = 512;
const BYTES_MAX: usize = 512 * 1024;

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, message: OwnedMessage) {
        self.bytes += size(&message);
        self.queue.push_back(message);
    }

    pub(super) fn first_offset(&self) -> Option<i64> {
        self.queue.front().map(|message| message.offset())
    }

    pub(super) fn first(&self, refused: Option<Refusal>) -> Option<Incoming<'_>> {
        let message = self.queue.front()?;
        Some(Incoming {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            refused,
            native_headers: message.headers().map(|h| h.as_borrowed()),
        })
    }

    pub(super) fn pop(&mut self) {
        if let Some(message) = self.queue.pop_front() {
            self.bytes -= size(&message);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= LEN_MAX || self.bytes >= BYTES_MAX
    }

    /// Low enough to read on: well below full, so that a partition is not paused and resumed record by record.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() <= LEN_MAX / 4 && self.bytes <= BYTES_MAX / 4
    }

    /// Forgets the records. A paused partition stays paused until it is resumed.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.until = None;
    }
}

fn size(message: &OwnedMessage) -> usize {
    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len) + 256
}
