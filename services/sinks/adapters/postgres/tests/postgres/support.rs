//! A database of one's own, and destinations in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use pushrail_conformance::{send_within, verdicts};
use pushrail_postgres::{Client, Postgres};
use pushrail_sink_core::{Context, Outcome, Record};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

pub(crate) const PASSWORD: &str = "s3cret-of-a-loader";

/// A database with a user as the guide has it.
pub(crate) struct Database {
    url: Url,
    /// A user of the whole server, so its name is this database's own.
    pub(crate) user: String,
}

impl Database {
    /// The user may make tables.
    pub(crate) async fn new() -> Database {
        let url = Url::parse(&pushrail_testkit::database().await).unwrap();
        let database = Database {
            url,
            user: format!("loader_{}", Uuid::new_v4().simple()),
        };
        let user = &database.user;
        database
            .run(&format!(
                "CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 40;
                 CREATE SCHEMA pushrail_events;
                 GRANT USAGE, CREATE ON SCHEMA pushrail_events TO {user}"
            ))
            .await;
        database
    }

    /// As the owner.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        let mut connection = self.connection().await;
        let run = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection);
        run.await.unwrap();
        connection.close().await.unwrap();
    }

    pub(crate) async fn ids(&self, table: &str) -> Vec<Uuid> {
        let mut connection = self.connection().await;
        let sql = format!("SELECT event_id FROM pushrail_events.{table}");
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_default()
    }

    pub(crate) fn server(&self) -> SocketAddr {
        let (host, port) = (self.url.host_str().unwrap(), self.url.port().unwrap());
        SocketAddr::new(host.parse().unwrap(), port)
    }

    pub(crate) fn config(&self, at: SocketAddr) -> Value {
        json!({
            "host": at.ip().to_string(),
            "port": at.port(),
            "database": self.url.path().trim_start_matches('/'),
            "user": self.user,
            "schema": "pushrail_events",
            "tls": "off",
        })
    }

    pub(crate) async fn client(&self, change: impl FnOnce(&mut Value)) -> Client {
        let mut config = self.config(self.server());
        change(&mut config);
        connect(config).await
    }
}

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into(), "::1/128".into()],
        allow_plaintext: true,
    }
}

pub(crate) async fn connect(config: Value) -> Client {
    connect_with(config, json!({ "password": PASSWORD })).await
}

pub(crate) async fn connect_with(config: Value, secrets: Value) -> Client {
    pushrail_conformance::connect(&Postgres::new(loopback()), config, secrets).await
}

pub(crate) async fn send(client: &Client, records: &[Arc<Record>]) -> Outcome {
    send_within(client, records, Duration::from_secs(20)).await
}
