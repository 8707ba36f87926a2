//! Destinations in the emulator, and what arrived there.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use pushrail_bigquery::{BigQuery, Client};
use pushrail_conformance::record_of;
pub(crate) use pushrail_conformance::{connect, send_within, verdicts};
use pushrail_google::Identity;
use pushrail_schemas::Event;
use pushrail_schemas::event::Parts;
use pushrail_sink_core::{Context, Outcome, Record};
use pushrail_testkit::{Receiver, Reply, bigquery};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const EMAIL: &str = "pushrail@pushrail-test.iam.gserviceaccount.com";

/// A key that is made here and used nowhere else.
pub(crate) static PEM: LazyLock<String> =
    LazyLock::new(|| Identity::new_key().unwrap().expose().to_owned());

/// A key file whose tokens come from `token_uri`.
pub(crate) fn key_file(token_uri: &str) -> Value {
    let file = json!({
        "type": "service_account", "project_id": "pushrail-test", "private_key_id": "0123456789abcdef",
        "private_key": *PEM, "client_email": EMAIL, "token_uri": token_uri,
    });
    json!({"serviceAccountKey": file.to_string()})
}

pub(crate) fn granted(token: &str) -> Reply {
    let body = json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
    Reply::ok().body(body.to_string())
}

/// A token endpoint that grants everything, for all tests of this runtime.
pub(crate) async fn tokens() -> Receiver {
    let tokens = Receiver::start().await;
    tokens.on("/token", [granted("an-access-token-of-a-test")]);
    tokens
}

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into(), "::1/128".into()],
        allow_plaintext: true,
    }
}

/// A destination with a prefix of its own.
pub(crate) struct Place {
    pub(crate) prefix: String,
    pub(crate) tokens: Receiver,
    adapter: BigQuery,
}

impl Place {
    pub(crate) async fn new() -> Place {
        Place {
            prefix: format!("t{}_", Uuid::new_v4().simple()),
            tokens: tokens().await,
            adapter: BigQuery::new(&loopback()),
        }
    }

    pub(crate) async fn config(&self) -> Value {
        let server = bigquery().await;
        json!({
            "project": server.project(),
            "dataset": server.dataset(),
            "authentication": {"type": "service_account"},
            "tables": {"type": "per_type", "prefix": self.prefix},
            "endpoint": server.url(),
            "storageEndpoint": format!("http://{}", server.grpc()),
        })
    }

    pub(crate) async fn client(&self, change: impl FnOnce(&mut Value)) -> Client {
        let mut config = self.config().await;
        change(&mut config);
        let secrets = key_file(&self.tokens.url("/token"));
        connect(&self.adapter, config, secrets).await
    }

    /// The table of a type, in back quotes.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("`{}{name}`", self.prefix)
    }

    pub(crate) async fn ids(&self, name: &str) -> Vec<Uuid> {
        ids(&self.table(name)).await
    }
}

pub(crate) async fn ids(table: &str) -> Vec<Uuid> {
    let sql = format!("SELECT event_id FROM {table}");
    let rows = bigquery().await.query(&sql).await;
    let id = |row: &Vec<Value>| row[0].as_str().unwrap().parse().unwrap();
    rows.iter().map(id).collect()
}

pub(crate) async fn send(client: &Client, records: &[Arc<Record>]) -> Outcome {
    send_within(client, records, Duration::from_secs(30)).await
}

pub(crate) fn detail(outcome: &Outcome) -> String {
    outcome.verdicts[0].fault().unwrap().detail.to_string()
}

/// A record without a source: what a table refuses that wants one.
pub(crate) fn without_source(event_type: &str) -> Arc<Record> {
    let other = record_of(event_type, "{}");
    let mut value = Vec::new();
    Parts {
        event_id: other.event.event_id(),
        event_type,
        occurred_at_us: other.event.occurred_at_us(),
        customer_external_id: "cust-1",
        idempotency_key: None,
        source: None,
        payload: b"{}",
        metadata: b"{}",
        received_at_us: other.event.received_at_us(),
        subject_id: None,
        sealing: None,
    }
    .encode(1, &mut value);
    Arc::new(Record {
        event: Event::parse(Bytes::from(value)).unwrap(),
        delivery: other.delivery.clone(),
        attempt: 1,
    })
}

/// A table that wants a source.
pub(crate) async fn strict_table(table: &str) {
    let sql = format!(
        "CREATE TABLE {table} (event_id STRING NOT NULL, event_type STRING, occurred_at TIMESTAMP, customer_external_id STRING,
         source STRING NOT NULL, payload JSON, metadata JSON, received_at TIMESTAMP)"
    );
    bigquery().await.query(&sql).await;
}
