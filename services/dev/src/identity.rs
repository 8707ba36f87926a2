//! The tenant that a newcomer is, its API key, and the key ring: made on the first start, kept in the data folder.

use std::sync::Arc;

use anyhow::Context;
use pushrail_directory::{Directory, Record, Writer};
use pushrail_kafka::Connection;
use pushrail_vault::KeyRing;
use zeroize::Zeroizing;

use crate::folder::DataFolder;

pub(crate) const TENANT: &str = "dev";
pub(crate) const KEY_RING_FILE: &str = "key-ring";
const API_KEY_FILE: &str = "api-key";

pub(crate) struct Identity {
    pub(crate) api_key: Zeroizing<String>,
    pub(crate) ring: Arc<KeyRing>,
}

impl Identity {
    /// What the folder has; on the first start, new ones.
    pub(crate) fn load(folder: &DataFolder) -> anyhow::Result<Identity> {
        let api_key =
            folder.read_or_make(API_KEY_FILE, || Ok(pushrail_admin::api_key(TENANT)?.key))?;
        let ring = folder.read_or_make(KEY_RING_FILE, || Ok(KeyRing::generate()?.to_text()))?;
        let ring: KeyRing = ring
            .parse()
            .with_context(|| format!("{}", folder.file(KEY_RING_FILE).display()))?;
        Ok(Identity {
            api_key,
            ring: Arc::new(ring),
        })
    }

    /// Puts the tenant and its key on the `config` topic where they are not there: after the first start, or when the
    /// folder is used with another Kafka.
    pub(crate) async fn publish(
        &self,
        directory: &Directory,
        connection: &Connection,
    ) -> anyhow::Result<()> {
        directory.ready().await;
        let writer = Writer::connect(connection)?;
        if directory.tenant(TENANT).is_none() {
            let tenant = pushrail_admin::tenant(TENANT, Some("Development"))?;
            directory
                .seen(writer.put(Record::Tenant(&tenant)).await?)
                .await;
        }
        if directory.tenant_of_key(&self.api_key).is_none() {
            let record = pushrail_admin::known_api_key(TENANT, &self.api_key)?;
            directory
                .seen(writer.put(Record::ApiKey(&record)).await?)
                .await;
        }
        Ok(())
    }
}
