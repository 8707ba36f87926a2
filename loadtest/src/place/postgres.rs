//! Tables of one database, a schema a destination.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

use super::{Found, Place, Posted, Stock};
use crate::sample;

pub(super) const SERVER: &str = "PostgreSQL 18, read with sqlx";
const USER: &str = "loader";
const PASSWORD: &str = "s3cret-of-a-loader";

/// Counts the rows that are offered to every table that the user makes, those included that are known already. A sequence
/// is not rolled back, so a transaction that was cut off counts as well.
const COUNTED: &str = r#"
CREATE SEQUENCE offered;
GRANT USAGE ON SEQUENCE offered TO loader;
CREATE FUNCTION count_offered() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM nextval('public.offered'); RETURN NEW; END $$;
CREATE FUNCTION count_table() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE made record;
BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
        EXECUTE format('CREATE TRIGGER offered BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.count_offered()',
            made.object_identity);
    END LOOP;
END $$;
CREATE EVENT TRIGGER count_tables ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION count_table();
"#;

pub struct Postgres {
    server: pushrail_servers::Postgres,
    url: Url,
    destinations: u32,
}

fn schema(number: u32) -> String {
    format!("events_{number}")
}

impl Postgres {
    async fn database(&self) -> anyhow::Result<PgConnection> {
        let connected = PgConnection::connect(self.url.as_str()).await;
        connected.context("PostgreSQL cannot be reached")
    }

    async fn run(&self, sql: String) -> anyhow::Result<()> {
        let mut database = self.database().await?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut database)
            .await?;
        Ok(())
    }
}

impl Place for Postgres {
    const KIND: &'static str = "postgres";
    const NAME: &'static str = "PostgreSQL";
    const SERVER: &'static str = SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let folder = folder.join(format!("postgres-{}", Uuid::new_v4().simple()));
        let server = pushrail_servers::Postgres::builder(folder).start().await?;
        let url = Url::parse(&server.url())?;
        let place = Postgres {
            server,
            url,
            destinations,
        };
        let mut sql = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}';\n");
        for number in 0..destinations {
            let schema = schema(number);
            sql.push_str(&format!(
                "CREATE SCHEMA {schema}; GRANT USAGE, CREATE ON SCHEMA {schema} TO {USER};\n"
            ));
        }
        place.run(sql).await?;
        Ok(place)
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "host": "127.0.0.1", "port": self.server.port(), "database": "pushrail", "user": USER,
            "schema": schema(number), "tls": "off",
        });
        (config, json!({ "password": PASSWORD }))
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        config["host"] = json!(to.ip());
        config["port"] = json!(to.port());
    }

    async fn count_offered(&self) -> anyhow::Result<()> {
        self.run(COUNTED.to_owned()).await
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let mut database = self.database().await?;
        let mut found = Found::default();
        for number in 0..self.destinations {
            let sql = format!("SELECT event_id FROM {}.events", schema(number));
            let ids: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_all(&mut database)
                .await?;
            found.ids.extend(ids);
        }
        let counted: Option<i64> = sqlx::query_scalar(
            "SELECT last_value FROM pg_sequences WHERE sequencename = 'offered'",
        )
        .fetch_optional(&mut database)
        .await?
        .flatten();
        found.offered = counted.and_then(|count| u64::try_from(count).ok());
        Ok(found)
    }

    type Stock = Inserter;

    async fn stock(&self, number: u32) -> anyhow::Result<Inserter> {
        let mut connection = self.database().await?;
        let table = format!("{}.stock", schema(number));
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table} (event_id uuid PRIMARY KEY, event_type text NOT NULL, \
             occurred_at timestamptz NOT NULL, customer_external_id text NOT NULL, source text, payload jsonb NOT NULL, \
             metadata jsonb NOT NULL, received_at timestamptz NOT NULL)"
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        let insert = format!(
            "INSERT INTO {table} (event_id, event_type, occurred_at, received_at, customer_external_id, payload, metadata) \
             SELECT id, '{}', now(), now(), customer, payload::jsonb, '{{}}'::jsonb \
             FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t (id, customer, payload) \
             ON CONFLICT (event_id) DO NOTHING",
            sample::EVENT_TYPE
        );
        Ok(Inserter { connection, insert })
    }
}

/// `sqlx`: a statement of as many rows as the batch has, which is a transaction.
pub struct Inserter {
    connection: PgConnection,
    insert: String,
}

impl Stock for Inserter {
    async fn send(&mut self, batch: &[Posted]) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = batch.iter().map(|event| event.id).collect();
        let customers: Vec<&str> = batch.iter().map(|event| &*event.customer).collect();
        let payloads: Vec<&str> = batch.iter().map(|event| &*event.payload).collect();
        let insert = sqlx::query(AssertSqlSafe(self.insert.clone()));
        insert
            .bind(ids)
            .bind(customers)
            .bind(payloads)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
