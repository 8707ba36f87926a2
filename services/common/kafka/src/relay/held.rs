//! Records that were read and can't be handled yet.
//!
//! Pausing a partition throws away what was prefetched of it and fetches it again, and resuming it may take half a second,
//! while the broker waits for records of other partitions. So a partition that is held is read on into a small buffer
//! first, and paused only when that is full. Where the wait is short, pausing costs more than memory does: such a partition
//! may fill what all partitions of the worker share, and a paused one is resumed when its wait has become short.

use std::collections::VecDeque;
use std::time::Duration;

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
/// A wait that is not worth a pause.
const SHORT: Duration = Duration::from_secs(2);

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Gives the size that the record counts with.
    pub(super) fn push(&mut self, message: OwnedMessage) -> usize {
        let size = size(&message);
        self.bytes += size;
        self.queue.push_back(message);
        size
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

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether to stop reading. `shared_left` says of the memory that all partitions share that there is some.
    pub(super) fn is_full(&self, now: Instant, shared_left: bool) -> bool {
        let full = self.queue.len() >= LEN_MAX || self.bytes >= BYTES_MAX;
        full && !(shared_left && self.is_short(now))
    }

    /// Whether to read on: well below full, so that a partition is not paused and resumed record by record.
    pub(super) fn has_room(&self, now: Instant, shared_left: bool) -> bool {
        let low = self.queue.len() <= LEN_MAX / 4 && self.bytes <= BYTES_MAX / 4;
        low || shared_left && self.is_short(now)
    }

    /// Without a time, what waits is being handled.
    fn is_short(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now + SHORT)
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
