//! Finds the Java that runs the servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Oldest major version that Kafka 4 runs on.
const MAJOR_MIN: u32 = 17;

/// A Java that is new enough.
#[derive(Clone, Debug)]
pub struct Java {
    executable: PathBuf,
}

impl Java {
    /// The one that `JAVA_HOME` names, else the `java` on the path. A `JAVA_HOME` that does not serve is an error, not
    /// passed over: whoever set it meant it.
    pub fn find() -> Result<Java, Error> {
        match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
            Some(home) => Java::at(Path::new(&home).join("bin/java")),
            None => Java::at(PathBuf::from("java")),
        }
    }

    fn at(executable: PathBuf) -> Result<Java, Error> {
        let shown = executable.display();
        let output = Command::new(&executable)
            .arg("-version")
            .output()
            .map_err(|_| Error::Java {
                found: match executable.is_absolute() {
                    true => format!("JAVA_HOME has none: {shown} does not run"),
                    false => {
                        "there is none: JAVA_HOME is not set and no java is on the PATH".into()
                    }
                },
            })?;
        match major(&String::from_utf8_lossy(&output.stderr)) {
            Some(major) if major >= MAJOR_MIN => Ok(Java { executable }),
            Some(major) => Err(Error::Java {
                found: format!("{shown} is Java {major}"),
            }),
            None => Err(Error::Java {
                found: format!("{shown} -version does not say its version"),
            }),
        }
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.executable)
    }
}

/// The major version in what `java -version` prints: `17` of `"17.0.15"`, `8` of `"1.8.0_372"`.
fn major(text: &str) -> Option<u32> {
    let version = text.split_once("version \"")?.1.split('"').next()?;
    let mut parts = version
        .split(['.', '-', '_', '+'])
        .map(|part| part.parse::<u32>().ok());
    match parts.next()?? {
        1 => parts.next()?,
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_age_are_read() {
        for (text, expected) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("java version \"1.8.0_372\"", Some(8)),
            ("openjdk version \"25-ea\" 2026-03-17", Some(25)),
            ("openjdk version \"21\" 2023-09-19", Some(21)),
            ("bash: java: command not found", None),
            ("", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_java_says_what_to_install() {
        let error = Java::at("/nowhere/bin/java".into())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere/bin/java") && error.contains("openjdk-17-jre-headless"),
            "{error}"
        );
    }
}
