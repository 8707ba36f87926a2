//! A server's process: started so that it cannot outlive us, and does not hear our Ctrl-C.
//!
//! Two things must hold. When we die, however we die, the server dies too: the kernel sends it SIGKILL
//! (`PR_SET_PDEATHSIG`). The kernel means the *thread* that started it, so each server gets a thread of its own, which
//! starts it and then waits for its end; a runtime's worker threads come and go. And Ctrl-C in a terminal goes to the whole
//! process group: the server gets its own, so that it is there until we have drained.

use std::fs::OpenOptions;
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::Error;
use crate::error::tail;

/// A log that is larger than this when its server starts is put aside as `.old`.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often one that starts is asked whether it is ready.
const ASKED_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Process {
    server: &'static str,
    log: PathBuf,
    pid: Pid,
    /// Held while a signal is sent and while the end is collected, so that no signal goes to a stranger with the same id.
    running: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub(crate) async fn spawn(
        server: &'static str,
        command: Command,
        log: &Path,
    ) -> Result<Process, Error> {
        Process::spawn_with(server, command, Stdio::null(), log).await
    }

    /// As [`Process::spawn`], with something to read.
    pub(crate) async fn spawn_with(
        server: &'static str,
        mut command: Command,
        input: Stdio,
        log: &Path,
    ) -> Result<Process, Error> {
        if std::fs::metadata(log).is_ok_and(|file| file.len() > LOG_BYTES_MAX) {
            std::fs::rename(log, log.with_extension("log.old"))
                .map_err(Error::io("rename", log))?;
        }
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output = open().map_err(Error::io("open", log))?;
        let errors = output.try_clone().map_err(Error::io("open", log))?;
        command
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let parent = getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two system calls.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // We may have died before the line above: then nobody will ever send the signal.
                if getppid() != parent {
                    return Err(std::io::Error::other("the parent has died"));
                }
                Ok(())
            });
        }
        let running = Arc::new(Mutex::new(true));
        let (end, ended) = watch::channel(None);
        let (started, start) = oneshot::channel();
        let held = running.clone();
        std::thread::Builder::new()
            .name(format!("{server} keeper"))
            .spawn(move || keep(command, started, &held, &end))
            .map_err(Error::io("start a thread for", log))?;
        let failed = || std::io::Error::other("the thread that starts it has ended");
        let pid = start
            .await
            .unwrap_or_else(|_| Err(failed()))
            .map_err(Error::io("start the server of", log))?;
        Ok(Process {
            server,
            log: log.to_owned(),
            pid,
            running,
            ended,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// An error when it has ended by itself.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        match *self.ended.borrow() {
            None => Ok(()),
            Some(status) => Err(Error::Died {
                server: self.server,
                status: status.to_string(),
                log: self.log.clone(),
                tail: tail(&self.log),
            }),
        }
    }

    /// Waits until it is `ready`: an error when it has ended by itself, or is not ready `within` that.
    pub(crate) async fn until<F: Future<Output = bool>>(
        &self,
        within: Duration,
        mut ready: impl FnMut() -> F,
    ) -> Result<(), Error> {
        let until = Instant::now() + within;
        while !ready().await {
            self.alive()?;
            if Instant::now() > until {
                return Err(Error::NotReady {
                    server: self.server,
                    waited_s: within.as_secs(),
                    log: self.log.clone(),
                });
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
        Ok(())
    }

    /// SIGTERM, and SIGKILL when it has not ended `within` that. Returns when it has ended.
    pub(crate) async fn stop(&mut self, within: Duration) {
        self.stop_by(&[(Signal::SIGTERM, within)]).await;
    }

    /// Each signal in turn, with the time that it is given; SIGKILL after the last. Returns when it has ended.
    pub(crate) async fn stop_by(&mut self, signals: &[(Signal, Duration)]) {
        for (signal, within) in signals {
            self.signal(*signal);
            if tokio::time::timeout(*within, self.end()).await.is_ok() {
                return;
            }
            tracing::warn!(
                server = self.server,
                signal = signal.as_str(),
                within_s = within.as_secs(),
                "server.stuck: it did not stop in time"
            );
        }
        self.kill().await;
    }

    /// SIGKILL. Returns when it has ended.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.end().await;
    }

    /// Waits for the end; whether it was a success.
    pub(crate) async fn finished(&mut self) -> bool {
        self.end().await;
        self.ended.borrow().is_some_and(|status| status.success())
    }

    async fn end(&mut self) {
        // An error means that the keeper is gone, and it goes last.
        let _ = self.ended.wait_for(Option::is_some).await;
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running {
            // It may have ended by itself a moment ago; that is what was wanted.
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Starts the process and waits for its end, on a thread that lives as long as it.
fn keep(
    mut command: Command,
    started: oneshot::Sender<std::io::Result<Pid>>,
    running: &Mutex<bool>,
    end: &watch::Sender<Option<ExitStatus>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let pid = Pid::from_raw(child.id() as i32);
    let _ = started.send(Ok(pid));
    // Waits without collecting: until it is collected, its id belongs to nobody else.
    while let Err(nix::errno::Errno::EINTR) =
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {}
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    *running = false;
    let status = child.wait().unwrap_or_default();
    end.send_replace(Some(status));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        let mut process = Process::spawn("test", shell(script), &log).await.unwrap();
        while !tail(&log).contains("up") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.stop(Duration::from_millis(50)).await;
        let error = process.alive().unwrap_err().to_string();
        assert!(
            error.contains("signal: 9") && error.contains("up"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_server_that_dies_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        let mut process = Process::spawn("test", shell("echo no disk left; exit 3"), &log)
            .await
            .unwrap();
        process.end().await;
        let error = process.alive().unwrap_err().to_string();
        assert!(
            error.contains("no disk left") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    /// The runtime whose thread asked for the server ends; the server must not.
    #[test]
    fn a_server_outlives_the_runtime_that_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        let spawn = || {
            tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(Process::spawn("test", shell("sleep 60"), &log))
        };
        let process = std::thread::scope(|scope| scope.spawn(spawn).join().unwrap()).unwrap();
        process.alive().unwrap();
        kill(process.pid, None).unwrap();
    }
}
