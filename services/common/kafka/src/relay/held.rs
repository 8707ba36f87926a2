//! Records that were read and can't be handled yet.
//!
//! Pausing a partition throws away what was prefetched of it and fetches it again, so a partition that is held is read on
//! into a small buffer first, and paused only when that is full.

use std::collections::VecDeque;

use rdkafka::message::{Message as _, OwnedMessage};
use tokio::time::Instant;

use super::Incoming;

/// Records of one partition, in order, that wait for the first of them.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<OwnedMessage>,
    bytes: usize,
    /// When the first may be offered again.
    pub(super) until: Option<Instant>,
    pub(super) paused: bool,
}

const LEN_MAX: usize = 512;
const BYTES_MAX: usize = 512 * 1024;

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, message: OwnedMessage) {
        self.bytes += size(&message);
        self.queue.push_back(message);
    }

    pub(super) fn first(&self) -> Option<Incoming<'_>> {
        self.queue.front().map(incoming)
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

    pub(super) fn clear(&mut self) {
        *self = Held::default();
    }
}

fn size(message: &OwnedMessage) -> usize {
    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len) + 256
}

fn incoming(message: &OwnedMessage) -> Incoming<'_> {
    Incoming {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        native_headers: message.headers().map(|h| h.as_borrowed()),
    }
}
