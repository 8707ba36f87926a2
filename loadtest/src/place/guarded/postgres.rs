//! Passwords of a database.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::Guarded;
use crate::place::{Found, postgres};

/// Schemas of one database, each with a role that may make tables in it.
pub struct GuardedPostgres {
    server: pushrail_servers::Postgres,
    passwords: Vec<String>,
}

impl GuardedPostgres {
    async fn run(&self, sql: String) -> anyhow::Result<()> {
        let mut database = PgConnection::connect(&self.server.url()).await?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut database)
            .await?;
        Ok(())
    }
}

impl Guarded for GuardedPostgres {
    const KIND: &'static str = "postgres";
    const NAME: &'static str = "PostgreSQL, a password";
    const SERVER: &'static str = postgres::SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let server = pushrail_servers::Postgres::builder(folder.join("customers"));
        let server = server.start().await?;
        let mut passwords = Vec::new();
        let mut sql = String::new();
        for number in 0..destinations {
            let password = Uuid::new_v4().simple().to_string();
            sql.push_str(&format!(
                "CREATE ROLE loader_{number} LOGIN PASSWORD '{password}'; CREATE SCHEMA events_{number};
                 GRANT USAGE, CREATE ON SCHEMA events_{number} TO loader_{number};\n"
            ));
            passwords.push(password);
        }
        let postgres = GuardedPostgres { server, passwords };
        postgres.run(sql).await?;
        Ok(postgres)
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "host": "127.0.0.1", "port": self.server.port(), "database": "pushrail",
            "user": format!("loader_{number}"), "schema": format!("events_{number}"), "tls": "off",
        });
        (
            config,
            json!({ "password": self.passwords[number as usize] }),
        )
    }

    /// A role has one password: the one before ends here, for connections that are opened from now on.
    async fn renew(&mut self, number: u32) -> anyhow::Result<Value> {
        let password = Uuid::new_v4().simple().to_string();
        let sql = format!("ALTER ROLE loader_{number} LOGIN PASSWORD '{password}'");
        self.run(sql).await?;
        self.passwords[number as usize].clone_from(&password);
        Ok(json!({"secrets": {"password": password}}))
    }

    async fn retire(&mut self, _: u32) -> anyhow::Result<()> {
        Ok(())
    }

    async fn revoke(&mut self, number: u32) -> anyhow::Result<()> {
        let other = Uuid::new_v4().simple();
        self.run(format!(
            "ALTER ROLE loader_{number} PASSWORD '{other}';
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'loader_{number}'"
        ))
        .await
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let mut database = PgConnection::connect(&self.server.url()).await?;
        let mut found = Found::default();
        for number in 0..self.passwords.len() {
            let sql = format!("SELECT event_id FROM events_{number}.events");
            let ids = sqlx::query_scalar(AssertSqlSafe(sql));
            found
                .ids
                .extend(ids.fetch_all(&mut database).await? as Vec<Uuid>);
        }
        Ok(found)
    }
}
