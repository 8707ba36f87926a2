//! The suite that every adapter passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record, records, reject, retry, run,
    suspend,
};
use pushrail_postgres::Postgres;
use pushrail_sink_core::{Context, Record};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Database, PASSWORD};

struct Server {
    database: Database,
    version: String,
}

impl Server {
    async fn start() -> Server {
        let database = Database::new().await;
        let user = &database.user;
        // Users that fail each in their way, and a table with a will of its own.
        database
            .run(&format!(
                "CREATE ROLE {user}_shut NOLOGIN PASSWORD '{PASSWORD}';
                 CREATE ROLE {user}_full LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0;
                 CREATE ROLE {user}_poor LOGIN PASSWORD '{PASSWORD}';
                 GRANT USAGE ON SCHEMA pushrail_events TO {user}_poor;
                 CREATE TABLE pushrail_events.odd (other int);
                 GRANT INSERT ON pushrail_events.odd TO {user};
                 CREATE TABLE pushrail_events.strict (
                    event_id uuid PRIMARY KEY, event_type text, occurred_at timestamptz,
                    customer_external_id text, source text, payload jsonb, metadata jsonb,
                    received_at timestamptz,
                    CHECK ((payload->>'n')::int < 100)
                 );
                 GRANT INSERT, SELECT (event_id) ON pushrail_events.strict TO {user}"
            ))
            .await;
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut database.connection().await)
            .await
            .unwrap();
        Server { database, version }
    }

    fn changed(&self, at: SocketAddr, change: impl FnOnce(&mut Value)) -> Option<Given> {
        let mut given = self.destination(at);
        change(&mut given.config);
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
fn poisoned(poison: &str, others: usize) -> (Vec<Arc<Record>>, Vec<usize>) {
    let mut all = records(others);
    let places = [0, others / 3, others - 1];
    for (shift, at) in places.iter().enumerate() {
        all.insert(at + shift, record(poison));
    }
    let places = places.iter().enumerate().map(|(shift, at)| at + shift);
    (all, places.collect())
}

fn expected(len: usize, places: &[usize], refused: &Expected) -> Vec<Expected> {
    let one = |at| match places.contains(&at) {
        true => refused.clone(),
        false => delivered(),
    };
    (0..len).map(one).collect()
}

impl Subject for Server {
    type Adapter = Postgres;

    fn against(&self) -> String {
        format!("PostgreSQL {}, read with sqlx", self.version)
    }

    fn adapter(&self, context: Context) -> Postgres {
        Postgres::new(context)
    }

    fn server(&self) -> SocketAddr {
        self.database.server()
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: self.database.config(at),
            secrets: json!({ "password": PASSWORD }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/postgres/declaration.json"
        )
        .into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        let mut ids = self.database.ids("events").await;
        ids.extend(self.database.ids("strict").await);
        ids
    }

    fn recognises_repeats(&self) -> Case<()> {
        Ok(())
    }

    fn partial_failures(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let (nul, nul_at) = poisoned(r#"{"text": "\u0000"}"#, 300);
        let (checked, checked_at) = poisoned(r#"{"n": 100}"#, 30);
        let only = vec![record(r#"{"text": "\u0000"}"#)];
        Ok(vec![
            Trouble {
                name: "3 rows of 303 that cannot be stored",
                given: None,
                fault: Fault::None,
                expected: expected(nul.len(), &nul_at, &reject("invalid_data")),
                records: nul,
            },
            Trouble {
                name: "3 rows of 33 that a constraint refuses",
                given: self.changed(at, |config| {
                    config["tables"] = json!({"type": "single", "table": "strict"});
                }),
                fault: Fault::None,
                expected: expected(checked.len(), &checked_at, &reject("constraint_violated")),
                records: checked,
            },
            Trouble {
                name: "a poison row alone",
                given: None,
                fault: Fault::None,
                expected: vec![reject("invalid_data")],
                records: only,
            },
        ])
    }

    fn throttled(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let full = self.changed(at, |config| {
            config["user"] = json!(format!("{}_full", self.database.user));
        });
        // PostgreSQL has no way to say when to come back.
        let no_connection = "no connection left for the user (53300)";
        Ok(vec![trouble(
            no_connection,
            full,
            retry("too_many_connections"),
        )])
    }

    fn rejected_credentials(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let user = &self.database.user;
        let mut wrong = self.destination(at);
        wrong.secrets["password"] = json!("an0ther-password");
        let refused = || suspend("authentication_rejected");
        let as_user = |user: String| self.changed(at, |config| config["user"] = json!(user));
        let nowhere = self.changed(at, |config| config["database"] = json!("nowhere"));
        Ok(vec![
            trouble("wrong password (28P01)", Some(wrong), refused()),
            trouble("unknown user", as_user(format!("{user}_none")), refused()),
            trouble(
                "user without login (28000)",
                as_user(format!("{user}_shut")),
                refused(),
            ),
            trouble("no such database", nowhere, suspend("database_missing")),
            trouble(
                "no right to the table (42501)",
                as_user(format!("{user}_poor")),
                suspend("permission_denied"),
            ),
        ])
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        Err("an event has at most 1 MiB, and a row takes 255 MiB")
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        // An error message of 1 GiB.
        let head = [&b"E"[..], &(1u32 << 30).to_be_bytes(), b"M"].concat();
        Ok(Trouble {
            name: "an endless error",
            given: None,
            records: records(1),
            fault: Fault::Answer {
                when: Bytes::from_static(b"INSERT INTO"),
                head: head.into(),
                then: Bytes::from(vec![b'x'; 16 * 1024]),
            },
            expected: vec![retry("connection_lost")],
        })
    }

    fn own(&self, at: SocketAddr) -> Vec<Trouble> {
        let table = |table: &str, create: bool| {
            self.changed(at, |config| {
                config["tables"] = json!({"type": "single", "table": table});
                config["createTables"] = json!(create);
            })
        };
        let schema = self.changed(at, |config| config["schema"] = json!("nowhere"));
        let tls = self.changed(at, |config| config["tls"] = json!("required"));
        vec![
            trouble(
                "table missing, not to be created",
                table("absent", false),
                reject("table_missing"),
            ),
            trouble(
                "table with other columns",
                table("odd", true),
                suspend("table_unfit"),
            ),
            trouble("schema missing", schema, suspend("schema_missing")),
            trouble("TLS not offered", tls, suspend("tls_not_offered")),
        ]
    }
}

#[tokio::test]
async fn postgres_conforms() {
    run(Server::start().await).await;
}
