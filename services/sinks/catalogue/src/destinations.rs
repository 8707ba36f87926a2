//! Destinations as the directory knows them, and clients made from them.

use std::sync::Arc;

use pushrail_directory::{Change, Directory};
use pushrail_payload_keys::{PayloadKeys, owner};
use pushrail_schemas::Event;
use pushrail_schemas::config::Destination;
use pushrail_schemas::headers::Delivery;
use pushrail_shred::Lookup;
use pushrail_sink_core::erased::{self, BoxFuture};
use pushrail_sink_core::{ErasedAdapter, ErasedClient, Fault};
use pushrail_sink_engine::{Changes, Destinations};
use pushrail_vault::{Aad, KeyRing};
use serde_json::value::RawValue;
use uuid::Uuid;

pub(crate) struct Configured {
    pub(crate) directory: Directory,
    pub(crate) adapter: Arc<dyn ErasedAdapter>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) keys: PayloadKeys,
}

impl Destinations for Configured {
    fn get(&self, id: Uuid) -> Option<Arc<Destination>> {
        self.directory.destination(id)
    }

    fn changes(&self) -> Changes {
        let mut changes = self.directory.subscribe();
        Box::new(move || {
            loop {
                match changes.try_recv()? {
                    Change::Destination(id) | Change::Removed(id) => return Some(id),
                    Change::Tenant(_) | Change::ApiKey(_) | Change::EventType { .. } => {}
                }
            }
        })
    }

    fn key(&self, delivery: &Delivery, event: &Event) -> Lookup {
        let sealing = event.sealing().unwrap_or_default();
        let owner = owner(event, delivery.customer_id);
        self.keys.key(&delivery.tenant_id, &owner, sealing)
    }

    fn connect(
        &self,
        destination: &Destination,
    ) -> BoxFuture<'static, Result<Arc<dyn ErasedClient>, Fault>> {
        let secrets = match self.open(destination) {
            Ok(secrets) => secrets,
            Err(fault) => return Box::pin(async { Err(fault) }),
        };
        let (adapter, config) = (Arc::clone(&self.adapter), destination.config.clone());
        Box::pin(async move {
            adapter
                .connect(erased::Destination {
                    config: &config,
                    secrets: &secrets,
                })
                .await
        })
    }
}

impl Configured {
    /// Opens the secrets for as long as it takes to make a client.
    fn open(&self, destination: &Destination) -> Result<Box<RawValue>, Fault> {
        let Some(sealed) = &destination.secrets else {
            return RawValue::from_string("{}".to_owned()).map_err(|_| unreadable());
        };
        let opened = self.ring.open(&Aad::of(destination), sealed).map_err(|error| {
            // Which key is missing helps the operator; the customer can do nothing about it.
            tracing::error!(%error, destination_id = %destination.destination_id, "secrets.unreadable");
            Fault::us("secrets_unreadable", "The stored credentials could not be opened; the operator has been told.")
        })?;
        let text = std::str::from_utf8(opened.as_ref()).map_err(|_| unreadable())?;
        RawValue::from_string(text.to_owned()).map_err(|_| unreadable())
    }
}

fn unreadable() -> Fault {
    Fault::us(
        "secrets_unreadable",
        "The stored credentials are not what was stored.",
    )
}
