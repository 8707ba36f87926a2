//! Pushrail's services as processes: started, asked whether they are ready, killed and stopped.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::bed::Bed;
use crate::machine;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Ingest,
    Router,
    Sink,
    Retry,
    Control,
    Feed,
    Log,
    Replay,
}

impl Kind {
    /// Those that an event meets.
    pub const ALL: [Kind; 4] = [Kind::Ingest, Kind::Router, Kind::Sink, Kind::Retry];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ingest => "ingest",
            Kind::Router => "router",
            Kind::Sink => "sink",
            Kind::Retry => "retry",
            Kind::Control => "control",
            Kind::Feed => "feed",
            Kind::Log => "log",
            Kind::Replay => "replay",
        }
    }

    fn arguments(self, listen: SocketAddr, destinations: &str) -> Vec<String> {
        match self {
            Kind::Ingest => vec!["ingest".into(), "--listen".into(), listen.to_string()],
            Kind::Sink => [
                "sink",
                "--kind",
                destinations,
                "--allow-network",
                "127.0.0.0/8",
                "--allow-plaintext",
            ]
            .map(String::from)
            .to_vec(),
            Kind::Control => vec!["control".into(), "--listen".into(), listen.to_string()],
            Kind::Router | Kind::Retry | Kind::Feed | Kind::Log | Kind::Replay => {
                vec![self.name().into()]
            }
        }
    }
}

/// One process of a service.
pub struct Service {
    pub kind: Kind,
    /// Where ingest takes events, and the control plane requests.
    pub listen: SocketAddr,
    ops: SocketAddr,
    command: Command,
    child: Child,
    http: reqwest::Client,
    log: std::path::PathBuf,
    /// CPU that earlier processes of this service used, in microseconds.
    spent_us: u64,
}

impl Service {
    /// Starts a process with `extra` arguments, and returns when it is ready.
    pub async fn start(bed: &Bed, kind: Kind, label: &str, extra: &[&str]) -> anyhow::Result<Self> {
        Self::start_of(bed, kind, "webhook", label, extra).await
    }

    /// Starts the sink of another kind than webhooks.
    pub async fn sink(bed: &Bed, destinations: &str) -> anyhow::Result<Self> {
        let label = format!("sink-{destinations}");
        Self::start_of(bed, Kind::Sink, destinations, &label, &[]).await
    }

    async fn start_of(
        bed: &Bed,
        kind: Kind,
        destinations: &str,
        label: &str,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        let (listen, ops) = (free_address()?, free_address()?);
        let mut command = Command::new(&bed.binary);
        command
            .args(kind.arguments(listen, destinations))
            .args(extra)
            .env("PUSHRAIL_KAFKA", bed.bootstrap())
            .env("PUSHRAIL_REGISTRY", bed.registry.url())
            .env("PUSHRAIL_KEY_RING", &*bed.ring.to_text())
            .env("PUSHRAIL_OPS_LISTEN", ops.to_string())
            .env("PUSHRAIL_TRACE_RATIO", "0")
            .kill_on_drop(true)
            .stdin(Stdio::null());
        let log = bed.folder().join(format!("{label}.log"));
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let child = spawn(&mut command, &log)?;
        let mut service = Service {
            kind,
            listen,
            ops,
            command,
            child,
            http,
            log,
            spent_us: 0,
        };
        service.ready().await?;
        Ok(service)
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// CPU of all its processes so far, in microseconds.
    pub fn cpu_us(&self) -> u64 {
        self.spent_us + machine::cpu_us(self.pid())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status}; its last words:\n{}",
                    self.kind.name(),
                    self.last_words()
                );
            }
            let asked = self
                .http
                .get(format!("http://{}/readyz", self.ops))
                .send()
                .await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}:\n{}",
                    self.kind.name(),
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its `/metrics` page.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self
            .http
            .get(format!("http://{}/metrics", self.ops))
            .send()
            .await?
            .text()
            .await?)
    }

    /// A counter as it stands now, all its labels together.
    pub async fn total(&self, name: &str) -> anyhow::Result<u64> {
        let page = self.metrics().await?;
        lines_of(&page, name).for_each(|line| eprintln!("  {line}"));
        Ok(total_of(&page, name))
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.spent_us += machine::cpu_us(self.pid());
        self.child.kill().await.context("cannot kill a service")
    }

    /// SIGTERM; returns how long it took to end. One that fails or does not end in time is an error.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.spent_us += machine::cpu_us(self.pid());
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(pid as i32), Signal::SIGTERM)?;
        }
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => {
                Ok(started.elapsed())
            }
            Ok(status) => bail!(
                "{} ended with {status:?}:\n{}",
                self.kind.name(),
                self.last_words()
            ),
            Err(_) => {
                self.child.kill().await?;
                bail!(
                    "{} did not end within {STOP_WITHIN:?} of SIGTERM:\n{}",
                    self.kind.name(),
                    self.last_words()
                );
            }
        }
    }

    /// Starts it again, with the same arguments and addresses. Does not wait until it is ready.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&mut self.command, &self.log)?;
        Ok(())
    }

    /// Starts it again if it has ended by itself, as a supervisor would; says whether it had.
    pub fn revive(&mut self) -> anyhow::Result<bool> {
        let ended = self.child.try_wait()?;
        if let Some(status) = ended {
            eprintln!(
                "  {} had ended by itself with {status}; started again",
                self.kind.name()
            );
            self.start_again()?;
        }
        Ok(ended.is_some())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned();
        format!("{text}\n(log: {})", self.log.display())
    }
}

fn lines_of<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    page.lines().filter(move |line| line.starts_with(name))
}

/// What a page of metrics says of a counter or gauge, all its labels together.
pub fn total_of(page: &str, name: &str) -> u64 {
    lines_of(page, name)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

fn spawn(command: &mut Command, log: &std::path::Path) -> anyhow::Result<Child> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    command.stdout(open()?).stderr(open()?);
    command
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.as_std()))
}

/// An address that nobody listens on now. Kept over restarts, so that clients find a service again.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_out_of_a_metrics_page() {
        let page = "# TYPE sink_partitions gauge\nsink_partitions{kind=\"webhook\"} 3\nsink_partitions{kind=\"s3\"} 1\nother 9\n";
        assert_eq!(total_of(page, "sink_partitions"), 4);
    }
}
