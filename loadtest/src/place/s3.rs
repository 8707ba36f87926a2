//! Buckets.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use serde_json::{Value, json};
use uuid::Uuid;

use super::aws::{self, Moto};
use super::{Found, Place, Posted, Stock};

pub struct S3 {
    moto: Moto,
}

/// Says the event id of every line of every object. `s3` is who looks.
pub(super) const READ: &str = r#"
for bucket in s3.list_buckets()["Buckets"]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read()
            for line in body.splitlines(): print(json.loads(line)["eventId"])"#;

fn bucket(number: u32) -> String {
    format!("events-{number}")
}

impl Place for S3 {
    const KIND: &'static str = "s3";
    const NAME: &'static str = "S3";
    const SERVER: &'static str = aws::SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let moto = Moto::start(folder).await?;
        let script = format!(
            r#"for n in range({destinations}): client("s3").create_bucket(Bucket=f"events-{{n}}")"#
        );
        moto.boto3(&script).await?;
        Ok(S3 { moto })
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "bucket": bucket(number), "region": aws::REGION, "endpoint": self.moto.url(),
            "authentication": aws::authentication(),
        });
        (config, aws::secrets())
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        config["endpoint"] = json!(format!("http://{to}"));
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let script = format!("s3 = client(\"s3\")\n{READ}");
        Found::lines(&self.moto.boto3(&script).await?)
    }

    type Stock = Uploader;

    async fn stock(&self, number: u32) -> anyhow::Result<Uploader> {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws::REGION))
            .endpoint_url(self.moto.url())
            .force_path_style(true)
            .credentials_provider(Credentials::new(
                aws::KEY_ID,
                aws::SECRET,
                None,
                None,
                "loadtest",
            ))
            .http_client(aws::Http::new()?)
            .build();
        Ok(Uploader {
            client: Client::from_conf(config),
            bucket: bucket(number),
        })
    }
}

/// `aws-sdk-s3`: an object of lines of JSON a batch.
pub struct Uploader {
    client: Client,
    bucket: String,
}

impl Stock for Uploader {
    async fn send(&mut self, batch: &[Posted]) -> anyhow::Result<()> {
        let mut body = String::with_capacity(batch.iter().map(|event| event.json.len() + 1).sum());
        for event in batch {
            let _ = writeln!(body, "{}", event.json);
        }
        let put = self.client.put_object().bucket(&self.bucket);
        put.key(format!("stock/{}.ndjson", Uuid::new_v4()))
            .content_type("application/x-ndjson")
            .if_none_match("*")
            .body(body.into_bytes().into())
            .send()
            .await?;
        Ok(())
    }
}
