//! What operations need.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use pushrail_sink_core::{Context, ErasedAdapter};
use pushrail_store::{Scope, Store, api_keys};
use pushrail_vault::KeyRing;

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::token::Tokens;

pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) tokens: Tokens,
    pub(crate) admin_key: AdminKey,
    /// For vendors; `None` where there is no listener for them.
    pub(crate) kafka: Option<crate::kafka::Kafka>,
    pub(crate) records: crate::records::Records,
    /// By kind.
    pub(crate) adapters: Vec<(&'static str, Arc<dyn ErasedAdapter>)>,
    pub(crate) check_route: crate::CheckRoute,
    /// What destinations may be.
    pub(crate) context: Context,
    pub(crate) limits: Limits,
    pub(crate) used: Used,
    pub(crate) metrics: Metrics,
    /// Id of `Event.avsc` and `Attempt.avsc` in the registry.
    pub(crate) ids: pushrail_schemas::registry::Ids,
    /// Whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<pushrail_http::Network>,
    /// Whether Kafka took what it was told last.
    pub(crate) tells: Arc<AtomicBool>,
    /// For whoever watches attempts.
    pub(crate) hub: crate::hub::Hub,
    /// There is something to erase.
    pub(crate) erase: tokio::sync::Notify,
    /// The OpenAPI document.
    pub(crate) document: bytes::Bytes,
}

impl Api {
    pub(crate) fn adapter(&self, kind: &str) -> Option<&Arc<dyn ErasedAdapter>> {
        let known = self.adapters.iter().find(|(known, _)| *known == kind);
        known.map(|(_, adapter)| adapter)
    }

    pub(crate) fn kinds(&self) -> String {
        let kinds: Vec<_> = self.adapters.iter().map(|(kind, _)| *kind).collect();
        kinds.join(", ")
    }
}

/// The operator's key: only its digest, compared in constant time.
pub(crate) struct AdminKey([u8; 32]);

impl AdminKey {
    pub(crate) fn new(key: &str) -> Self {
        AdminKey(sha256(key))
    }

    pub(crate) fn is(&self, given: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &sha256(given)).is_ok()
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// When keys were used, until it is written down: a write for each request would be a row lock for each.
#[derive(Default)]
pub(crate) struct Used(Mutex<HashMap<String, String>>);

impl Used {
    pub(crate) fn note(&self, key_id: &str) {
        let at = jiff::Timestamp::now().to_string();
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(key_id.to_owned(), at);
    }

    /// Writes it down; what can't be written is kept for the next time.
    pub(crate) async fn write(&self, store: &Store) -> Result<(), pushrail_store::Error> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return Ok(());
        }
        let (ids, at): (Vec<_>, Vec<_>) = taken.clone().into_iter().unzip();
        let written = async {
            let mut tx = store.begin(Scope::System).await?;
            api_keys::used(&mut tx, &ids, &at).await?;
            tx.commit().await
        };
        let written = written.await;
        if written.is_err() {
            let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, at) in taken {
                used.entry(id).or_insert(at);
            }
        }
        written
    }
}
