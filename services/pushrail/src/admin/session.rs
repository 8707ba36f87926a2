//! One command's look at the configuration, and its hand to change it.

use std::time::Duration;

use anyhow::{Context, bail};
use pushrail_directory::{Directory, Interest, Key, Record, Writer};
use pushrail_obs::Guard;

use super::AdminArgs;

/// How long reading the configuration may take.
const READY_WITHIN: Duration = Duration::from_secs(15);

pub(super) struct Session {
    pub(super) directory: Directory,
    pub(super) json: bool,
    writer: Writer,
    _observation: Guard,
}

impl Session {
    /// Reads the configuration as it is now.
    pub(super) async fn open(args: &AdminArgs) -> anyhow::Result<Self> {
        let observation = args.observe()?;
        let connection = args.kafka.connection();
        let writer = Writer::connect(&connection)?;
        let directory = Directory::start(&connection, Interest::everything())?;
        if tokio::time::timeout(READY_WITHIN, directory.ready())
            .await
            .is_err()
        {
            bail!(
                "the configuration could not be read from Kafka at {} within {} s; is it running, are the credentials \
                 right, and has `pushrail topology apply` been run? (--log info says more)",
                connection.bootstrap,
                READY_WITHIN.as_secs(),
            );
        }
        Ok(Session {
            directory,
            json: args.json,
            writer,
            _observation: observation,
        })
    }

    /// Writes a record and waits until it is there.
    pub(super) async fn put(&self, record: Record<'_>) -> anyhow::Result<()> {
        let offset = self
            .writer
            .put(record)
            .await
            .context("nothing was changed")?;
        self.directory.seen(offset).await;
        Ok(())
    }

    /// Writes a record and returns when it is durable.
    pub(super) async fn put_unseen(&self, record: Record<'_>) -> anyhow::Result<()> {
        self.writer.put(record).await?;
        Ok(())
    }

    pub(super) async fn remove(&self, key: &Key) -> anyhow::Result<()> {
        let offset = self
            .writer
            .remove(key)
            .await
            .context("nothing was changed")?;
        self.directory.seen(offset).await;
        Ok(())
    }

    /// Refuses a tenant that is not there.
    pub(super) fn require_tenant(&self, tenant_id: &str) -> anyhow::Result<()> {
        if self.directory.tenant(tenant_id).is_some() {
            return Ok(());
        }
        let mut known: Vec<_> = self
            .directory
            .tenants()
            .iter()
            .map(|t| t.tenant_id.clone())
            .collect();
        known.sort();
        let known = match known.len() {
            0 => "there is none yet".to_owned(),
            _ => format!("there are: {}", known.join(", ")),
        };
        bail!(
            "tenantId: no tenant \"{tenant_id}\" ({known}); `pushrail tenant add {tenant_id}` makes it"
        );
    }
}
