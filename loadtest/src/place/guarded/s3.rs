//! Access keys.

use std::path::Path;

use anyhow::Context as _;
use pushrail_servers::{Emulator, moto};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Guarded;
use crate::place::{Found, aws, s3};

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
        Found::lines(&self.as_admin(s3::READ).await?)
    }
}
