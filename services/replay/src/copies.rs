//! What a replay writes: the same delivery again, as if it had not been tried.

use std::time::Duration;

use futures::future::join_all;
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_kafka::rdkafka::types::RDKafkaErrorCode as Code;
use pushrail_schemas::headers::{Delivery, Origin};
use uuid::Uuid;

/// How long Kafka may take for a copy; well within a lease.
const WITHIN: Duration = Duration::from_secs(10);
/// Nobody waits for one copy, and a batch costs the broker as much.
const LINGER: Duration = Duration::from_millis(20);

/// A delivery to be put on its way again.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) delivery: Delivery,
    pub(crate) value: Vec<u8>,
    /// The dead letter that it is.
    pub(crate) place: Option<(i32, i64)>,
}

impl Copy {
    /// Under the ids that the delivery always had; of its history nothing, so that it has all of its attempts before it.
    pub(crate) fn new(delivery: Delivery, value: Vec<u8>, replay_id: Uuid) -> Self {
        Copy {
            delivery: Delivery {
                attempt: 0,
                deferrals: 0,
                first_attempt_at_ms: None,
                not_before_ms: None,
                origin: Origin::Replay,
                replay_id: Some(replay_id),
                ..delivery
            },
            value,
            place: None,
        }
    }
}

/// Writes copies. One for all jobs of a process.
pub(crate) struct Copies {
    producer: FutureProducer,
}

impl Copies {
    pub(crate) fn new(connection: &Connection, client_id: &str) -> Result<Self, KafkaError> {
        let mut config = connection.batching_producer(client_id, LINGER);
        config.set("message.timeout.ms", WITHIN.as_millis().to_string());
        Ok(Copies {
            producer: config.create()?,
        })
    }

    /// Returns when Kafka has acknowledged all copies; says of each whether it was taken. What Kafka will never take is
    /// not taken, and every other trouble is an error.
    pub(crate) async fn write(
        &self,
        topic: &str,
        copies: &[Copy],
    ) -> Result<Vec<bool>, KafkaError> {
        let mut text = String::new();
        let keys: Vec<String> = copies
            .iter()
            .map(|copy| copy.delivery.destination_id.to_string())
            .collect();
        let sent = copies.iter().zip(&keys).map(|(copy, key)| {
            let mut headers = Some(OwnedHeaders::new());
            copy.delivery.write(None, &mut text, |key, value| {
                let value = Some(value);
                headers = headers.take().map(|h| h.insert(Header { key, value }));
            });
            let mut record = FutureRecord::to(topic).key(key).payload(&copy.value);
            record.headers = headers;
            self.producer.send(record, WITHIN)
        });
        // Queued in this order, and an idempotent producer keeps it.
        let sent = join_all(sent.collect::<Vec<_>>()).await;
        sent.into_iter()
            .map(|sent| match sent {
                Ok(_) => Ok(true),
                Err((error, _)) if is_final(&error) => Ok(false),
                Err((error, _)) => Err(error),
            })
            .collect()
    }
}

/// Whether the same record is refused however often it is tried.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord)
    )
}
