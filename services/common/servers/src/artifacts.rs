//! Where the servers' files are: the folder that `infra/servers/fetch` fills.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// The pom that names the versions; `fetch` reads the same one.
const POM: &str = include_str!("../../../../infra/servers/pom.xml");
/// The script of the checkout that this was built from; an installed binary may find none there.
const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../infra/servers/fetch");

/// A folder with all servers in it.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Looks in `PUSHRAIL_SERVERS`, else in the cache (`PUSHRAIL_CACHE`, else `pushrail` in the user's cache folder).
    pub fn find() -> Result<Artifacts, Error> {
        let folder = match std::env::var_os("PUSHRAIL_SERVERS") {
            Some(folder) => PathBuf::from(folder),
            None => cache().join("servers").join(name()),
        };
        let artifacts = Artifacts { folder };
        match artifacts.parts().iter().all(|part| part.is_dir()) {
            true => Ok(artifacts),
            false => Err(Error::Missing {
                folder: artifacts.folder,
            }),
        }
    }

    /// Each appears whole or not at all.
    fn parts(&self) -> [PathBuf; 3] {
        [
            self.folder.join("kafka"),
            self.folder.join("registry"),
            self.postgres(),
        ]
    }

    /// Like [`Artifacts::find`], and fetches what is missing where the checkout is at hand. Blocks: some 10 s, once.
    pub fn find_or_fetch() -> Result<Artifacts, Error> {
        match Artifacts::find() {
            Err(Error::Missing { .. }) if Path::new(FETCH).is_file() => {
                fetch().and_then(|()| Artifacts::find())
            }
            found => found,
        }
    }

    /// Class path of Kafka and its tools.
    pub fn kafka_class_path(&self) -> String {
        format!("{}/*", self.folder.join("kafka").display())
    }

    pub(crate) fn registry_jar(&self) -> PathBuf {
        self.folder.join("registry").join(format!(
            "apicurio-registry-app-{}-runner.jar",
            version("registry")
        ))
    }

    /// What PostgreSQL calls its installation: `bin`, `lib` and `share`.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join(postgres_name())
    }
}

/// Of PostgreSQL's folder inside the folder of all servers.
pub(crate) fn postgres_name() -> String {
    format!("postgres-{}", version("postgres"))
}

fn fetch() -> Result<(), Error> {
    let path = Path::new(FETCH);
    let output = Command::new(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(Error::io("run", path))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Fetch {
            status: output.status.to_string(),
            tail: String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        }),
    }
}

fn cache() -> PathBuf {
    let path = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    path("PUSHRAIL_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("pushrail")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/pushrail")))
        .unwrap_or_else(|| std::env::temp_dir().join("pushrail"))
}

fn name() -> String {
    format!(
        "kafka-{}-registry-{}",
        version("kafka"),
        version("registry")
    )
}

fn version(of: &str) -> &'static str {
    let tag = format!("<{of}.version>");
    let after = POM.split_once(&tag).map_or("", |(_, after)| after);
    after.split('<').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_fetch_makes() {
        let script = std::fs::read_to_string(FETCH).unwrap();
        assert!(script.contains("kafka-$(version kafka)-registry-$(version registry)"));
        assert!(script.contains("postgres-$(version postgres)"));
        for of in ["kafka", "registry", "postgres"] {
            assert!(
                version(of).starts_with(|c: char| c.is_ascii_digit()),
                "{of}: {:?}",
                version(of)
            );
        }
    }
}
