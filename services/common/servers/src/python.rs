//! Servers that come from Python's registry, each in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// The script of the checkout that this was built from.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../infra/servers/venv");

/// A folder with Python and what `infra/servers/python/NAME.txt` lists.
#[derive(Clone, Debug)]
pub struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// Makes it where it is missing. Blocks: nearly no time when it is there, a minute when it is not.
    pub fn find_or_make(name: &str) -> Result<Venv, Error> {
        let path = Path::new(SCRIPT);
        let output = Command::new(path)
            .arg(name)
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io("run", path))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(Venv {
                folder: text(&output.stdout).into(),
            }),
            false => Err(Error::Venv {
                name: name.to_owned(),
                status: output.status.to_string(),
                tail: text(&output.stderr),
            }),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that runs one of its programs: `python`, or what a package brings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join("bin").join(program));
        // What somebody has set for other Pythons, and for AWS, is not for this one.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PYTHON") || name.starts_with("AWS_") {
                command.env_remove(&*name);
            }
        }
        command
    }

    /// Runs a script of its Python, with these variables, and returns what it wrote. `name` is what errors call it.
    pub(crate) async fn script(
        &self,
        name: &'static str,
        script: &str,
        variables: &[(&str, &str)],
    ) -> Result<Vec<u8>, Error> {
        let output = tokio::process::Command::from(self.command("python"))
            .args(["-c", script])
            .envs(variables.iter().copied())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("run", "python"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(Error::Script {
                name,
                status: output.status.to_string(),
                tail: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
        }
    }
}
