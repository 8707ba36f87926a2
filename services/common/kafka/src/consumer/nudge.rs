//! Has librdkafka go on fetching.

use std::cell::Cell;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use tokio::time::Instant;

/// When to nudge librdkafka after partitions came, went or were resumed. It stops fetching all others meanwhile, and when
/// it may go on does not tell the thread that fetches, which notices within a second. It says nothing to us either, so
/// this is tried until it must have happened.
const NUDGES_MS: [u64; 7] = [5, 15, 30, 60, 120, 300, 600];

/// When to ask, after the last change.
#[derive(Default)]
pub(super) struct Nudges(Cell<Option<(Instant, usize)>>);

impl Nudges {
    /// Something has changed.
    pub(super) fn begin(&self) {
        self.0.set(Some((Instant::now(), 0)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let (since, done) = self.0.get()?;
        let after = NUDGES_MS.get(done)?;
        Some(since + Duration::from_millis(*after))
    }

    /// Whether it is time for the next one, which is taken for done then.
    pub(super) fn is_due(&self) -> bool {
        let is_due = self.next().is_some_and(|at| at <= Instant::now());
        if let Some((since, done)) = self.0.get().filter(|_| is_due) {
            self.0.set(Some((since, done + 1)));
        }
        is_due
    }
}

/// Asks the leaders of our partitions for something, which has the threads that fetch from them look about.
pub(super) fn ask_leaders<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> KafkaResult<()> {
    let mut list = consumer.assignment()?;
    if list.count() == 0 {
        return Ok(());
    }
    list.set_all_offsets(Offset::End)?;
    let native = consumer.client().native_ptr();
    // SAFETY: the client outlives the calls, the list is copied, and options and queue are destroyed once. An answer to a
    // queue that is gone is thrown away.
    unsafe {
        let what = rdkafka_sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let options = rdkafka_sys::rd_kafka_AdminOptions_new(native, what);
        let queue = rdkafka_sys::rd_kafka_queue_new(native);
        rdkafka_sys::rd_kafka_ListOffsets(native, list.ptr(), options, queue);
        rdkafka_sys::rd_kafka_AdminOptions_destroy(options);
        rdkafka_sys::rd_kafka_queue_destroy(queue);
    }
    Ok(())
}
