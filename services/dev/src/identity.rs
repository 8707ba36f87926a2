//! The tenant that a newcomer is, its API key, the operator's key, and the key ring: made on the first start, kept in the
//! data folder.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pushrail_directory::Directory;
use pushrail_settings::Hidden;
use pushrail_store::Store;
use pushrail_vault::KeyRing;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::folder::DataFolder;

pub(crate) const TENANT: &str = "dev";
pub(crate) const KEY_RING_FILE: &str = "key-ring";
const API_KEY_FILE: &str = "api-key";
const ADMIN_KEY_FILE: &str = "admin-key";
/// What is decided in the database reaches Kafka within moments; a key that does not will never count.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Identity {
    pub(crate) api_key: Zeroizing<String>,
    pub(crate) admin_key: Zeroizing<String>,
    pub(crate) ring: Arc<KeyRing>,
}

impl Identity {
    /// What the folder has; on the first start, new ones.
    pub(crate) fn load(folder: &DataFolder) -> anyhow::Result<Identity> {
        let api_key =
            folder.read_or_make(API_KEY_FILE, || Ok(pushrail_admin::api_key(TENANT)?.key))?;
        let admin_key =
            folder.read_or_make(ADMIN_KEY_FILE, || Ok(pushrail_admin::operator_key()?))?;
        let ring = folder.read_or_make(KEY_RING_FILE, || Ok(KeyRing::generate()?.to_text()))?;
        let ring: KeyRing = ring
            .parse()
            .with_context(|| format!("{}", folder.file(KEY_RING_FILE).display()))?;
        Ok(Identity {
            api_key,
            admin_key,
            ring: Arc::new(ring),
        })
    }

    /// Puts the tenant and its key into the database where they are not there: after the first start, or when the folder is
    /// used with another database. Kafka is told by the control plane when that runs; everything, where it knows nothing:
    /// then it is another Kafka.
    pub(crate) async fn ensure(
        &self,
        directory: &Directory,
        database_url: &Hidden,
    ) -> anyhow::Result<()> {
        let tenant = pushrail_admin::tenant(TENANT, Some("Development"))?;
        let key = pushrail_admin::known_api_key(TENANT, &self.api_key)?;
        let store = Store::new(database_url.expose(), 1).context("--database")?;
        store.migrate().await.context("--database")?;
        pushrail_control::ensure_tenant(&store, &tenant, &key).await?;
        directory.ready().await;
        if directory.tenant(TENANT).is_none() {
            pushrail_control::rebuild(&store).await?;
        }
        store.close().await;
        Ok(())
    }

    /// Waits until Kafka has told everybody about the key.
    pub(crate) async fn known(&self, directory: &Directory) -> anyhow::Result<()> {
        let until = Instant::now() + KNOWN_WITHIN;
        while directory.tenant_of_key(&self.api_key).is_none() {
            if Instant::now() > until {
                bail!(
                    "the API key of the tenant {TENANT} did not reach Kafka within {} s; was it revoked? \
                     Without the file {API_KEY_FILE} in the data folder another one is made",
                    KNOWN_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
