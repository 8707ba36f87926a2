//! PostgreSQL, with one superuser and one database, both named `pushrail`, durable in a folder.
//!
//! It is reached over TCP on loopback alone, with a password that is drawn when the database is made and kept in the folder
//! for its owner: there is no socket in a shared place that another user of the machine could open. Who may do what inside
//! the database is the business of whoever makes its tables.

mod account;
mod data;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::process::Process;
use crate::{Artifacts, Error, FolderLock, ports};
use account::Account;
use data::Data;

const SERVER: &str = "PostgreSQL";
/// Superuser and database.
const NAME: &str = "pushrail";
/// A second as a rule; after a kill it replays its log first.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long the processes of one that was killed may need to notice; they have been seen to need some milliseconds.
const PAST_WITHIN: Duration = Duration::from_secs(10);
/// The first ends sessions, rolls back what they were doing and writes a checkpoint; the second leaves that to the next
/// start. SIGTERM, which would wait until every client has left, is not what a stop means here.
const STOP_BY: [(Signal, Duration); 2] = [
    (Signal::SIGINT, Duration::from_secs(15)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
];
const PORT_TRIES: u32 = 3;

/// How a PostgreSQL is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: PathBuf,
    port: u16,
}

impl Builder {
    /// 0, the default, finds a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Makes the database when the folder is new, starts the server, and returns when it takes connections.
    pub async fn start(self) -> Result<Postgres, Error> {
        let artifacts = Artifacts::find_or_fetch()?;
        let folder = std::path::absolute(&self.folder)
            .map_err(Error::io("resolve the folder", &self.folder))?;
        let lock = FolderLock::take(&folder)?;
        let account = Account::find(&folder.join(data::FOLDER))?;
        let data = Data {
            programs: account.programs(&artifacts)?,
            account,
            folder,
        };
        let mut postgres = Postgres {
            password: Password(data.prepare().await?),
            data,
            port: 0,
            running: None,
            _lock: lock,
        };
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            postgres.port = ports::claim_after_a_kill(SERVER, self.port).await?;
            match postgres.restart().await {
                Err(error) if error.lost_its_port() && self.port == 0 && tries > 0 => {
                    postgres.running = None;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(postgres),
            }
        }
    }
}

/// A running PostgreSQL. Dropping it kills it, and loses nothing that was committed; [`Postgres::stop`] spares the next
/// start the replay of its log.
#[derive(Debug)]
pub struct Postgres {
    data: Data,
    password: Password,
    port: u16,
    running: Option<Process>,
    _lock: FolderLock,
}

/// Never shown but as part of the URL.
struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Postgres {
    /// A PostgreSQL that keeps everything in `folder`, which it takes for itself: a second one there is refused.
    pub fn builder(folder: impl Into<PathBuf>) -> Builder {
        Builder {
            folder: folder.into(),
            port: 0,
        }
    }

    /// What a stock client takes, the superuser's password included: a secret. Stays the same over a restart.
    pub fn url(&self) -> String {
        let Password(password) = &self.password;
        format!(
            "postgres://{NAME}:{password}@127.0.0.1:{}/{NAME}",
            self.port
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Id of the process that all others of the server are children of, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Process::pid)
    }

    /// An error when it has ended by itself.
    pub fn alive(&self) -> Result<(), Error> {
        self.running.as_ref().map_or(Ok(()), Process::alive)
    }

    /// Ends all sessions and stops it in order.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.stop_by(&STOP_BY).await;
        }
    }

    /// Kills it, as a power cut would (what the kernel holds is not lost).
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill().await;
        }
    }

    /// Starts it where it does not run, on the same port and data; returns when it takes connections.
    pub async fn restart(&mut self) -> Result<(), Error> {
        let until = Instant::now() + PAST_WITHIN;
        loop {
            match self.run().await {
                Err(error) if error.met_its_past() && Instant::now() < until => {
                    self.running = None;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        let process = match &mut self.running {
            Some(process) => process,
            none => none.insert(self.data.serve(self.port).await?),
        };
        let (data, pid) = (&self.data, process.pid());
        process
            .until(READY_WITHIN, || std::future::ready(data.is_served_by(pid)))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_by_accident() {
        assert_eq!(format!("{:?}", Password("hunter2".into())), "***");
    }
}
