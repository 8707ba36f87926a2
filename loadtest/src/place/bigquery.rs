//! Tables of one dataset, a table a destination.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pushrail_servers::Venv;
use pushrail_servers::bigquery::{BigQuery as Server, DATASET, PROJECT};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{Found, Place, Posted, Stock};

pub struct BigQuery {
    server: Server,
    /// Grants whatever is asked for: the emulator takes any token.
    tokens: String,
    granting: AbortHandle,
    key: String,
    destinations: u32,
}

impl Drop for BigQuery {
    fn drop(&mut self) {
        self.granting.abort();
    }
}

fn table(number: u32) -> String {
    format!("events_{number}")
}

/// A private key that is made here and used nowhere else, in PEM.
fn private_key() -> anyhow::Result<String> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let der: Pkcs8V1Der<'_> = key.as_der()?;
    let text = STANDARD.encode(der.as_ref());
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in lines {
        pem.push_str(&line);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

/// Serves tokens; returns the endpoint's address.
async fn grant() -> anyhow::Result<(String, AbortHandle)> {
    let token = || async {
        Json(json!({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}))
    };
    let routes = Router::new().route("/token", post(token));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/token", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((url, serving.abort_handle()))
}

impl Place for BigQuery {
    const KIND: &'static str = "bigquery";
    const NAME: &'static str = "BigQuery";
    const SERVER: &'static str = "local-bigquery, read with google-cloud-bigquery";

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let folder = folder.join(format!("bigquery-{}", Uuid::new_v4().simple()));
        let (tokens, granting) = grant().await?;
        Ok(BigQuery {
            server: Server::start(folder).await?,
            tokens,
            granting,
            key: private_key()?,
            destinations,
        })
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let config = json!({
            "project": PROJECT, "dataset": DATASET,
            "authentication": {"type": "service_account"},
            "tables": {"type": "single", "table": table(number)},
            "endpoint": self.server.url(),
            "storageEndpoint": format!("http://127.0.0.1:{}", self.server.grpc_port()),
        });
        let key = json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "0123456789abcdef",
            "private_key": self.key, "client_email": format!("loader@{PROJECT}.iam.gserviceaccount.com"),
            "token_uri": self.tokens,
        });
        (config, json!({"serviceAccountKey": key.to_string()}))
    }

    fn lead_astray(config: &mut Value, to: SocketAddr) {
        config["endpoint"] = json!(format!("http://{to}"));
        config["storageEndpoint"] = json!(format!("http://{to}"));
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let script = format!(
            r#"
there = {{item.table_id for item in client.list_tables(dataset)}}
for n in range({}):
    if f"events_{{n}}" in there:
        for row in query(f"SELECT event_id FROM `{{dataset}}.events_{{n}}`"): print(row[0])"#,
            self.destinations
        );
        Found::lines(&self.server.python(&script).await?)
    }

    type Stock = Writer;

    async fn stock(&self, number: u32) -> anyhow::Result<Writer> {
        let python = Venv::find_or_make("bigquery")?.command("python");
        let mut child = tokio::process::Command::from(python)
            .args(["-c", WRITER])
            .env("PROJECT", PROJECT)
            .env("DATASET", DATASET)
            .env("TABLE", table(number))
            .env("ENDPOINT", self.server.url())
            .env("GRPC", format!("127.0.0.1:{}", self.server.grpc_port()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting Python")?;
        let input = child.stdin.take().context("its input")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let mut writer = Writer {
            _child: child,
            input,
            output,
        };
        writer.answered("ready").await?;
        Ok(writer)
    }
}

/// Makes the table, opens a connection to its default stream, and appends a batch for each number of lines that it is told.
const WRITER: &str = r#"
import datetime, json, os, sys
import grpc
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, bigquery_storage_v1
from google.cloud.bigquery_storage_v1 import types, writer
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

project, dataset, name = os.environ["PROJECT"], os.environ["DATASET"], os.environ["TABLE"]
rest = bigquery.Client(project=project, credentials=AnonymousCredentials(),
    client_options={"api_endpoint": os.environ["ENDPOINT"]})
columns = {"event_id": "STRING", "event_type": "STRING", "occurred_at": "TIMESTAMP", "customer_external_id": "STRING",
    "source": "STRING", "payload": "JSON", "metadata": "JSON", "received_at": "TIMESTAMP"}
schema = [bigquery.SchemaField(column, kind) for column, kind in columns.items()]
rest.create_table(bigquery.Table(f"{project}.{dataset}.{name}", schema=schema), exists_ok=True)

file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto2")
described = file.message_type.add(name="Event")
Field = descriptor_pb2.FieldDescriptorProto
for number, (column, kind) in enumerate(columns.items(), 1):
    described.field.add(name=column, number=number, label=Field.LABEL_OPTIONAL,
        type=Field.TYPE_INT64 if kind == "TIMESTAMP" else Field.TYPE_STRING)
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Event = message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))

channel = grpc.insecure_channel(os.environ["GRPC"])
client = bigquery_storage_v1.BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
template = types.AppendRowsRequest(
    write_stream=f"projects/{project}/datasets/{dataset}/tables/{name}/streams/_default",
    proto_rows=types.AppendRowsRequest.ProtoData(writer_schema=types.ProtoSchema(proto_descriptor=described)))
stream = writer.AppendRowsStream(client, template)

def micros(text):
    time = datetime.datetime.fromisoformat(text)
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)

def row(line):
    event = json.loads(line)
    return Event(event_id=event["eventId"], event_type=event["eventType"], occurred_at=micros(event["occurredAt"]),
        customer_external_id=event["customerExternalId"], payload=json.dumps(event["payload"]),
        metadata=json.dumps(event["metadata"]), received_at=micros(event["receivedAt"])).SerializeToString()

print("ready", flush=True)
for count in sys.stdin:
    rows = types.ProtoRows(serialized_rows=[row(sys.stdin.readline()) for _ in range(int(count))])
    sent = stream.send(types.AppendRowsRequest(proto_rows=types.AppendRowsRequest.ProtoData(rows=rows)))
    sent.result(60)
    print("appended", flush=True)
"#;

/// `google-cloud-bigquery-storage`: an append to the default stream a batch.
pub struct Writer {
    /// Ends with this.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    async fn answered(&mut self, expected: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        anyhow::ensure!(
            line.trim_end() == expected,
            "the stock client said {line:?}"
        );
        Ok(())
    }
}

impl Stock for Writer {
    async fn send(&mut self, batch: &[Posted]) -> anyhow::Result<()> {
        let mut text = format!("{}\n", batch.len());
        for event in batch {
            text.push_str(&event.json);
            text.push('\n');
        }
        self.input.write_all(text.as_bytes()).await?;
        self.answered("appended").await
    }
}
