//! A server of one process that is told its port and answers HTTP: what most stand-ins for services are.
//!
//! A new one is a function that makes its command, and a path that it answers when it is ready.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{Error, ports};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(5);
const PORT_TRIES: u32 = 3;

/// How an emulator is started.
pub(crate) struct Spec {
    /// Its name in errors, and that of its log.
    pub(crate) server: &'static str,
    /// Where its log goes.
    pub(crate) folder: PathBuf,
    /// Runs it on a port of loopback.
    pub(crate) command: Box<dyn Fn(u16) -> Command + Send + Sync>,
    /// What it answers with a success when it is ready.
    pub(crate) ready_path: &'static str,
}

/// A running emulator. Dropping it kills it.
pub struct Emulator {
    spec: Spec,
    port: u16,
    running: Option<Process>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.spec.server, self.port)
    }
}

impl Emulator {
    /// Starts it on a free port, and returns when it answers.
    pub(crate) async fn start(spec: Spec) -> Result<Emulator, Error> {
        let folder = &spec.folder;
        std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
        let mut emulator = Emulator {
            spec,
            port: 0,
            running: None,
        };
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            emulator.port = ports::claim(emulator.spec.server, 0)?;
            match emulator.restart().await {
                Err(error) if error.lost_its_port() && tries > 0 => emulator.running = None,
                Err(error) => return Err(error),
                Ok(()) => return Ok(emulator),
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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

    /// Starts it where it does not run, on the same port; returns when it answers. What it keeps in memory is lost.
    pub async fn restart(&mut self) -> Result<(), Error> {
        let process = match self.running.take() {
            Some(process) => process,
            None => {
                let Spec { server, folder, .. } = &self.spec;
                let log = folder.join(format!("{server}.log"));
                Process::spawn(server, (self.spec.command)(self.port), &log).await?
            }
        };
        let process = self.running.insert(process);
        let url = format!("http://127.0.0.1:{}{}", self.port, self.spec.ready_path);
        process.until(READY_WITHIN, || answers(&url)).await
    }
}

async fn answers(url: &str) -> bool {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2));
    let Ok(client) = client.build() else {
        return false;
    };
    let answer = client.get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
