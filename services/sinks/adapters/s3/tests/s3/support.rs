//! Events, buckets, and clients to put the one into the other.

use std::sync::Arc;

use bytes::Bytes;
use pushrail_aws::Operator;
pub(crate) use pushrail_conformance::{connect, send_within, verdict};
use pushrail_s3::{Client, S3};
use pushrail_schemas::Event;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_sink_core::{Context, Outcome, Record};
use pushrail_testkit::{Moto, WITHIN};
use serde_json::{Value, json};
use uuid::Uuid;

/// 2026-01-02T03:04:06Z.
pub(crate) const RECEIVED_US: i64 = 1_767_323_046_000_000;
pub(crate) const CUSTOMER: Uuid = Uuid::from_u128(0xc1);
pub(crate) const SECRET: &str = "s3cret-access-key";

pub(crate) fn record(n: u128, event_type: &str, received_at_us: i64, payload: &str) -> Arc<Record> {
    let mut value = Vec::new();
    let parts = Parts {
        event_id: Uuid::from_u128(n),
        event_type,
        occurred_at_us: received_at_us - 86_400_000_000,
        customer_external_id: "cust-1",
        idempotency_key: n.is_multiple_of(2).then_some("order-42"),
        source: Some("shop"),
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us,
        subject_id: None,
        sealing: None,
    };
    parts.encode(1, &mut value);
    let delivery = Delivery {
        delivery_id: Uuid::from_u128(n + 1_000),
        event_id: Uuid::from_u128(n),
        tenant_id: "acme".into(),
        customer_id: CUSTOMER,
        destination_id: Uuid::from_u128(0xd1),
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    Arc::new(Record {
        event: Event::parse(Bytes::from(value)).unwrap(),
        delivery,
        attempt: 1,
    })
}

/// Events of one type and hour.
pub(crate) fn batch(count: u128) -> Vec<Arc<Record>> {
    let of = |n| {
        record(
            n,
            "order.completed",
            RECEIVED_US,
            &format!(r#"{{"n":{n}}}"#),
        )
    };
    (1..=count).map(of).collect()
}

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    }
}

/// A configuration with keys, and `changes` to it.
pub(crate) fn config(bucket: &str, endpoint: &str, changes: Value) -> Value {
    let mut config = json!({
        "bucket": bucket, "region": "us-east-1", "endpoint": endpoint,
        "authentication": {"type": "access_key", "accessKeyId": "AKIAEXAMPLE"},
    });
    let fields = config.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    config
}

pub(crate) async fn client(bucket: &str, endpoint: &str, changes: Value) -> Client {
    let s3 = S3::with_operator(&loopback(), Operator::Chain);
    let secrets = json!({"secretAccessKey": SECRET});
    connect(&s3, config(bucket, endpoint, changes), secrets).await
}

/// A bucket in `moto` and its name.
pub(crate) async fn bucket(moto: &Moto) -> String {
    let bucket = moto.unique("b");
    let script = format!(r#"client("s3").create_bucket(Bucket="{bucket}")"#);
    moto.boto3(&script).await;
    bucket
}

pub(crate) async fn send(client: &Client, batch: &[Arc<Record>]) -> Outcome {
    send_within(client, batch, WITHIN).await
}
