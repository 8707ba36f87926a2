//! Arguments that several commands share and that belong to no library.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use pushrail_http::Network;
use pushrail_schemas::registry::{Credentials, Registry};
use pushrail_settings::{Hidden, RegistryArgs, parse_bytes, parse_duration};
use pushrail_sink_core::Context;
use pushrail_store::Store;
use pushrail_vault::KeyRing;
use serde_json::Value;

/// Threads that own partitions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workers")]
pub(crate) struct WorkerArgs {
    /// Threads, each a member of the consumer group with partitions and connections of its own; 0 takes one a CPU core, but
    /// for one core, which Kafka's client and the kernel need.
    #[arg(
        long,
        env = "PUSHRAIL_WORKERS",
        value_name = "COUNT",
        default_value_t = 0
    )]
    workers: usize,
    /// How long what is under way may take after SIGTERM, or after a partition has moved elsewhere.
    #[arg(
        long,
        env = "PUSHRAIL_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "20s",
        value_parser = parse_duration
    )]
    pub(crate) drain_timeout: Duration,
    /// Largest commit metadata: the brokers' offset.metadata.max.bytes.
    #[arg(
        long,
        env = "PUSHRAIL_METADATA_MAX",
        value_name = "SIZE",
        default_value = "4096",
        value_parser = parse_bytes
    )]
    pub(crate) metadata_max: usize,
}

impl WorkerArgs {
    pub(crate) fn count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)),
            workers => workers,
        }
    }
}

/// The keys that seal destinations' secrets.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Secrets")]
pub(crate) struct VaultArgs {
    /// Keys that seal destinations' secrets: id:base64key[,id:base64key], the current one first, or @FILE.
    /// `pushrail key-ring new` makes one.
    #[arg(
        long = "key-ring",
        id = "vault_key_ring",
        env = "PUSHRAIL_KEY_RING",
        value_name = "KEYS",
        hide_env_values = true
    )]
    pub(crate) key_ring: Option<Hidden>,
}

impl VaultArgs {
    /// The ring, where one is given.
    pub(crate) fn optional_key_ring(&self) -> anyhow::Result<Option<Arc<KeyRing>>> {
        match &self.key_ring {
            Some(_) => Ok(Some(Arc::new(self.key_ring()?))),
            None => Ok(None),
        }
    }

    pub(crate) fn key_ring(&self) -> anyhow::Result<KeyRing> {
        let text = self.key_ring.as_ref().context(
            "no key ring: set PUSHRAIL_KEY_RING_FILE to a file with the keys that seal secrets \
             (`pushrail key-ring new` makes one), or source the dev.env that `pushrail dev` writes",
        )?;
        text.expose().parse().context("--key-ring")
    }
}

/// Where deliveries may go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Egress")]
pub(crate) struct EgressArgs {
    /// Network that deliveries may reach although it is not public, such as 10.0.0.0/8. Repeat it, or separate by commas.
    #[arg(
        long = "allow-network",
        id = "egress_allow_networks",
        env = "PUSHRAIL_ALLOW_NETWORKS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(crate) allow_networks: Vec<Network>,
    /// Allow destinations without TLS: true or false.
    #[arg(
        long = "allow-plaintext",
        id = "egress_allow_plaintext",
        env = "PUSHRAIL_ALLOW_PLAINTEXT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true"
    )]
    pub(crate) allow_plaintext: bool,
}

impl EgressArgs {
    pub(crate) fn context(&self) -> Context {
        let networks = self.allow_networks.iter();
        Context {
            allowed_networks: networks.map(|n| n.to_string().into()).collect(),
            allow_plaintext: self.allow_plaintext,
        }
    }
}

/// Where the control plane keeps its state.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// PostgreSQL that holds the control plane's state: postgres://user:password@host:port/database, or @FILE.
    #[arg(
        long = "database",
        id = "database_url",
        env = "PUSHRAIL_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    url: Option<Hidden>,
}

impl DatabaseArgs {
    pub(crate) fn url(&self) -> anyhow::Result<&Hidden> {
        let url = self.url.as_ref().context(
            "no database: set PUSHRAIL_DATABASE_URL_FILE to a file with the URL of a PostgreSQL database, or --database",
        )?;
        // What follows may be a password: nothing that is said about it repeats it.
        let known = ["postgres://", "postgresql://"];
        anyhow::ensure!(
            known.iter().any(|scheme| url.expose().starts_with(scheme)),
            "--database: must be a URL that begins with postgres://, or @ and a file with one"
        );
        Ok(url)
    }

    /// The tables, for a command that ends.
    pub(crate) async fn store(&self) -> anyhow::Result<Store> {
        let store = Store::new(self.url()?.expose(), 1).context("--database")?;
        store.migrate().await.context("--database")?;
        Ok(store)
    }
}

/// How many copies the cluster keeps.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Topics")]
pub(crate) struct ReplicationArgs {
    /// Copies of each partition.
    #[arg(
        long = "replication-factor",
        id = "topology_replication_factor",
        env = "PUSHRAIL_REPLICATION_FACTOR",
        value_name = "COUNT",
        default_value_t = 3
    )]
    pub(crate) replication_factor: u32,
    /// Copies that must have a record before it counts as written.
    #[arg(
        long = "min-insync-replicas",
        id = "topology_min_insync_replicas",
        env = "PUSHRAIL_MIN_INSYNC_REPLICAS",
        value_name = "COUNT",
        default_value_t = 2
    )]
    pub(crate) min_insync_replicas: u32,
    /// Partitions of a topic that needs more than it is declared with, such as events=48. Repeat it, or separate by
    /// commas.
    #[arg(
        long = "partitions",
        id = "topology_partitions",
        env = "PUSHRAIL_PARTITIONS",
        value_name = "TOPIC=COUNT",
        value_delimiter = ',',
        value_parser = partitions
    )]
    pub(crate) partitions: Vec<(String, u32)>,
}

impl ReplicationArgs {
    pub(crate) fn settings(&self) -> pushrail_topology::Settings {
        pushrail_topology::Settings {
            replication_factor: self.replication_factor,
            min_insync_replicas: self.min_insync_replicas,
            partitions: self.partitions.iter().cloned().collect(),
        }
    }
}

fn partitions(text: &str) -> Result<(String, u32), String> {
    let (topic, count) = text.split_once('=').unzip();
    match (topic, count.and_then(|count| count.parse().ok())) {
        (Some(topic), Some(count)) => Ok((topic.to_owned(), count)),
        _ => Err("must be TOPIC=COUNT, such as events=48".to_owned()),
    }
}

/// A client of the registry that the arguments name.
pub(crate) fn registry(args: &RegistryArgs) -> anyhow::Result<Registry> {
    let credentials = args.user.as_ref().map(|user| Credentials {
        user: user.clone(),
        password: args
            .password
            .as_ref()
            .map(Hidden::expose)
            .unwrap_or_default()
            .to_owned(),
    });
    Ok(Registry::new(&args.url, credentials)?)
}

/// JSON from a flag, or from a file after `@`. The message never repeats the text.
pub(crate) fn parse_json(flag: &str, text: &str) -> anyhow::Result<Value> {
    match text.strip_prefix('@') {
        None => serde_json::from_str(text).with_context(|| format!("{flag}: not valid JSON")),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{flag}: {path}"))?;
            serde_json::from_str(&text).with_context(|| format!("{flag}: {path}: not valid JSON"))
        }
    }
}
