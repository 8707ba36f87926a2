//! A test bed: real Kafka and schema registry in a folder of their own, topics and schemas in place, a key ring and, where
//! no control plane makes one ([`crate::plane`]), a tenant with an API key. Everything is on loopback and ends with the bed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest;
use pushrail_kafka::Connection;
use pushrail_schemas::avro;
use pushrail_schemas::config::{ApiKey, EventValidation, Tenant, key as config_key};
use pushrail_schemas::registry::{Ids, Registry as RegistryClient};
use pushrail_servers::{Kafka, Registry};
use pushrail_topology::{Cluster, Settings, topics};
use pushrail_vault::KeyRing;
use rdkafka::message::OwnedHeaders;

use crate::kafka::{Filler, Record};
use crate::sample::TENANT;

/// Of the broker, half of it for the young: a heap as a production broker has it. With 768 MiB a collection came every 7 s at
/// 1,000 deliveries a second, and the slowest of a hundred deliveries measured the broker's pauses.
const HEAP_MIB: u32 = 3_072;

/// Servers and what a process needs to know of them.
pub struct Bed {
    folder: tempfile::TempDir,
    pub kafka: Kafka,
    pub registry: Registry,
    pub ids: Ids,
    pub ring: KeyRing,
    pub api_key: String,
    /// The `pushrail` binary.
    pub binary: PathBuf,
}

impl Bed {
    /// Starts everything, with a tenant. `label` names the folder.
    pub async fn start(label: &str) -> anyhow::Result<Self> {
        Self::for_kinds(label, &["webhook"]).await
    }

    /// The same with topics of other kinds of destinations.
    pub async fn for_kinds(label: &str, kinds: &[&str]) -> anyhow::Result<Self> {
        let mut bed = Self::without_tenant(label, kinds).await?;
        bed.api_key = format!("pk_{}", uuid::Uuid::new_v4().simple());
        bed.write_tenant()?;
        Ok(bed)
    }

    /// The same for whoever makes tenants in another way; there is no API key.
    pub async fn without_tenant(label: &str, kinds: &[&str]) -> anyhow::Result<Self> {
        let binary = binary()?;
        eprintln!("{label}: starting Kafka and the schema registry");
        let folder = tempfile::Builder::new()
            .prefix(&format!("pushrail-{label}-"))
            .tempdir()?;
        let kafka = Kafka::builder(folder.path().join("kafka")).heap_mib(HEAP_MIB);
        let registry = Registry::builder(folder.path().join("registry"));
        let (kafka, registry) = tokio::try_join!(kafka.start(), registry.start())?;
        let ids = apply_topology(&kafka.bootstrap(), &registry.url(), kinds).await?;
        Ok(Bed {
            folder,
            kafka,
            registry,
            ids,
            ring: KeyRing::generate()?,
            api_key: String::new(),
            binary,
        })
    }

    pub fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    /// Where processes may write their logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes records to the `config` topic and waits for their acknowledgement.
    pub fn configure(
        &self,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> anyhow::Result<()> {
        let filler = Filler::new(&self.bootstrap())?;
        for (key, value) in records {
            let headers = OwnedHeaders::new();
            filler.send(Record {
                topic: topics::CONFIG,
                key: &key,
                headers,
                value: &value,
            })?;
        }
        filler.finish()
    }

    /// Id of the schema that vendors write to the tenant's direct topic.
    pub async fn event_input_id(&self) -> anyhow::Result<u32> {
        let registry = RegistryClient::new(&self.registry.url(), None)?;
        let topic = topics::direct(TENANT);
        Ok(registry.id(&topic, avro::EVENT_INPUT).await?)
    }

    fn write_tenant(&self) -> anyhow::Result<()> {
        let tenant = Tenant {
            tenant_id: TENANT.into(),
            name: "Load test".into(),
            audit_feed: false,
            event_validation: EventValidation::Off,
            encryption: Default::default(),
        };
        let key = ApiKey {
            key_id: "loadtest".into(),
            tenant_id: TENANT.into(),
            sha256: hex::encode(digest::digest(&digest::SHA256, self.api_key.as_bytes())).into(),
        };
        self.configure([
            (config_key::tenant(TENANT), serde_json::to_vec(&tenant)?),
            (config_key::api_key(&key.key_id), serde_json::to_vec(&key)?),
        ])
    }

    /// Stops the servers in order.
    pub async fn stop(mut self) {
        self.registry.stop().await;
        self.kafka.stop().await;
    }
}

async fn apply_topology(bootstrap: &str, registry: &str, kinds: &[&str]) -> anyhow::Result<Ids> {
    let cluster = Cluster::connect(&Connection::new(bootstrap).admin("pushrail-loadtest"))?;
    let registry = RegistryClient::new(registry, None)?;
    let plan = pushrail_topology::plan(
        &cluster,
        Some(&registry),
        &Settings::single(),
        kinds,
        &[TENANT],
    )
    .await?;
    plan.apply(&cluster, Some(&registry)).await?;
    Ok(registry.ids().await?)
}

/// The `pushrail` binary beside ours, or the one that `PUSHRAIL_BIN` names.
fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("PUSHRAIL_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?
            .parent()
            .context("no folder of our own")?
            .join("pushrail"),
    };
    anyhow::ensure!(
        path.is_file(),
        "there is no {}: build it with `cargo build --release -p pushrail`, or name it in PUSHRAIL_BIN",
        path.display()
    );
    Ok(path)
}
