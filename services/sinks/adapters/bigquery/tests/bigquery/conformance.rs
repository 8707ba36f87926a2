//! The suite that every adapter passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pushrail_bigquery::BigQuery;
use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record_of, records, reject, retry, run,
    suspend,
};
use pushrail_sink_core::{Context, Record};
use pushrail_testkit::{Receiver, Reply, bigquery};
use serde_json::{Value, json};
use uuid::Uuid;

use super::doubles::{Grpc, status, throttled};
use super::support::{ids, key_file, strict_table, tokens, without_source};

struct Server {
    grpc: SocketAddr,
    url: String,
    prefix: String,
    tokens: Receiver,
    /// Refuses tokens, each path in its way.
    denying: Receiver,
    /// Answers the REST API with an error.
    busy: Receiver,
    throttling: Grpc,
    forbidding: Grpc,
    forgetting: Grpc,
}

impl Server {
    async fn start() -> Server {
        let server = bigquery().await;
        let prefix = format!("t{}_", Uuid::new_v4().simple());
        strict_table(&format!("`{prefix}strict`")).await;
        let odd = format!("CREATE TABLE `{prefix}odd` (event_id INT64, occurred_at STRING)");
        server.query(&odd).await;
        let denying = Receiver::start().await;
        let oauth = |status: u16, error: &str, text: &str| {
            let body = json!({"error": error, "error_description": text});
            Reply::status(status).body(body.to_string())
        };
        denying.on(
            "/revoked",
            [oauth(400, "invalid_grant", "Invalid JWT Signature.")],
        );
        denying.on(
            "/gone",
            [oauth(
                401,
                "invalid_client",
                "The OAuth client was not found.",
            )],
        );
        denying.on("/slow", [oauth(503, "internal_failure", "")]);
        let busy = Receiver::start().await;
        let quota = json!({"error": {"code": 403, "message": "Exceeded rate limits", "errors": [{"reason": "rateLimitExceeded"}]}});
        let reply = Reply::status(403).header("retry-after", "12");
        busy.on("*", [reply.body(quota.to_string())]);
        let (throttling, forbidding, forgetting) = (
            Grpc::start().await,
            Grpc::start().await,
            Grpc::start().await,
        );
        throttling.on("CreateWriteStream", [throttled(7)]);
        forbidding.on(
            "CreateWriteStream",
            [status(7, "Permission 'TABLES_UPDATE_DATA' denied")],
        );
        forgetting.on(
            "CreateWriteStream",
            [status(
                16,
                "Request had invalid authentication credentials.",
            )],
        );
        Server {
            grpc: server.grpc(),
            url: server.url(),
            prefix,
            tokens: tokens().await,
            denying,
            busy,
            throttling,
            forbidding,
            forgetting,
        }
    }

    fn changed(&self, at: SocketAddr, change: impl FnOnce(&mut Value)) -> Option<Given> {
        let mut given = self.destination(at);
        change(&mut given.config);
        Some(given)
    }

    fn table(&self, at: SocketAddr, name: &str, create: bool) -> Option<Given> {
        let table = format!("{}{name}", self.prefix);
        self.changed(at, |config| {
            config["tables"] = json!({"type": "single", "table": table});
            config["createTables"] = json!(create);
        })
    }

    fn storage(&self, at: SocketAddr, double: &Grpc) -> Option<Given> {
        self.changed(at, |config| config["storageEndpoint"] = json!(double.url()))
    }

    fn token(&self, at: SocketAddr, path: &str) -> Option<Given> {
        let mut given = self.destination(at);
        given.secrets = key_file(&self.denying.url(path));
        Some(given)
    }
}

fn trouble(name: &'static str, given: Option<Given>, expected: Expected) -> Trouble {
    Trouble {
        given,
        ..Trouble::new(name, records(1), Fault::None, expected)
    }
}

/// Poison among others, in several places.
fn poisoned(others: usize) -> (Vec<Arc<Record>>, Vec<usize>) {
    let mut all = records(others);
    let places = [0, others / 3, others - 1];
    for (shift, at) in places.iter().enumerate() {
        all.insert(at + shift, without_source("order.completed"));
    }
    let places = places.iter().enumerate().map(|(shift, at)| at + shift);
    (all, places.collect())
}

impl Subject for Server {
    type Adapter = BigQuery;

    fn against(&self) -> String {
        "local-bigquery 0.4.0 (DuckDB), read over its REST API; doubles of what it does not refuse"
            .to_owned()
    }

    fn adapter(&self, context: Context) -> BigQuery {
        BigQuery::new(&context)
    }

    fn server(&self) -> SocketAddr {
        self.grpc
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: json!({
                "project": "pushrail-test",
                "dataset": "pushrail",
                "authentication": {"type": "service_account"},
                "tables": {"type": "per_type", "prefix": self.prefix},
                "endpoint": self.url,
                "storageEndpoint": format!("http://{at}"),
            }),
            secrets: key_file(&self.tokens.url("/token")),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/bigquery/declaration.json"
        )
        .into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        let mut found = ids(&format!("`{}strict`", self.prefix)).await;
        let tables = bigquery()
            .await
            .query("SELECT table_name FROM INFORMATION_SCHEMA.TABLES")
            .await;
        let table = format!("{}order_completed", self.prefix);
        if tables.iter().any(|row| row[0] == table.as_str()) {
            found.extend(ids(&format!("`{table}`")).await);
        }
        found
    }

    fn recognises_repeats(&self) -> Case<()> {
        Err(
            "a stream recognises an append that arrives twice, and not an event that is appended again: the view of the guide does",
        )
    }

    fn partial_failures(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let (mixed, places) = poisoned(300);
        let one = |at| match places.contains(&at) {
            true => reject("invalid_row"),
            false => delivered(),
        };
        Ok(vec![
            Trouble {
                name: "3 rows of 303 that the table refuses",
                given: self.table(at, "strict", true),
                fault: Fault::None,
                expected: (0..mixed.len()).map(one).collect(),
                records: mixed,
            },
            Trouble {
                name: "a poison row alone",
                given: self.table(at, "strict", true),
                fault: Fault::None,
                expected: vec![reject("invalid_row")],
                records: vec![without_source("order.completed")],
            },
        ])
    }

    fn throttled(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let after = |seconds| Expected::Retry {
            code: "throttled",
            after: Some(Duration::from_secs(seconds)),
        };
        let busy = self.changed(at, |config| config["endpoint"] = json!(self.busy.url("")));
        let mut tables = trouble("tables.insert: rateLimitExceeded", busy, after(12));
        tables.records = vec![record_of("never.seen", "{}")];
        Ok(vec![
            trouble(
                "RESOURCE_EXHAUSTED with RetryInfo",
                self.storage(at, &self.throttling),
                after(7),
            ),
            tables,
        ])
    }

    fn rejected_credentials(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let refused = || suspend("credentials_rejected");
        let nowhere = self.changed(at, |config| config["dataset"] = json!("nowhere"));
        Ok(vec![
            trouble(
                "key revoked (invalid_grant)",
                self.token(at, "/revoked"),
                refused(),
            ),
            trouble(
                "account gone (invalid_client)",
                self.token(at, "/gone"),
                refused(),
            ),
            trouble(
                "token service away (503)",
                self.token(at, "/slow"),
                retry("token_unavailable"),
            ),
            trouble(
                "UNAUTHENTICATED with a new token",
                self.storage(at, &self.forgetting),
                refused(),
            ),
            trouble(
                "PERMISSION_DENIED",
                self.storage(at, &self.forbidding),
                suspend("permission_denied"),
            ),
            trouble("no such dataset", nowhere, suspend("dataset_missing")),
        ])
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        Err("an event has at most 1 MiB, and an append takes 10 MB")
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        // Headers that never end: SETTINGS, HEADERS without their end, and CONTINUATION for ever.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88];
        let more = [&[0, 0x40, 0, 9, 0, 0, 0, 0, 1][..], &[0x88; 16 * 1024]].concat();
        Ok(Trouble {
            name: "headers that never end",
            given: None,
            records: records(1),
            fault: Fault::Answer {
                when: Bytes::new(),
                head: [&settings[..], &headers].concat().into(),
                then: more.into(),
            },
            expected: Vec::new(),
        })
    }

    fn own(&self, at: SocketAddr) -> Vec<Trouble> {
        vec![
            trouble(
                "table missing, not to be created",
                self.table(at, "absent", false),
                reject("table_missing"),
            ),
            trouble(
                "table with other columns",
                self.table(at, "odd", true),
                suspend("table_unfit"),
            ),
        ]
    }
}

#[tokio::test]
async fn bigquery_conforms() {
    run(Server::start().await).await;
}
