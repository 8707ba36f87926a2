//! Ingest as it is installed: topics, schemas and tenants in place, `run` as the binary calls it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::sync::Arc;

use bytes::Bytes;
use pushrail_directory::{Directory, Interest, Key, Record as Config, Writer, api_key_sha256};
use pushrail_ingest::{Settings, Surroundings};
use pushrail_kafka::Connection;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::Event;
use pushrail_schemas::config::{ApiKey, EventType, EventValidation, Tenant};
use pushrail_schemas::registry::Registry;
use pushrail_testkit::{Cluster, Record};
use pushrail_topology::topics;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Creates the topics of `tenants`, and registers the schemas. May be repeated.
pub async fn install(cluster: &Cluster, tenants: &[&str]) {
    let admin = cluster.connection().admin("pushrail-test");
    let admin = pushrail_topology::Cluster::connect(&admin).unwrap();
    let registry = Registry::new(&cluster.registry_url, None).unwrap();
    let settings = pushrail_topology::Settings::single();
    let plan = pushrail_topology::plan(&admin, Some(&registry), &settings, &["webhook"], tenants);
    let plan = plan.await.unwrap();
    plan.apply(&admin, Some(&registry)).await.unwrap();
}

/// Makes a tenant and an API key of its own.
pub async fn tenant(cluster: &Cluster, id: &str) -> String {
    install(cluster, &[id]).await;
    let writer = Writer::connect(&cluster.connection()).unwrap();
    let tenant = Tenant {
        tenant_id: id.into(),
        name: id.into(),
        audit_feed: false,
        event_validation: EventValidation::Off,
        encryption: Default::default(),
    };
    writer.put(Config::Tenant(&tenant)).await.unwrap();
    let key = format!("key-of-{id}");
    let record = ApiKey {
        key_id: id.into(),
        tenant_id: id.into(),
        sha256: api_key_sha256(&key),
    };
    writer.put(Config::ApiKey(&record)).await.unwrap();
    key
}

/// Says what the tenant's events are held to.
pub async fn validate(cluster: &Cluster, id: &str, event_validation: EventValidation) {
    let writer = Writer::connect(&cluster.connection()).unwrap();
    let tenant = Tenant {
        tenant_id: id.into(),
        name: id.into(),
        audit_feed: false,
        event_validation,
        encryption: Default::default(),
    };
    writer.put(Config::Tenant(&tenant)).await.unwrap();
}

/// Puts an event type into the tenant's catalogue.
pub async fn declare(cluster: &Cluster, tenant: &str, name: &str, schema: Option<&Value>) {
    let writer = Writer::connect(&cluster.connection()).unwrap();
    let known = EventType {
        tenant_id: tenant.into(),
        name: name.into(),
        schema: schema.map(|schema| serde_json::value::to_raw_value(schema).unwrap()),
    };
    writer.put(Config::EventType(&known)).await.unwrap();
}

pub async fn revoke(cluster: &Cluster, tenant: &str) {
    let writer = Writer::connect(&cluster.connection()).unwrap();
    writer.remove(&Key::ApiKey(tenant.into())).await.unwrap();
}

pub struct Ingest {
    pub url: String,
    pub metrics: Metrics,
    pub health: Health,
    client: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), pushrail_ingest::Error>>,
}

pub fn settings(connection: Connection) -> Settings {
    Settings {
        workers: 2,
        ..Settings::new("127.0.0.1:0".parse().unwrap(), connection)
    }
}

impl Ingest {
    /// Starts one, and returns when it is ready.
    pub async fn start(cluster: &Cluster, settings: Settings) -> Self {
        let (metrics, health) = (Metrics::new(), Health::new());
        let interest = Interest::keys_and_event_types();
        let surroundings = Surroundings {
            directory: Directory::start(&cluster.connection(), interest).unwrap(),
            ring: None,
            registry: Arc::new(Registry::new(&cluster.registry_url, None).unwrap()),
            metrics: metrics.clone(),
            health: health.clone(),
        };
        let (tell, told) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let run = pushrail_ingest::run(
            settings,
            surroundings,
            move |address| tell.send(address).unwrap(),
            shutdown.clone(),
        );
        let running = tokio::spawn(run);
        let address = told.await.unwrap();
        let ingest = Ingest {
            url: format!("http://{address}"),
            metrics,
            health,
            client: reqwest::Client::new(),
            shutdown,
            running,
        };
        // The first answer comes when the tenants and the schema are known.
        ingest.post("", "/v1/events", String::new()).await;
        ingest
    }

    pub async fn post(&self, key: &str, path: &str, body: String) -> (u16, Value) {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// Reads `events` until `tenant` has `count` of them.
pub async fn events(cluster: &Cluster, tenant: &str, count: usize) -> Vec<(Record, Event)> {
    let (what, tenant_id) = (format!("{count} events of {tenant}"), tenant.to_owned());
    let mine = move |record: &&Record| record.header("tenant_id") == Some(&tenant_id);
    let wanted = mine.clone();
    let records = cluster
        .read_until(topics::EVENTS, &what, move |records| {
            records.iter().filter(&wanted).count() >= count
        })
        .await;
    let mine = records.iter().filter(mine);
    mine.map(|record| {
        let value = Bytes::from(record.value.clone().unwrap());
        (record.clone(), Event::parse(value).unwrap())
    })
    .collect()
}
