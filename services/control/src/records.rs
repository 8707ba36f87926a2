//! Single records of Kafka, for people who look at one.

use std::sync::Arc;
use std::time::Duration;

use pushrail_http::Problem;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::message::{Headers as _, Message as _};
use pushrail_kafka::{Connection, Read, Reader};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long somebody waits for a record.
const WITHIN: Duration = Duration::from_secs(5);
/// Records that are looked up at once: each costs connections to Kafka of its own.
const AT_ONCE: usize = 8;

pub(crate) struct Records {
    connection: Connection,
    room: Arc<Semaphore>,
}

/// A record, as far as somebody looks at it.
pub(crate) struct Found {
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) value: Vec<u8>,
}

impl Records {
    pub(crate) fn new(connection: &Connection) -> Self {
        Records {
            connection: connection.clone(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The record at a place; `None` when it is not kept any more.
    pub(crate) async fn at(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Found>, Problem> {
        let until = Instant::now() + WITHIN;
        let looked = tokio::time::timeout_at(until, async {
            let _room = self.room.acquire().await;
            self.look(topic, partition, offset, until).await
        });
        match looked.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::warn!(%error, "control.record_not_read");
                Err(unavailable())
            }
            Err(_) => Err(unavailable()),
        }
    }

    async fn look(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        until: Instant,
    ) -> Result<Option<Found>, KafkaError> {
        let reader = Reader::new(&self.connection, "pushrail-control")?;
        reader.go(topic, partition, offset)?;
        loop {
            match reader.next(until).await {
                Ok(Read::Record(message)) => {
                    let found = (message.offset() == offset).then(|| Found {
                        headers: message
                            .headers()
                            .into_iter()
                            .flat_map(|headers| headers.iter())
                            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                            .collect(),
                        value: message.payload().unwrap_or_default().to_vec(),
                    });
                    return Ok(found);
                }
                Ok(Read::End) => return Ok(None),
                Ok(Read::Nothing) => return Err(KafkaError::Canceled),
                // A broker that can't be reached is tried again until nobody waits any longer.
                Err(error) => tracing::debug!(%error, "control.record_waits"),
            }
        }
    }
}

fn unavailable() -> Problem {
    Problem::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "kafka-unavailable",
        "Kafka can't be reached",
    )
    .detail("the record is there and can't be shown; try again in a moment")
    .retry_after(1)
}
