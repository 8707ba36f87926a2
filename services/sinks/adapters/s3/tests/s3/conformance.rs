//! The suite that every adapter passes, against moto.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record_of, records, reject, retry, run,
    suspend,
};
use pushrail_s3::S3;
use pushrail_sink_core::Context;
use pushrail_testkit::{Moto, moto};
use serde_json::json;
use uuid::Uuid;

use super::support::{SECRET, bucket, config};

struct Store {
    moto: &'static Moto,
    bucket: String,
}

fn refused(status: &str, code: &str, headers: &[(&str, &str)]) -> Fault {
    // What a store that is debugged sends back.
    let message = format!("you signed with {SECRET}");
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Fault::http(status, headers, &body)
}

fn trouble(name: &'static str, fault: Fault, expected: Expected) -> Trouble {
    Trouble::new(name, records(2), fault, expected)
}

impl Subject for Store {
    type Adapter = S3;

    fn against(&self) -> String {
        "moto 5.2.5, read with boto3".to_owned()
    }

    fn adapter(&self, context: Context) -> S3 {
        S3::new(&context)
    }

    fn server(&self) -> SocketAddr {
        let url = self.moto.url();
        url.trim_start_matches("http://").parse().unwrap()
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: config(&self.bucket, &format!("http://{at}"), json!({})),
            secrets: json!({ "secretAccessKey": SECRET }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/declaration.json").into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        let script = format!(
            r#"
s3, found = client("s3"), []
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="{}"):
    for entry in page.get("Contents", []):
        lines = s3.get_object(Bucket="{}", Key=entry["Key"])["Body"].read().decode().splitlines()
        found += [json.loads(line)["eventId"] for line in lines]
say(found)"#,
            self.bucket, self.bucket
        );
        serde_json::from_value(self.moto.boto3(&script).await).unwrap()
    }

    fn recognises_repeats(&self) -> Case<()> {
        Err("the same batch is the same object; in another batch a line has the same `eventId`")
    }

    fn partial_failures(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        Err("an object is written whole or not at all")
    }

    fn throttled(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let slow = "503 Slow Down";
        Ok(vec![
            trouble(
                "SlowDown with Retry-After",
                refused(slow, "SlowDown", &[("retry-after", "7")]),
                Expected::Retry {
                    code: "throttled",
                    after: Some(Duration::from_secs(7)),
                },
            ),
            trouble(
                "SlowDown without",
                refused(slow, "SlowDown", &[]),
                retry("throttled"),
            ),
        ])
    }

    fn rejected_credentials(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let of = |name, code| (name, refused("403 Forbidden", code, &[]));
        let all = [
            (
                of("no such key", "InvalidAccessKeyId"),
                "credentials_rejected",
            ),
            (
                of("wrong secret", "SignatureDoesNotMatch"),
                "credentials_rejected",
            ),
            (of("not allowed", "AccessDenied"), "access_denied"),
        ];
        let all = all.map(|((name, fault), code)| trouble(name, fault, suspend(code)));
        Ok(all.into())
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        let fault = refused("400 Bad Request", "EntityTooLarge", &[]);
        Ok(trouble("EntityTooLarge", fault, reject("too_large")))
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        let fault = Fault::http_endless("500 Oh");
        Ok(trouble("an endless body", fault, retry("invalid_response")))
    }

    fn own(&self, at: SocketAddr) -> Vec<Trouble> {
        let nowhere = Given {
            config: config("no-such-bucket-here", &format!("http://{at}"), json!({})),
            secrets: json!({ "secretAccessKey": SECRET }),
        };
        vec![
            Trouble {
                given: Some(nowhere),
                ..trouble("no such bucket", Fault::None, suspend("no_such_bucket"))
            },
            trouble(
                "another region",
                refused("301 Moved Permanently", "PermanentRedirect", &[]),
                suspend("wrong_region"),
            ),
            trouble(
                "written at the same moment",
                refused("409 Conflict", "ConditionalRequestConflict", &[]),
                retry("conflict"),
            ),
            Trouble {
                records: vec![record_of("a", "{}"), record_of("b", "{}")],
                ..trouble("two types in a call", Fault::None, delivered())
            },
        ]
    }
}

#[tokio::test]
async fn s3_conforms() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    run(Store { moto, bucket }).await;
}
