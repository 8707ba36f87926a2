//! BigQuery on loopback: local-bigquery, which keeps tables in DuckDB and speaks the REST and the Storage Write API.
//!
//! It takes any credentials. Its Storage Write API has a port of its own, without TLS.

use std::path::PathBuf;

use crate::emulator::{Emulator, Spec};
use crate::{Error, Venv, ports};

/// The project and the dataset that are there from the start.
pub const PROJECT: &str = "pushrail-test";
pub const DATASET: &str = "pushrail";

/// What every script for [`BigQuery::python`] begins with: a client, the dataset, and a way to say what was found.
const PRELUDE: &str = r#"
import json, os, sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
client = bigquery.Client(project=os.environ["PROJECT"], credentials=AnonymousCredentials(),
    client_options={"api_endpoint": os.environ["ENDPOINT"]})
dataset = os.environ["PROJECT"] + "." + os.environ["DATASET"]
def query(sql): return [list(row.values()) for row in client.query_and_wait(sql)]
def say(found): print(json.dumps(found, default=str))
"#;

const SERVER: &str = "bigquery";
const PORT_TRIES: u32 = 3;

/// A running one.
#[derive(Debug)]
pub struct BigQuery {
    emulator: Emulator,
    grpc_port: u16,
}

impl BigQuery {
    /// Starts it on free ports, with log and data in `folder`. The first time ever, a minute passes while it is installed.
    pub async fn start(folder: impl Into<PathBuf>) -> Result<BigQuery, Error> {
        let made = tokio::task::spawn_blocking(|| Venv::find_or_make("bigquery")).await;
        let venv = made.map_err(|error| Error::Io {
            what: "wait for",
            path: "infra/servers/venv".into(),
            source: std::io::Error::other(error),
        })??;
        let folder = folder.into();
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            let grpc_port = ports::claim(SERVER, 0)?;
            let (venv, data) = (venv.clone(), folder.join("data"));
            let command = move |port: u16| {
                let mut command = venv.command("local-bigquery");
                command
                    .args(["serve", "--host", "127.0.0.1"])
                    .args(["--port", &port.to_string()])
                    .args(["--grpc-port", &grpc_port.to_string()])
                    .args(["--project", PROJECT, "--dataset", DATASET])
                    .arg("--data-dir")
                    .arg(&data)
                    // Where its environment keeps DuckDB's extensions.
                    .env("HOME", venv.folder());
                command
            };
            let started = Emulator::start(Spec {
                server: SERVER,
                folder: folder.clone(),
                command: Box::new(command),
                ready_path: "/bigquery/v2/projects/pushrail-test/datasets/pushrail",
            });
            match started.await {
                // It might have been the other port.
                Err(_) if tries > 0 => {}
                Err(error) => return Err(error),
                Ok(emulator) => {
                    return Ok(BigQuery {
                        emulator,
                        grpc_port,
                    });
                }
            }
        }
    }

    /// Of the REST API.
    pub fn url(&self) -> String {
        self.emulator.url()
    }

    /// Of the Storage Write API.
    pub fn grpc_port(&self) -> u16 {
        self.grpc_port
    }

    /// Runs a script with Google's client for Python, and returns what it said: `query(sql)` gives rows, `say(found)` says, in
    /// JSON.
    pub async fn python(&self, script: &str) -> Result<Vec<u8>, Error> {
        let script = format!("{PRELUDE}\n{script}");
        let endpoint = self.url();
        let variables = [
            ("ENDPOINT", endpoint.as_str()),
            ("PROJECT", PROJECT),
            ("DATASET", DATASET),
        ];
        Venv::find_or_make("bigquery")?
            .script("google-cloud-bigquery", &script, &variables)
            .await
    }
}
