//! Servers that check who calls: each destination has a credential of its own, which can be replaced and taken away.

use std::path::Path;

use anyhow::Context as _;
use futures::Future;
use pushrail_servers::{Emulator, moto};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::{Found, aws};

pub trait Guarded: Sized + Send {
    const KIND: &'static str;
    const NAME: &'static str;
    const SERVER: &'static str;

    /// Starts the server, with `destinations` and a credential for each.
    fn start(folder: &Path, destinations: u32)
    -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Configuration and secrets with the credential of now.
    fn destination(&self, number: u32) -> (Value, Value);

    /// Makes another credential, beside the one before it where the server has two at a time. Returns the change that its
    /// owner enters.
    fn renew(&mut self, number: u32) -> impl Future<Output = anyhow::Result<Value>> + Send;

    /// Takes away the credentials before the one of now.
    fn retire(&mut self, number: u32) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Takes away the credential of now, connections included.
    fn revoke(&mut self, number: u32) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What the stock client finds.
    fn found(&self) -> impl Future<Output = anyhow::Result<Found>> + Send;
}

#[derive(Clone, Debug, Deserialize)]
struct Key {
    id: String,
    secret: String,
}

/// Buckets, each with a user of IAM that may put objects into it.
pub struct GuardedS3 {
    moto: Emulator,
    admin: Key,
    /// All that there are, the one of now last.
    keys: Vec<Vec<Key>>,
}

#[derive(Deserialize)]
struct Made {
    admin: Key,
    keys: Vec<Key>,
}

const SETUP: &str = r#"
iam, s3 = client("iam"), client("s3")
def user(name, action, resource):
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
made = {"admin": user("admin", "*", "*"), "keys": []}
for n in range(DESTINATIONS):
    s3.create_bucket(Bucket=f"events-{n}")
    made["keys"].append(user(f"user-{n}", "s3:PutObject", f"arn:aws:s3:::events-{n}/*"))
say(made)
"#;

impl GuardedS3 {
    /// Runs a script in which `iam` and `s3` are the administrator's.
    async fn as_admin(&self, script: &str) -> anyhow::Result<Vec<u8>> {
        let Key { id, secret } = &self.admin;
        let clients = format!(
            r#"iam, s3 = client("iam", key="{id}", secret="{secret}"), client("s3", key="{id}", secret="{secret}")"#
        );
        Ok(moto::boto3(&self.moto, &format!("{clients}\n{script}")).await?)
    }

    async fn delete(&self, number: u32, key: &Key) -> anyhow::Result<()> {
        let script = format!(
            r#"iam.delete_access_key(UserName="user-{number}", AccessKeyId="{}")"#,
            key.id
        );
        self.as_admin(&script).await.map(drop)
    }

    fn entered(key: &Key) -> (Value, Value) {
        let authentication = json!({"type": "access_key", "accessKeyId": key.id});
        (authentication, json!({ "secretAccessKey": key.secret }))
    }
}

impl Guarded for GuardedS3 {
    const KIND: &'static str = "s3";
    const NAME: &'static str = "S3, an access key";
    const SERVER: &'static str = "moto with IAM, read with boto3";

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        // What the script calls; everything after it is checked.
        let setup_calls = 3 + 4 * destinations;
        let moto = moto::builder(folder.join("moto")).checked_after(setup_calls);
        let moto = moto.start().await?;
        let script = SETUP.replace("DESTINATIONS", &destinations.to_string());
        let made: Made = serde_json::from_slice(&moto::boto3(&moto, &script).await?)?;
        Ok(GuardedS3 {
            moto,
            admin: made.admin,
            keys: made.keys.into_iter().map(|key| vec![key]).collect(),
        })
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let key = &self.keys[number as usize].last().expect("it has a key");
        let (authentication, secrets) = GuardedS3::entered(key);
        let config = json!({
            "bucket": format!("events-{number}"), "region": aws::REGION, "endpoint": self.moto.url(),
            "authentication": authentication,
        });
        (config, secrets)
    }

    async fn renew(&mut self, number: u32) -> anyhow::Result<Value> {
        let script = format!(
            r#"made = iam.create_access_key(UserName="user-{number}")["AccessKey"]
say({{"id": made["AccessKeyId"], "secret": made["SecretAccessKey"]}})"#
        );
        let key: Key = serde_json::from_slice(&self.as_admin(&script).await?)?;
        self.keys[number as usize].push(key);
        let (config, secrets) = self.destination(number);
        Ok(json!({"config": config, "secrets": secrets}))
    }

    async fn retire(&mut self, number: u32) -> anyhow::Result<()> {
        while self.keys[number as usize].len() > 1 {
            let key = self.keys[number as usize].remove(0);
            self.delete(number, &key).await?;
        }
        Ok(())
    }

    async fn revoke(&mut self, number: u32) -> anyhow::Result<()> {
        let key = self.keys[number as usize].last().context("a key")?;
        self.delete(number, key).await
    }

    async fn found(&self) -> anyhow::Result<Found> {
        Found::lines(&self.as_admin(super::s3::READ).await?)
    }
}

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
    const SERVER: &'static str = super::postgres::SERVER;

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
