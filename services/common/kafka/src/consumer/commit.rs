//! Commits whose outcome is heard of.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

/// How long a synchronous commit may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Sends a commit. A synchronous one waits for its outcome; an asynchronous one's comes with what is polled.
pub(super) fn send<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
    mode: CommitMode,
) -> KafkaResult<()> {
    let native = consumer.client().native_ptr();
    // SAFETY: the client outlives the call; the list is copied by it; queues are counted, and let go here.
    unsafe {
        match mode {
            // rdkafka's own names no queue for the answer, so there never is one.
            CommitMode::Async => {
                let queue = rdkafka_sys::rd_kafka_queue_get_consumer(native);
                let result = submit(native, list, queue);
                rdkafka_sys::rd_kafka_queue_destroy(queue);
                result
            }
            CommitMode::Sync => {
                let queue = rdkafka_sys::rd_kafka_queue_new(native);
                let result = submit(native, list, queue).and_then(|()| answer_of(queue));
                rdkafka_sys::rd_kafka_queue_destroy(queue);
                result
            }
        }
    }
}

/// Sends a commit whose answer goes to `queue`.
///
/// # Safety
///
/// `client` and `queue` must be live, and belong together.
unsafe fn submit(
    client: *mut rdkafka::types::RDKafka,
    list: &TopicPartitionList,
    queue: *mut rdkafka_sys::rd_kafka_queue_t,
) -> KafkaResult<()> {
    let nobody = std::ptr::null_mut();
    // SAFETY: by our own contract; without a callback there is nothing to keep alive.
    let result =
        unsafe { rdkafka_sys::rd_kafka_commit_queue(client, list.ptr(), queue, None, nobody) };
    outcome(result)
}

/// Waits for the answer to the one commit that was sent to `queue`.
///
/// # Safety
///
/// `queue` must be live.
unsafe fn answer_of(queue: *mut rdkafka_sys::rd_kafka_queue_t) -> KafkaResult<()> {
    let within_ms = COMMIT_WITHIN.as_millis() as i32;
    // SAFETY: by our own contract; the event is ours until it is destroyed, and the list is the event's.
    unsafe {
        let event = rdkafka_sys::rd_kafka_queue_poll(queue, within_ms);
        if event.is_null() {
            return Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::OperationTimedOut,
            ));
        }
        let mut result = outcome(rdkafka_sys::rd_kafka_event_error(event));
        let list = rdkafka_sys::rd_kafka_event_topic_partition_list(event);
        if !list.is_null() {
            for at in 0..(*list).cnt as usize {
                result = result.and(outcome((*(*list).elems.add(at)).err));
            }
        }
        rdkafka_sys::rd_kafka_event_destroy(event);
        result
    }
}

fn outcome(code: RDKafkaRespErr) -> KafkaResult<()> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::ConsumerCommit(code.into())),
    }
}
