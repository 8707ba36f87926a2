//! The configuration that travels on the compacted `config` topic, as this process knows it.
//!
//! A [`Directory`] reads the topic from its beginning, is ready when it has seen what was there when it started, and then
//! follows it. It keeps only what its process wants ([`Interest`]) and keeps that small. It judges
//! records by their form only: what an adapter's `config` means is the adapter's business, and secrets stay sealed.
//! A record that cannot be read is logged, counted and passed over; what was known of its key stays in force.
//! The newest record of a key wins, by its place in the topic and nothing else, so all processes agree.
//!
//! A [`Writer`] puts records there.

mod changes;
mod follow;
#[cfg(test)]
mod memory_tests;
mod metrics;
mod packed;
mod table;
mod writer;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pushrail_kafka::Connection;
use pushrail_schemas::config::{ApiKey, Destination, Encryption, Tenant};
use tokio::sync::watch;
use uuid::Uuid;

pub use changes::Changes;
pub use table::{Change, EventType, Interest, PayloadKeys};
pub use writer::{Key, Record, WriteError, Writer};

use follow::Progress;
use table::Table;

/// See the module. Copies are the same directory; the last one ends the reading.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Ends the follower when the last copy is dropped.
    _alive: Arc<follow::Alive>,
}

pub(crate) struct Shared {
    table: RwLock<Table>,
    subscribers: std::sync::Mutex<Vec<std::sync::Weak<changes::Queue>>>,
    counters: metrics::Counters,
}

/// Why a directory could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka client: {0}")]
    Client(#[from] pushrail_kafka::rdkafka::error::KafkaError),
    #[error("thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Directory {
    /// Starts to read on a thread of its own. Kafka may be down or the topic missing: it is ready when they are there.
    pub fn start(connection: &Connection, interest: Interest) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            table: RwLock::new(Table::new(interest)),
            subscribers: std::sync::Mutex::default(),
            counters: metrics::Counters::default(),
        });
        let (alive, progress) = follow::start(connection, shared.clone())?;
        Ok(Directory {
            shared,
            progress,
            _alive: Arc::new(alive),
        })
    }

    /// Waits until everything has been read that was there when the directory started.
    pub async fn ready(&self) {
        // The sender lives as long as `_alive`, so waiting cannot fail.
        let _ = self
            .progress
            .clone()
            .wait_for(|progress| progress.ready)
            .await;
    }

    pub fn is_ready(&self) -> bool {
        self.progress.borrow().ready
    }

    /// Waits until the record at `offset` has been taken in, as [`Writer::put`] returns it.
    pub async fn seen(&self, offset: i64) {
        let _ = self
            .progress
            .clone()
            .wait_for(|progress| progress.next_offset > offset)
            .await;
    }

    /// The destination as it is now. All holders share one value, so ask again rather than clone it.
    pub fn destination(&self, id: Uuid) -> Option<Arc<Destination>> {
        // Most questions are about destinations in use, and need no exclusive lock.
        if let Some(live) = self.read().live(id) {
            return Some(live);
        }
        self.write().destination(id)
    }

    /// Whether there is such a destination of interest; cheaper than reading it.
    pub fn has_destination(&self, id: Uuid) -> bool {
        self.read().has_destination(id)
    }

    /// Ids of all destinations of interest, in no order.
    pub fn destination_ids(&self) -> Vec<Uuid> {
        self.read().destination_ids()
    }

    /// The tenant that `api_key` (the whole key, as a client sends it) belongs to.
    pub fn tenant_of_key(&self, api_key: &str) -> Option<Arc<Tenant>> {
        self.read().tenant_of_digest(&digest(api_key))
    }

    pub fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        self.read().tenant(id)
    }

    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.read().tenants()
    }

    /// An event type of a tenant's catalogue. The same value until its record changes.
    pub fn event_type(&self, tenant_id: &str, name: &str) -> Option<Arc<EventType>> {
        self.read().event_type(tenant_id, name)
    }

    /// Whether the events of a customer are sealed, where it says otherwise than its tenant.
    pub fn encryption(&self, tenant_id: &str, customer_id: Uuid) -> Option<Encryption> {
        self.read().encryption(tenant_id, customer_id)
    }

    /// What the keys of a tenant's payloads are computed from. The same value until one of them changes.
    pub fn payload_keys(&self, tenant_id: &str) -> Option<Arc<PayloadKeys>> {
        self.read().payload_keys(tenant_id)
    }

    /// All keys, without the keys themselves.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        self.read().api_keys()
    }

    /// Changes from now on. Subscribe first and list what is there afterwards: nothing is missed.
    pub fn subscribe(&self) -> Changes {
        let (changes, queue) = Changes::new();
        self.shared.subscribers().push(queue);
        changes
    }

    /// Records that could not be read, since the start.
    pub fn malformed(&self) -> u64 {
        self.shared.counters.malformed.load(Ordering::Relaxed)
    }

    /// Shows how many there are of what, under `pushrail_directory_…`.
    pub fn register(&self, metrics: &pushrail_obs::Metrics) {
        metrics.collector(Box::new(metrics::Collector(Arc::downgrade(&self.shared))));
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.shared
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.shared
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn subscribers(&self) -> std::sync::MutexGuard<'_, Vec<std::sync::Weak<changes::Queue>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one record and tells who wants to know.
    fn apply(&self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.counters.records.fetch_add(1, Ordering::Relaxed);
        let applied = self
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(key, value);
        match applied {
            Ok(None) => {}
            Ok(Some(change)) => {
                self.subscribers()
                    .retain(|subscriber| match subscriber.upgrade() {
                        None => false,
                        Some(queue) => {
                            queue.push(&change);
                            true
                        }
                    })
            }
            Err(problem) => {
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                let key = String::from_utf8_lossy(key.unwrap_or_default());
                let key: String = key.chars().take(100).collect();
                tracing::error!(offset, key, %problem, "config.malformed");
            }
        }
    }

    fn end(&self) {
        for queue in self
            .subscribers()
            .drain(..)
            .filter_map(|queue| queue.upgrade())
        {
            queue.close();
        }
    }
}

/// SHA-256 of an API key: what its record holds instead of the key. Hexadecimal form: [`api_key_sha256`].
pub(crate) fn digest(api_key: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, api_key.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What [`ApiKey::sha256`] holds for `api_key`.
pub fn api_key_sha256(api_key: &str) -> Box<str> {
    hex::encode(digest(api_key)).into()
}
