//! What can go wrong with the servers, each with its fix in the text.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "Kafka and the registry need Java 17 or newer, and {found}. Install one (Debian, Ubuntu: sudo apt-get install \
         openjdk-17-jre-headless) or point JAVA_HOME at one"
    )]
    Java { found: String },
    #[error("Kafka, the registry and PostgreSQL are not all in {}: run infra/servers/fetch, which puts them there", .folder.display())]
    Missing { folder: PathBuf },
    #[error("infra/servers/fetch failed ({status}); its last lines:\n{tail}")]
    Fetch { status: String, tail: String },
    #[error("infra/servers/venv {name} failed ({status}); its last lines:\n{tail}")]
    Venv {
        name: String,
        status: String,
        tail: String,
    },
    #[error("a script of {name} failed ({status}); its last lines:\n{tail}")]
    Script {
        name: &'static str,
        status: String,
        tail: String,
    },
    #[error("port {port}, which {server} would listen on, is taken by another process")]
    PortTaken { server: &'static str, port: u16 },
    #[error("another pushrail runs on the folder {} ({holder})", .folder.display())]
    Locked { folder: PathBuf, holder: String },
    #[error("{server} ended by itself ({status}); its log is {}, and ends so:\n{tail}", .log.display())]
    Died {
        server: &'static str,
        status: String,
        log: PathBuf,
        tail: String,
    },
    #[error("{server} did not become ready within {waited_s} s; its log is {}", .log.display())]
    NotReady {
        server: &'static str,
        waited_s: u64,
        log: PathBuf,
    },
    #[error(
        "PostgreSQL refuses to run as root, and this system has neither a user postgres nor a user nobody to run it as: \
         add one (useradd --system postgres), or be somebody else than root"
    )]
    NoUser,
    #[error(
        "the password of the database in {} is not in {} any more: put it back, or remove the database to begin with an \
         empty one", .data.display(), .password.display()
    )]
    NoPassword { data: PathBuf, password: PathBuf },
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }

    /// Whether a server that was given a free port lost it to somebody else before it could listen.
    pub(crate) fn lost_its_port(&self) -> bool {
        matches!(self, Error::Died { tail, .. }
            if tail.contains("Address already in use") || tail.contains("already bound"))
    }

    /// Whether the processes of a PostgreSQL that was killed are still there, which takes them some milliseconds to notice.
    pub(crate) fn met_its_past(&self) -> bool {
        matches!(self, Error::Died { tail, .. }
            if tail.contains("pre-existing shared memory block") || tail.contains("\"postmaster.pid\" already exists"))
    }
}

/// The end of a log, for an error's text: at most 20 lines and 4 KiB.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
