//! Which tenants' topics are there.
//!
//! Kafka's refusal of a copy is a poor way to learn that a topic is missing: it comes seconds later, and the relay then
//! stops the partition, for everybody on it, and reads it again. So no copy is written to a topic that has not been seen.
//! A worker that meets a tenant for the first time asks, and holds its partition for the milliseconds that [`look`] takes
//! to answer; while a topic is missing, `look` looks again now and then, so that no record has to try. While Kafka doesn't
//! answer, nothing is decided: then there is nothing to read or to write either.
//!
//! All topics are listed at once, however many are asked for, and only while some are: in the steady state nobody asks.
//! A list creates nothing, where naming a topic may, on brokers that create topics by themselves.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pushrail_directory::Directory;
use pushrail_kafka::rdkafka::admin::AdminClient;
use pushrail_kafka::rdkafka::client::DefaultClientContext;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_topology::topics::audit;
use tokio::sync::Notify;

/// What is known of a tenant's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody has looked yet.
    Asked,
    There,
    Missing,
}

/// Shared by the workers of a process; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By tenant.
    known: RwLock<HashMap<Box<str>, Known>>,
    asked: Notify,
}

impl Topics {
    /// What is known of the tenant's topic; asks for it the first time.
    pub(crate) fn of(&self, tenant: &str) -> Known {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(tenant) {
            return *known;
        }
        drop(known);
        self.ask(tenant);
        Known::Asked
    }

    /// Has the tenant's topic looked for, whatever was known of it.
    pub(crate) fn ask(&self, tenant: &str) {
        self.write(|known| known.insert(tenant.into(), Known::Asked));
        self.0.asked.notify_one();
    }

    /// Tenants whose topics are to be looked for. Forgets those that no longer have a feed.
    fn wanted(&self, has_feed: impl Fn(&str) -> bool) -> Vec<Box<str>> {
        self.write(|known| {
            known.retain(|tenant, known| *known == Known::There || has_feed(tenant));
            let wanted = known.iter().filter(|(_, known)| **known != Known::There);
            wanted.map(|(tenant, _)| tenant.clone()).collect()
        })
    }

    /// Takes in what a look has found of the tenants in `wanted`.
    fn answer(&self, wanted: &[Box<str>], found: &HashSet<String>) {
        self.write(|known| {
            for tenant in wanted {
                let topic = audit(tenant);
                let now = match found.contains(&topic) {
                    true => Known::There,
                    false => Known::Missing,
                };
                match (known.insert(tenant.clone(), now), now) {
                    (Some(Known::Missing), Known::There) => {
                        tracing::info!(topic, "feed.topic_found")
                    }
                    (Some(Known::Missing), _) | (_, Known::There) => {}
                    _ => tracing::warn!(topic, "feed.topic_missing"),
                }
            }
        });
    }

    fn is_asked(&self) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|known| *known == Known::Asked)
    }

    fn write<T>(&self, change: impl FnOnce(&mut HashMap<Box<str>, Known>) -> T) -> T {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known)
    }
}

/// Looks for what is asked for, at once, and for what is missing, `every` so often. Never ends.
pub(crate) async fn look(
    topics: Topics,
    admin: Arc<AdminClient<DefaultClientContext>>,
    directory: Directory,
    every: Duration,
) {
    directory.ready().await;
    let has_feed = |tenant: &str| directory.tenant(tenant).is_some_and(|t| t.audit_feed);
    for tenant in directory.tenants().iter().filter(|t| t.audit_feed) {
        topics.ask(&tenant.tenant_id);
    }
    loop {
        let wanted = topics.wanted(has_feed);
        if wanted.is_empty() {
            topics.0.asked.notified().await;
            continue;
        }
        match list(&admin).await {
            Ok(found) => topics.answer(&wanted, &found),
            Err(error) => {
                tracing::warn!(%error, "feed.topics_unread");
                tokio::time::sleep(PAUSE_FAILED).await;
            }
        }
        tokio::time::sleep(PAUSE.min(every)).await;
        if !topics.is_asked() {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = topics.0.asked.notified() => {}
            }
        }
    }
}

/// Between two looks, however many ask.
const PAUSE: Duration = Duration::from_millis(100);
/// After a look that Kafka did not answer, more: nothing else goes on either.
const PAUSE_FAILED: Duration = Duration::from_secs(1);
/// How long a look may take, and so how long an end may wait for it.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

async fn list(
    admin: &Arc<AdminClient<DefaultClientContext>>,
) -> Result<HashSet<String>, KafkaError> {
    let admin = Arc::clone(admin);
    // librdkafka's call blocks.
    let listed = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, LOOK_WITHIN)?;
        let prefix = audit("");
        let names = metadata.topics().iter().map(|topic| topic.name());
        Ok(names
            .filter(|name| name.starts_with(&prefix))
            .map(str::to_owned)
            .collect())
    });
    listed.await.expect("reading metadata does not panic")
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
