//! Queues, and clients to fill them.

use std::sync::Arc;

pub(crate) use pushrail_conformance::verdicts;
use pushrail_sink_core::{Context, Outcome, Record};
use pushrail_sqs::{Client, Sqs};
use pushrail_testkit::{Moto, WITHIN};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "s3cret-access-key";
/// Account of everything in moto.
pub(crate) const ACCOUNT: &str = "123456789012";

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    }
}

pub(crate) fn config(queue: &str, endpoint: &str, changes: Value) -> Value {
    let mut config = json!({
        "queueUrl": format!("{endpoint}/{ACCOUNT}/{queue}"), "region": "us-east-1",
        "authentication": {"type": "access_key", "accessKeyId": "AKIAEXAMPLE"},
    });
    let fields = config.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    config
}

pub(crate) async fn client(queue: &str, endpoint: &str, changes: Value) -> Client {
    let config = config(queue, endpoint, changes);
    let secrets = json!({"secretAccessKey": SECRET});
    pushrail_conformance::connect(&Sqs::new(&loopback()), config, secrets).await
}

/// A queue in `moto` and its name; a FIFO queue where `fifo`.
pub(crate) async fn queue(moto: &Moto, fifo: bool) -> String {
    let (ending, attributes) = match fifo {
        true => (".fifo", r#"{"FifoQueue": "true"}"#),
        false => ("", "{}"),
    };
    let queue = format!("{}{ending}", moto.unique("q"));
    let script =
        format!(r#"client("sqs").create_queue(QueueName="{queue}", Attributes={attributes})"#);
    moto.boto3(&script).await;
    queue
}

/// All messages of a queue, which stay in it: body, attributes and what FIFO queues have.
pub(crate) async fn messages(moto: &Moto, queue: &str) -> Vec<Value> {
    let script = format!(
        r#"
sqs, found, url = client("sqs"), {{}}, f"{{os.environ['ENDPOINT']}}/{ACCOUNT}/{queue}"
while True:
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"],
        AttributeNames=["All"], VisibilityTimeout=30).get("Messages", [])
    if not got: break
    for message in got:
        attributes = {{name: value["StringValue"] for name, value in message.get("MessageAttributes", {{}}).items()}}
        found[message["MessageId"]] = {{"id": message["MessageId"], "body": message["Body"], "attributes": attributes,
            "group": message["Attributes"].get("MessageGroupId"),
            "deduplication": message["Attributes"].get("MessageDeduplicationId")}}
    if "{queue}".endswith(".fifo"):
        # The rest of a group comes when what is in flight has gone.
        for message in got: sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
say(list(found.values()))"#
    );
    let Value::Array(found) = moto.boto3(&script).await else {
        panic!("a list");
    };
    found
}

pub(crate) async fn send(client: &Client, batch: &[Arc<Record>]) -> Outcome {
    pushrail_conformance::send_within(client, batch, WITHIN).await
}
