//! A BigQuery of this process, and the stock client that looks at it.

use std::net::{Ipv4Addr, SocketAddr};

use pushrail_servers::bigquery::{BigQuery as Server, DATASET, PROJECT};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::folder::Folder;

/// An emulator of this process.
#[derive(Debug)]
pub struct BigQuery {
    server: Server,
    _folder: Folder,
}

/// The one that all tests of a process share; it takes any credentials. Use tables that are yours alone.
pub async fn bigquery() -> &'static BigQuery {
    static SHARED: OnceCell<BigQuery> = OnceCell::const_new();
    let start = || async {
        let folder = Folder::new();
        let server = Server::start(folder.path()).await;
        BigQuery {
            server: server.expect("local-bigquery starts"),
            _folder: folder,
        }
    };
    SHARED.get_or_init(start).await
}

impl BigQuery {
    /// Of the REST API.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Of the Storage Write API.
    pub fn grpc(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.grpc_port()).into()
    }

    pub fn project(&self) -> &'static str {
        PROJECT
    }

    pub fn dataset(&self) -> &'static str {
        DATASET
    }

    /// What a query gives, by rows, over the REST API. Every value is text, as it is there.
    pub async fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let url = format!("{}/bigquery/v2/projects/{PROJECT}/queries", self.url());
        let asked = json!({
            "query": sql,
            "useLegacySql": false,
            "maxResults": 100_000,
            "defaultDataset": {"projectId": PROJECT, "datasetId": DATASET},
        });
        let client = reqwest::Client::builder().no_proxy().build();
        let answer = client
            .expect("a client")
            .post(url)
            .json(&asked)
            .send()
            .await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        assert!(answer["error"].is_null(), "{sql}: {answer}");
        let cells = |row: &Value| {
            let cells = row["f"].as_array().expect("cells");
            cells.iter().map(|cell| cell["v"].clone()).collect()
        };
        let rows = answer["rows"].as_array();
        rows.into_iter().flatten().map(cells).collect()
    }

    /// Runs a script with Google's client for Python, and returns what it said: `query(sql)` gives rows, `say(found)` says.
    pub async fn python(&self, script: &str) -> Value {
        let said = self.server.python(script).await;
        let said = said.unwrap_or_else(|error| panic!("{script}\n{error}"));
        match said.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&said).expect("what was said is JSON"),
        }
    }
}
