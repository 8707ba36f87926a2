//! The folder: made whole or not at all, and then served.
//!
//! ```text
//! password      of the superuser; for the owner of the folder only
//! data          what PostgreSQL keeps; belongs to the account that it runs as
//! data.new      the same while it is being made: whatever a crash left of it is thrown away
//! postgres.log
//! ```
//!
//! Every program is started *inside* `data` and told that its data is "where you are" (`/proc/self/cwd`). By its path the
//! account might not reach it: a folder for tests, the data folder of `pushrail dev` and root's home all keep others out of
//! everything below them. We open the folder with our own rights, and hand the child its place; PostgreSQL itself never
//! leaves it, nor do its processes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;
use super::{NAME, READY_WITHIN, SERVER};
use crate::Error;
use crate::process::Process;

pub(super) const FOLDER: &str = "data";
/// What it is called by whoever stands in it.
const HERE: &str = "/proc/self/cwd";

/// Given at every start, so that they are not in a file that an older version wrote.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    // No socket in the file system: by default it would be in /tmp, for everybody.
    "unix_socket_directories=",
    // Half of the default, for a machine that runs everything else too.
    "shared_buffers=64MB",
    "max_connections=100",
    // 1 GB by default, which a small database would fill before it begins again.
    "max_wal_size=256MB",
    "timezone=UTC",
    "log_timezone=UTC",
];

#[derive(Debug)]
pub(super) struct Data {
    /// Absolute, and locked for us.
    pub(super) folder: PathBuf,
    /// `bin`, `lib` and `share`, where the account can reach them.
    pub(super) programs: PathBuf,
    pub(super) account: Account,
}

impl Data {
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FOLDER)
    }

    /// Makes the database where there is none, and returns the superuser's password.
    pub(super) async fn prepare(&self) -> Result<String, Error> {
        let (data, kept) = (self.path(), self.folder.join("password"));
        let found = match std::fs::read_to_string(&kept) {
            Ok(password) => Some(password.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", kept)(error)),
        };
        match (data.exists(), found) {
            (true, Some(password)) => {
                self.account.own(&data)?;
                Ok(password)
            }
            (true, None) => Err(Error::NoPassword {
                data,
                password: kept,
            }),
            (false, found) => {
                // Hexadecimal: the same in a URL and in SQL.
                let password = found.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
                write_secret(&kept, &password).map_err(Error::io("write", &kept))?;
                self.make(&password).await?;
                Ok(password)
            }
        }
    }

    async fn make(&self, password: &str) -> Result<(), Error> {
        let new = self.folder.join("data.new");
        if new.exists() {
            std::fs::remove_dir_all(&new).map_err(Error::io("remove", &new))?;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&new)
            .map_err(Error::io("create the folder", &new))?;
        self.account.own(&new)?;
        let mut initdb = self.command("initdb", &new)?;
        initdb.args(["--pgdata", HERE, "--username", NAME, "--no-instructions"]);
        // Text is compared byte by byte, and cased as Unicode has it, the same on every system.
        initdb.args(["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]);
        initdb.arg("--builtin-locale=C.UTF-8");
        // With no way in but over TCP and with a password, initdb need not know the password yet.
        initdb.args(["--auth-local=reject", "--auth-host=scram-sha-256"]);
        self.finish(initdb, Stdio::null()).await?;
        let sql = format!("ALTER USER {NAME} PASSWORD '{password}'\nCREATE DATABASE {NAME}\n");
        let mut single = self.command("postgres", &new)?;
        single.args(["--single", "-D", HERE, "-c", "exit_on_error=on"]);
        // A statement that fails is logged; this one has the password in it.
        single.args(["-c", "log_min_error_statement=panic", "postgres"]);
        let input = piped(&sql).map_err(Error::io("make a pipe for", &new))?;
        self.finish(single, input).await?;
        let settle = || {
            std::fs::rename(&new, self.path())?;
            File::open(&self.folder)?.sync_all()
        };
        settle().map_err(Error::io("finish", &new))
    }

    /// Starts the server.
    pub(super) async fn serve(&self, port: u16) -> Result<Process, Error> {
        let data = self.path();
        forget_reused(&data)?;
        let mut command = self.command("postgres", &data)?;
        command.args(["-D", HERE, "-c", &format!("port={port}")]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Process::spawn(SERVER, command, &self.log()).await
    }

    /// Whether `pid` says that it takes connections, where PostgreSQL says so to its own tools: the last line of
    /// `postmaster.pid`. Its port is open long before, and its log may be translated.
    pub(super) fn is_served_by(&self, pid: u32) -> bool {
        let text = std::fs::read_to_string(pid_file(&self.path())).unwrap_or_default();
        text.lines().next() == Some(&pid.to_string())
            && text
                .lines()
                .nth(7)
                .is_some_and(|state| state.trim() == "ready")
    }

    /// One of PostgreSQL's programs, run by the account in `place`.
    fn command(&self, program: &str, place: &Path) -> Result<Command, Error> {
        let entered = File::open(place).map_err(Error::io("open", place))?;
        let mut command = Command::new(self.programs.join("bin").join(program));
        command.env("LC_ALL", "C");
        self.account.apply(&mut command);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is a system call.
        unsafe { command.pre_exec(move || Ok(nix::unistd::fchdir(&entered)?)) };
        Ok(command)
    }

    /// Runs a program to its end.
    async fn finish(&self, command: Command, input: Stdio) -> Result<(), Error> {
        let log = self.log();
        let mut process = Process::spawn_with("PostgreSQL's set-up", command, input, &log).await?;
        match tokio::time::timeout(READY_WITHIN, process.finished()).await {
            Ok(true) => Ok(()),
            Ok(false) => process.alive(),
            Err(_) => Err(Error::NotReady {
                server: "PostgreSQL's set-up",
                waited_s: READY_WITHIN.as_secs(),
                log,
            }),
        }
    }
}

fn pid_file(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}

/// Removes the `postmaster.pid` of a server that was killed when its id belongs to another program by now, which in a
/// container that was started again is likely: PostgreSQL would take that program for its predecessor and refuse. One that
/// is at work in this folder it finds, and we leave that to it.
fn forget_reused(data: &Path) -> Result<(), Error> {
    let path = pid_file(data);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let place = |path: &Path| {
        let folder = std::fs::metadata(path).ok()?;
        Some((folder.dev(), folder.ino()))
    };
    // None where there is no such process, or it is somebody else's: PostgreSQL sees through both.
    let pid = text.lines().next().unwrap_or_default();
    let works_in = place(Path::new(&format!("/proc/{pid}/cwd")));
    match works_in.is_some() && works_in != place(data) {
        true => std::fs::remove_file(&path).map_err(Error::io("remove", path)),
        false => Ok(()),
    }
}

/// Writes a file whole or not at all, for the owner only.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Something to read, which ends. It must fit into a pipe.
fn piped(text: &str) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text.as_bytes())?;
    Ok(reader.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_stranger_is_forgotten_and_that_of_a_server_kept() {
        let data = tempfile::tempdir().unwrap();
        let path = pid_file(data.path());
        forget_reused(data.path()).unwrap();
        std::fs::write(&path, format!("{}\n{HERE}\n", std::process::id())).unwrap();
        forget_reused(data.path()).unwrap();
        assert!(!path.exists(), "we do not work in that folder");
        let mut inside = Command::new("sleep")
            .arg("60")
            .current_dir(data.path())
            .spawn()
            .unwrap();
        std::fs::write(&path, format!("{}\n", inside.id())).unwrap();
        forget_reused(data.path()).unwrap();
        assert!(path.exists());
        inside.kill().unwrap();
        inside.wait().unwrap();
        forget_reused(data.path()).unwrap();
        assert!(path.exists(), "nobody has that id: PostgreSQL will see");
    }

    #[test]
    fn a_secret_is_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        write_secret(&path, "one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
    }
}
