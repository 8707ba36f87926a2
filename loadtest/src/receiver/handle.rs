//! A receiver process and what one may ask of it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::arrival::ENCODED_LEN;
use super::{Arrival, Plan, Stats};

/// A running receiver. It ends when this is dropped.
pub struct Receiver {
    child: Child,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Receiver {
    /// Starts a receiver of `threads` threads on a free port of the loopback interface.
    pub async fn start(threads: usize) -> anyhow::Result<Self> {
        Self::start_with(threads, &[]).await
    }

    /// Starts one that verifies every signature, as a real one would; an arrival that does not pass is not consistent.
    pub async fn start_verifying(threads: usize) -> anyhow::Result<Self> {
        Self::start_with(threads, &["--verify"]).await
    }

    async fn start_with(threads: usize, extra: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["receiver", "--threads", &threads.to_string()])
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a receiver")?;
        let stdout = child
            .stdout
            .take()
            .context("the receiver has no standard output")?;
        let mut line = String::new();
        let read = BufReader::new(stdout);
        tokio::time::timeout(Duration::from_secs(10), { read }.read_line(&mut line)).await??;
        let Some(address) = line.trim().strip_prefix("listening ") else {
            bail!("the receiver did not say where it listens, but {line:?}");
        };
        // A dump of a million arrivals takes a second or two on a busy machine.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()?;
        Ok(Receiver {
            child,
            address: address.parse()?,
            http,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// The URL of a destination.
    pub fn url(&self, destination: u32) -> String {
        format!("http://{}/d/{destination}", self.address)
    }

    /// Replaces the plan; its times start now.
    pub async fn set_plan(&self, plan: &Plan) -> anyhow::Result<()> {
        self.post("plan", serde_json::to_vec(plan)?).await
    }

    /// Forgets all arrivals.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.post("clear", Vec::new()).await
    }

    pub async fn stats(&self) -> anyhow::Result<Stats> {
        Ok(serde_json::from_slice(&self.get("stats").await?)?)
    }

    /// Everything that arrived since the start or the last [`Receiver::clear`], in order per thread.
    pub async fn arrivals(&self) -> anyhow::Result<Vec<Arrival>> {
        let bytes = self.get("log").await?;
        let (records, rest) = bytes.as_chunks::<ENCODED_LEN>();
        anyhow::ensure!(
            rest.is_empty(),
            "the receiver's log ends in the middle of a record"
        );
        Ok(records.iter().map(Arrival::decode).collect())
    }

    async fn get(&self, name: &str) -> anyhow::Result<bytes::Bytes> {
        let url = format!("http://{}/_/{name}", self.address);
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .bytes()
            .await?)
    }

    async fn post(&self, name: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("http://{}/_/{name}", self.address);
        let response = self.http.post(url).body(body).send().await?;
        let status = response.status();
        anyhow::ensure!(
            status.is_success(),
            "the receiver refused {name}: {}",
            response.text().await?
        );
        Ok(())
    }
}
