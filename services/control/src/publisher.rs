//! Tells Kafka what has been decided: from the outbox to its topics, in order, by one instance at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::message::{Header, OwnedHeaders};
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_obs::Condition;
use pushrail_store::{Scope, Store, outbox};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Letters that are published together.
const ROUND: u32 = 1_000;
/// How long an instance that is not the publisher, or has lost the right to publish, waits before it tries again.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// A notification may be lost with its connection: so often the outbox is looked at all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long Kafka may take for a record before the round is given up and begun again.
const WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Publisher {
    pub(crate) store: Store,
    pub(crate) producer: FutureProducer,
    pub(crate) metrics: Metrics,
    pub(crate) condition: Condition,
    /// Whether Kafka took what it was told last.
    pub(crate) tells: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] pushrail_store::Error),
    #[error("Kafka did not take a record: {0}")]
    Kafka(#[from] KafkaError),
}

pub(crate) fn producer(connection: &Connection) -> Result<FutureProducer, KafkaError> {
    let mut config = connection.producer("pushrail-control");
    config.set("message.timeout.ms", WITHIN.as_millis().to_string());
    // Somebody waits for the change to be there.
    config.set("linger.ms", "0");
    config.create()
}

impl Publisher {
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let ended = tokio::select! {
                ended = self.publish() => ended,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "control.outbox_waits");
                self.tells.store(false, Ordering::Relaxed);
                self.condition.unmet(error.to_string());
            }
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Publishes for as long as this instance is the publisher; ends at once where another is.
    async fn publish(&self) -> Result<(), Failure> {
        let Some(mut right) = self.store.publisher().await? else {
            // What waits is the other's to show; what was seen here before is old.
            self.metrics.outbox_records.set(0);
            self.metrics.outbox_age_seconds.set(0);
            self.condition.met();
            return Ok(());
        };
        loop {
            while self.round().await? {}
            self.condition.met();
            tokio::time::timeout(LOOK_AGAIN, right.wait())
                .await
                .unwrap_or(Ok(()))?;
        }
    }

    /// Publishes the oldest letters; says whether there may be more.
    async fn round(&self) -> Result<bool, Failure> {
        let mut tx = self.store.begin(Scope::System).await?;
        let letters = outbox::oldest(&mut tx, ROUND).await?;
        let (waiting, age_s) = outbox::waiting(&mut tx).await?;
        self.metrics.outbox_records.set(waiting);
        self.metrics.outbox_age_seconds.set(age_s as i64);
        if letters.is_empty() {
            return Ok(false);
        }
        let mut sent = Vec::with_capacity(letters.len());
        for letter in &letters {
            let mut record = FutureRecord::to(&letter.topic).key(&letter.key);
            record.payload = letter.value.as_deref();
            let headers = letter.headers()?;
            if !headers.is_empty() {
                record.headers = Some(headers.iter().fold(
                    OwnedHeaders::new(),
                    |list, (key, value)| {
                        let value = Some(value);
                        list.insert(Header { key, value })
                    },
                ));
            }
            sent.push(self.producer.send(record, WITHIN));
        }
        // Queued in this order, and an idempotent producer keeps it within each partition.
        for sent in join_all(sent).await {
            sent.map_err(|(error, _)| error)?;
        }
        let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
        outbox::remove(&mut tx, &ids).await?;
        tx.commit().await?;
        self.tells.store(true, Ordering::Relaxed);
        self.metrics.published.inc_by(letters.len() as u64);
        Ok(letters.len() == ROUND as usize)
    }
}
