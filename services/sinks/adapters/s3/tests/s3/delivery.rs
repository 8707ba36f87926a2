//! What is in the bucket afterwards, as boto3 sees it.

use std::io::Read as _;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use pushrail_s3::S3;
use pushrail_sink_core::{Adapter as _, canonical};
use pushrail_testkit::{Moto, moto};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::support::{RECEIVED_US, batch, bucket, client, record, send, verdict};

/// Every object: key, media type, encryption and content in base64; sorted by key.
async fn objects(moto: &Moto, bucket: &str) -> Vec<Value> {
    let script = format!(
        r#"
s3, found = client("s3"), []
for entry in s3.list_objects_v2(Bucket="{bucket}").get("Contents", []):
    read = s3.get_object(Bucket="{bucket}", Key=entry["Key"])
    found.append({{"key": entry["Key"], "type": read["ContentType"], "sse": read.get("ServerSideEncryption"),
        "kms": read.get("SSEKMSKeyId"), "encoding": read.get("ContentEncoding"),
        "body": base64.b64encode(read["Body"].read()).decode()}})
say(sorted(found, key=lambda entry: entry["key"]))"#
    );
    let Value::Array(found) = moto.boto3(&script).await else {
        panic!("a list");
    };
    found
}

fn body(object: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = object["body"].as_str().unwrap();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[tokio::test]
async fn a_batch_is_one_object_and_the_same_batch_changes_nothing() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let versioning = format!(
        r#"client("s3").put_bucket_versioning(Bucket="{bucket}", VersioningConfiguration={{"Status": "Enabled"}})"#
    );
    moto.boto3(&versioning).await;
    let client = client(&bucket, &moto.url(), json!({"prefix": "raw/events"})).await;
    let events = batch(3);
    let outcome = send(&client, &events).await;
    assert_eq!(verdict(&outcome), "delivered");
    let mut lines = Vec::new();
    for record in &events {
        canonical::write(&record.event, &mut lines);
        lines.push(b'\n');
    }
    let hash = Sha256::digest(&lines)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>();
    let key =
        format!("raw/events/event_type=order.completed/dt=2026-01-02/hour=03/part-{hash}.ndjson");
    let location = format!("s3://{bucket}/{key}");
    assert_eq!(
        outcome.evidence.excerpt,
        location.as_bytes(),
        "it is told where the events are"
    );
    // What a crash between writing and committing would do.
    for _ in 0..2 {
        assert_eq!(verdict(&send(&client, &events).await), "delivered");
    }
    let found = objects(moto, &bucket).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&found[0]["key"], &found[0]["type"]),
        (&json!(key), &json!("application/x-ndjson"))
    );
    assert_eq!(body(&found[0]), lines);
    let versions =
        format!(r#"say(len(client("s3").list_object_versions(Bucket="{bucket}")["Versions"]))"#);
    assert_eq!(
        moto.boto3(&versions).await,
        json!(1),
        "it was not even written again"
    );
}

#[tokio::test]
async fn each_type_and_hour_has_an_object_of_its_own() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let client = client(&bucket, &moto.url(), json!({})).await;
    const HOUR: i64 = 3_600_000_000;
    let events = [
        record(1, "a", RECEIVED_US, "{}"),
        record(2, "b", RECEIVED_US, "{}"),
        record(3, "a", RECEIVED_US + 60, "{}"),
        record(4, "a", RECEIVED_US + HOUR, "{}"),
    ];
    assert_eq!(verdict(&send(&client, &events).await), "delivered");
    let found = objects(moto, &bucket).await;
    let folder = |object: &Value| {
        object["key"]
            .as_str()
            .unwrap()
            .rsplit_once('/')
            .unwrap()
            .0
            .to_owned()
    };
    let folders: Vec<_> = found.iter().map(folder).collect();
    let expected = [
        "a/dt=2026-01-02/hour=03",
        "a/dt=2026-01-02/hour=04",
        "b/dt=2026-01-02/hour=03",
    ];
    assert_eq!(folders, expected.map(|rest| format!("event_type={rest}")));
    assert_eq!(body(&found[0]).iter().filter(|b| **b == b'\n').count(), 2);
}

#[test]
fn only_events_of_one_type_and_minute_share_a_batch() {
    let group = |event_type, us| S3::group(&record(1, event_type, us, "{}"));
    let minute = RECEIVED_US - RECEIVED_US % 60_000_000;
    assert_eq!(group("a", minute), group("a", minute + 59_999_999));
    assert_ne!(group("a", minute), group("a", minute + 60_000_000));
    assert_ne!(group("a", minute), group("b", minute));
}

#[tokio::test]
async fn a_payload_over_several_lines_is_one_line() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let client = client(&bucket, &moto.url(), json!({})).await;
    let payload = "{\r\n  \"text\": \"a\\nb\",\n  \"n\": 1.10\n}";
    let events = [
        record(1, "a", RECEIVED_US, payload),
        record(2, "a", RECEIVED_US, "{}"),
    ];
    assert_eq!(verdict(&send(&client, &events).await), "delivered");
    let text = String::from_utf8(body(&objects(moto, &bucket).await[0])).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["payload"], json!({"text": "a\nb", "n": 1.10}));
    assert!(
        text.contains("\"n\": 1.10"),
        "numbers are as they were written: {text}"
    );
}

#[tokio::test]
async fn gzip_zstd_and_parquet_hold_the_same_events() {
    let moto = moto().await;
    // Larger than what is compressed in place.
    let filler = "x".repeat(400);
    let of = |n| {
        record(
            n,
            "order.completed",
            RECEIVED_US,
            &format!(r#"{{"n":{n},"filler":"{filler}"}}"#),
        )
    };
    let events: Vec<_> = (1..=200).map(of).collect();
    let plain = bucket(moto).await;
    send(&client(&plain, &moto.url(), json!({})).await, &events).await;
    let plain = objects(moto, &plain).await.remove(0);
    let stem = plain["key"]
        .as_str()
        .unwrap()
        .strip_suffix(".ndjson")
        .unwrap()
        .to_owned();
    for (format, ending, media_type) in [
        (
            json!({"type": "ndjson", "compression": "gzip"}),
            ".ndjson.gz",
            "application/gzip",
        ),
        (
            json!({"type": "ndjson", "compression": "zstd"}),
            ".ndjson.zst",
            "application/zstd",
        ),
        (
            json!({"type": "parquet"}),
            ".parquet",
            "application/vnd.apache.parquet",
        ),
    ] {
        let bucket = bucket(moto).await;
        let client = client(&bucket, &moto.url(), json!({"format": format})).await;
        assert_eq!(verdict(&send(&client, &events).await), "delivered");
        assert_eq!(verdict(&send(&client, &events).await), "delivered");
        let found = objects(moto, &bucket).await;
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0]["key"],
            json!(format!("{stem}{ending}")),
            "named after the same lines"
        );
        assert_eq!(
            (&found[0]["type"], &found[0]["encoding"]),
            (&json!(media_type), &Value::Null)
        );
        let bytes = body(&found[0]);
        let mut lines = Vec::new();
        match ending {
            ".ndjson.gz" => {
                let read = flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut lines);
                read.unwrap();
            }
            ".ndjson.zst" => lines = zstd::decode_all(&*bytes).unwrap(),
            _ => {
                rows(bytes);
                continue;
            }
        }
        assert_eq!(lines, body(&plain), "{ending}");
    }
}

fn rows(bytes: Vec<u8>) {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<_> = schema
        .columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let expected = [
        "event_id",
        "event_type",
        "occurred_at",
        "customer_external_id",
        "source",
        "payload",
        "metadata",
        "received_at",
        "idempotency_key",
    ];
    assert_eq!(names, expected);
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().to_string())
        .collect();
    assert_eq!(rows.len(), 200);
    assert!(
        rows[0].contains("idempotency_key: null") && rows[1].contains("order-42"),
        "{}",
        rows[0]
    );
    assert!(
        rows[0].contains(r#"{"n":1,"#) && rows[0].contains("00000000-0000-0000-0000-000000000001")
    );
}

#[tokio::test]
async fn encryption_is_what_was_asked_for() {
    let moto = moto().await;
    for (encryption, sse, key) in [
        (json!({"type": "sse_s3"}), "AES256", None),
        (json!({"type": "sse_kms"}), "aws:kms", None),
        (
            json!({"type": "sse_kms", "keyId": "alias/events"}),
            "aws:kms",
            Some("alias/events"),
        ),
    ] {
        let bucket = bucket(moto).await;
        let client = client(&bucket, &moto.url(), json!({"encryption": encryption})).await;
        assert_eq!(verdict(&send(&client, &batch(1)).await), "delivered");
        let found = objects(moto, &bucket).await;
        assert_eq!(found[0]["sse"], json!(sse));
        if let Some(key) = key {
            assert!(found[0]["kms"].as_str().unwrap().contains(key), "{found:?}");
        }
    }
}

#[tokio::test]
async fn calls_at_the_same_time_do_not_disturb_each_other() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let client = std::sync::Arc::new(client(&bucket, &moto.url(), json!({})).await);
    let calls = (0..8u128).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let events = [record(n + 1, &format!("type{n}"), RECEIVED_US, "{}")];
            verdict(&send(&client, &events).await)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), "delivered");
    }
    assert_eq!(objects(moto, &bucket).await.len(), 8);
}
