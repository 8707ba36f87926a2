//! Apicurio Registry, which speaks Confluent's API under `/apis/ccompat/v7`, durable in an H2 file.

use std::path::PathBuf;
use std::time::Duration;

use crate::process::Process;
use crate::{Artifacts, Error, Java, ports};

const SERVER: &str = "the schema registry";
/// Where it speaks Confluent's API.
const API: &str = "/apis/ccompat/v7";
const READY_WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const PORT_TRIES: u32 = 3;

/// How a registry is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: PathBuf,
    port: u16,
    heap_mib: u32,
}

impl Builder {
    /// 0, the default, finds a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts it, and returns when it lists its subjects.
    pub async fn start(self) -> Result<Registry, Error> {
        let (java, artifacts) = (Java::find()?, Artifacts::find_or_fetch()?);
        std::fs::create_dir_all(&self.folder)
            .map_err(Error::io("create the folder", &self.folder))?;
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            let port = ports::claim(SERVER, self.port)?;
            let mut registry = Registry {
                java: java.clone(),
                artifacts: artifacts.clone(),
                builder: self.clone(),
                port,
                running: None,
            };
            match registry.restart().await {
                Err(error) if error.lost_its_port() && self.port == 0 && tries > 0 => continue,
                Err(error) => return Err(error),
                Ok(()) => return Ok(registry),
            }
        }
    }
}

/// A running registry. Dropping it kills it.
#[derive(Debug)]
pub struct Registry {
    java: Java,
    artifacts: Artifacts,
    builder: Builder,
    port: u16,
    running: Option<Process>,
}

impl Registry {
    /// A registry that keeps everything in `folder`.
    pub fn builder(folder: impl Into<PathBuf>) -> Builder {
        Builder {
            folder: folder.into(),
            port: 0,
            heap_mib: 192,
        }
    }

    /// What a stock registry client takes. Stays the same over a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{API}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Process::pid)
    }

    /// An error when it has ended by itself.
    pub fn alive(&self) -> Result<(), Error> {
        self.running.as_ref().map_or(Ok(()), Process::alive)
    }

    pub async fn stop(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.stop(STOP_WITHIN).await;
        }
    }

    pub async fn kill(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill().await;
        }
    }

    /// Starts it where it does not run, on the same port and data; returns when it serves.
    pub async fn restart(&mut self) -> Result<(), Error> {
        let process = match self.running.take() {
            Some(process) => process,
            None => Process::spawn(SERVER, self.command()?, &self.log()).await?,
        };
        let process = self.running.insert(process);
        let subjects = format!("http://127.0.0.1:{}{API}/subjects", self.port);
        process.until(READY_WITHIN, || serves(&subjects)).await
    }

    fn log(&self) -> PathBuf {
        self.builder.folder.join("registry.log")
    }

    fn command(&self) -> Result<std::process::Command, Error> {
        let folder = std::path::absolute(&self.builder.folder)
            .map_err(Error::io("resolve the folder", &self.builder.folder))?;
        let mut command = self.java.command();
        command
            .arg(format!("-Xmx{}m", self.builder.heap_mib))
            // It starts twice as fast without the optimising compiler, and answers a few requests an hour.
            .args([
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-XX:-UsePerfData",
                "-jar",
            ])
            .arg(self.artifacts.registry_jar())
            .current_dir(&folder)
            .env("QUARKUS_HTTP_HOST", "127.0.0.1")
            .env("QUARKUS_HTTP_PORT", self.port.to_string())
            // Without the delay of 0, a kill loses what was just registered.
            .env(
                "REGISTRY_DATASOURCE_URL",
                format!("jdbc:h2:file:{}/registry;WRITE_DELAY=0", folder.display()),
            );
        Ok(command)
    }
}

/// Whether it answers what a client asks first; its port is open long before.
async fn serves(subjects: &str) -> bool {
    let request = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build();
    let Ok(client) = request else { return false };
    match client.get(subjects).send().await {
        Ok(answer) if answer.status().is_success() => answer.json::<Vec<String>>().await.is_ok(),
        _ => false,
    }
}
