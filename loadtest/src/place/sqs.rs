//! Queues, standard and FIFO.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use serde_json::{Value, json};

use super::aws::{self, Moto};
use super::{Found, Place, Posted, Stock};
use crate::sample;

/// Messages of a call: SQS takes no more.
const CALL_MAX: usize = 10;

pub struct Sqs {
    moto: Moto,
    ending: &'static str,
}

/// The same with FIFO queues.
pub struct Fifo(Sqs);

impl Sqs {
    async fn open(folder: &Path, destinations: u32, fifo: bool) -> anyhow::Result<Self> {
        let moto = Moto::start(folder).await?;
        let (ending, attributes) = match fifo {
            true => (".fifo", r#"{"FifoQueue": "true"}"#),
            false => ("", "{}"),
        };
        let script = format!(
            r#"for n in range({destinations}): client("sqs").create_queue(QueueName=f"events-{{n}}{ending}", Attributes={attributes})"#
        );
        moto.boto3(&script).await?;
        Ok(Sqs { moto, ending })
    }

    fn url(&self, number: u32) -> String {
        let (at, account, ending) = (self.moto.url(), aws::ACCOUNT, self.ending);
        format!("{at}/{account}/events-{number}{ending}")
    }
}

impl Place for Sqs {
    const KIND: &'static str = "sqs";
    const NAME: &'static str = "SQS, standard queue";
    const SERVER: &'static str = aws::SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        Sqs::open(folder, destinations, false).await
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "queueUrl": self.url(number), "region": aws::REGION, "authentication": aws::authentication(),
        });
        (config, aws::secrets())
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        config["queueUrl"] = json!(format!("http://{to}/{}/astray", aws::ACCOUNT));
    }

    /// Takes the messages out.
    async fn found(&self) -> anyhow::Result<Found> {
        let script = r#"
sqs = client("sqs")
for url in sqs.list_queues().get("QueueUrls", []):
    while True:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        if not got: break
        for message in got: print(json.loads(message["Body"])["eventId"])
        sqs.delete_message_batch(QueueUrl=url, Entries=[
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(got)])"#;
        Found::lines(&self.moto.boto3(script).await?)
    }

    type Stock = Sender;

    async fn stock(&self, number: u32) -> anyhow::Result<Sender> {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws::REGION))
            .endpoint_url(self.moto.url())
            .credentials_provider(Credentials::new(
                aws::KEY_ID,
                aws::SECRET,
                None,
                None,
                "loadtest",
            ))
            .http_client(aws::Http::new()?)
            .build();
        Ok(Sender {
            client: Client::from_conf(config),
            url: self.url(number),
            fifo: !self.ending.is_empty(),
        })
    }
}

impl Place for Fifo {
    const KIND: &'static str = Sqs::KIND;
    const NAME: &'static str = "SQS, FIFO queue";
    const SERVER: &'static str = Sqs::SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        Ok(Fifo(Sqs::open(folder, destinations, true).await?))
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        self.0.destination(number)
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        Sqs::lead_astray(config, to);
    }

    async fn found(&self) -> anyhow::Result<Found> {
        self.0.found().await
    }

    type Stock = Sender;

    async fn stock(&self, number: u32) -> anyhow::Result<Sender> {
        self.0.stock(number).await
    }
}

/// `aws-sdk-sqs`: ten messages a call, small fields as attributes.
pub struct Sender {
    client: Client,
    url: String,
    fifo: bool,
}

impl Stock for Sender {
    async fn send(&mut self, batch: &[Posted]) -> anyhow::Result<()> {
        for part in batch.chunks(CALL_MAX) {
            let mut entries = Vec::with_capacity(part.len());
            for (n, event) in part.iter().enumerate() {
                let id = event.id.to_string();
                let mut entry = SendMessageBatchRequestEntry::builder()
                    .id(n.to_string())
                    .message_body(&event.json)
                    .message_attributes("eventId", text(&id)?)
                    .message_attributes("eventType", text(sample::EVENT_TYPE)?)
                    .message_attributes("customerExternalId", text(&event.customer)?);
                if self.fifo {
                    entry = entry
                        .message_group_id(&event.customer)
                        .message_deduplication_id(id);
                }
                entries.push(entry.build()?);
            }
            let call = self.client.send_message_batch().queue_url(&self.url);
            let answer = call.set_entries(Some(entries)).send().await?;
            let failed = answer.failed().first();
            anyhow::ensure!(failed.is_none(), "SQS refused a message: {failed:?}");
        }
        Ok(())
    }
}

fn text(value: &str) -> anyhow::Result<MessageAttributeValue> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .context("an attribute")
}
