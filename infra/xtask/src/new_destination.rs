//! The beginning of a destination type: a folder that compiles and fails its conformance suite, and its line in every list.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// What a new folder holds: where, and from which template.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("src/check.rs", include_str!("../template/src/check.rs")),
    (
        "src/classify.rs",
        include_str!("../template/src/classify.rs"),
    ),
    ("src/client.rs", include_str!("../template/src/client.rs")),
    ("src/config.rs", include_str!("../template/src/config.rs")),
    ("src/guide.md", include_str!("../template/src/guide.md")),
    (
        "tests/{kind}/main.rs",
        include_str!("../template/tests/main.rs"),
    ),
    (
        "tests/{kind}/conformance.rs",
        include_str!("../template/tests/conformance.rs"),
    ),
];

/// A line in a list, put before another one that is there.
struct Entry {
    file: &'static str,
    line: &'static str,
    before: &'static str,
}

const ENTRIES: [Entry; 6] = [
    Entry {
        file: "Cargo.toml",
        line: "pushrail-{crate} = { path = \"services/sinks/adapters/{kind}\" }\n",
        before: "pushrail-webhook = {",
    },
    Entry {
        file: "services/sinks/catalogue/Cargo.toml",
        line: "pushrail-{crate}.workspace = true\n",
        before: "pushrail-webhook.workspace",
    },
    Entry {
        file: "services/sinks/catalogue/src/adapters.rs",
        line: "\"{kind}\" => Some(Arc::new(pushrail_{module}::{Type}::new(context))),\n        ",
        before: "\"webhook\" =>",
    },
    Entry {
        file: "services/sinks/catalogue/src/adapters.rs",
        line: "\"{kind}\",\n    ",
        before: "\"webhook\",\n]",
    },
    Entry {
        file: "infra/xtask/tests/dependency_rules.rs",
        line: "(\"pushrail-{crate}\", ADAPTER),\n    ",
        before: "(\"pushrail-webhook\", ADAPTER)",
    },
    Entry {
        file: "infra/xtask/tests/dependency_rules.rs",
        line: "\"pushrail-{crate}\",\n            ",
        before: "\"pushrail-webhook\",\n        ],",
    },
];

/// Names of a kind, as each place writes it.
struct Names {
    kind: String,
    /// The crate's name behind `pushrail-`: the kind, unless another crate of ours has that name.
    of_crate: String,
    /// `nats_jet_stream` as `NatsJetStream`.
    type_name: String,
    label: String,
}

impl Names {
    /// `manifest` names the crates that there are.
    fn new(kind: &str, manifest: &str) -> anyhow::Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            kind.chars().all(fits)
                && kind.starts_with(|c: char| c.is_ascii_lowercase())
                && !kind.ends_with('_')
                && !kind.contains("__")
                && kind.len() <= 32,
            "{kind:?} is no name of a destination type: it must be lower-case words with _ between them, such as redis_streams"
        );
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let words = || kind.split('_').map(capital);
        let mut of_crate = kind.replace('_', "-");
        if manifest.contains(&format!("\npushrail-{of_crate} =")) {
            of_crate.push_str("-destination");
        }
        Ok(Names {
            kind: kind.to_owned(),
            of_crate,
            type_name: words().collect(),
            label: words().collect::<Vec<_>>().join(" "),
        })
    }

    fn write(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in [
            ("{kind}", self.kind.as_str()),
            ("{crate}", &self.of_crate),
            ("{module}", &self.of_crate.replace('-', "_")),
            ("{Type}", &self.type_name),
            ("{label}", &self.label),
        ] {
            text = text.replace(name, value);
        }
        text
    }
}

pub(crate) fn make(kind: &str) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (of_crate, written) = make_in(&root, kind)?;
    let folder = format!("services/sinks/adapters/{kind}");
    println!("Made {folder}, and its line in {} files:", written.len());
    for path in written {
        println!("  {}", path.strip_prefix(&root).unwrap_or(&path).display());
    }
    println!(
        "\nIt compiles, is in the catalogue, and fails what every destination type must do:\n\n  cargo test -p pushrail-{of_crate}\n\n\
         services/sinks/adapters/README.md says how to go on."
    );
    Ok(())
}

/// Makes the folder below `root`; gives the crate's name behind `pushrail-`, and the lists that have a line more. Everything
/// is read and judged before anything is written.
fn make_in(root: &Path, kind: &str) -> anyhow::Result<(String, Vec<PathBuf>)> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    let names = Names::new(kind, &manifest)?;
    let folder = root.join("services/sinks/adapters").join(kind);
    ensure!(!folder.exists(), "{} is there already", folder.display());
    let mut lists: Vec<(PathBuf, String)> = Vec::new();
    for Entry { file, line, before } in ENTRIES {
        let path = root.join(file);
        let at = match lists.iter().position(|(known, _)| *known == path) {
            Some(at) => at,
            None => {
                let text = fs::read_to_string(&path);
                lists.push((path.clone(), text.with_context(|| file.to_owned())?));
                lists.len() - 1
            }
        };
        let text = &mut lists[at].1;
        let place = text.find(before);
        let place =
            place.with_context(|| format!("{file} has no {before:?} to put a line before"))?;
        text.insert_str(place, &names.write(line));
    }
    for (path, text) in FILES {
        let path = folder.join(names.write(path));
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(&path, names.write(text)).with_context(|| path.display().to_string())?;
    }
    for (path, text) in &lists {
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    let written = lists.into_iter().map(|(path, _)| path).collect();
    Ok((names.of_crate, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists as they are, in a folder of their own.
    fn copy() -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for Entry { file, .. } in ENTRIES {
            let path = copy.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(root.join(file), path).unwrap();
        }
        copy
    }

    #[test]
    fn a_new_type_is_in_every_list() {
        let copy = copy();
        let (of_crate, written) = make_in(copy.path(), "redis_streams").unwrap();
        assert_eq!((of_crate.as_str(), written.len()), ("redis-streams", 4));
        for (path, text) in [
            (
                "Cargo.toml",
                "pushrail-redis-streams = { path = \"services/sinks/adapters/redis_streams\" }",
            ),
            (
                "services/sinks/catalogue/Cargo.toml",
                "pushrail-redis-streams.workspace = true",
            ),
            (
                "services/sinks/catalogue/src/adapters.rs",
                "\"redis_streams\" => Some(Arc::new(pushrail_redis_streams::RedisStreams::new(context))),",
            ),
            (
                "services/sinks/catalogue/src/adapters.rs",
                "    \"redis_streams\",\n    \"webhook\",\n]",
            ),
            (
                "infra/xtask/tests/dependency_rules.rs",
                "(\"pushrail-redis-streams\", ADAPTER),",
            ),
            (
                "services/sinks/adapters/redis_streams/src/lib.rs",
                "kind: \"redis_streams\",",
            ),
            (
                "services/sinks/adapters/redis_streams/tests/redis_streams/main.rs",
                "mod conformance;",
            ),
        ] {
            let there = fs::read_to_string(copy.path().join(path)).unwrap();
            assert!(there.contains(text), "{path} has no {text}");
        }
    }

    #[test]
    fn a_kind_whose_name_another_crate_has_gets_a_name_of_its_own() {
        let copy = copy();
        let (of_crate, _) = make_in(copy.path(), "ledger").unwrap();
        assert_eq!(of_crate, "ledger-destination");
        let read = |path: &str| fs::read_to_string(copy.path().join(path)).unwrap();
        for (path, text) in [
            (
                "Cargo.toml",
                "pushrail-ledger-destination = { path = \"services/sinks/adapters/ledger\" }",
            ),
            (
                "services/sinks/adapters/ledger/Cargo.toml",
                "name = \"pushrail-ledger-destination\"",
            ),
            (
                "services/sinks/adapters/ledger/src/lib.rs",
                "kind: \"ledger\",",
            ),
            (
                "services/sinks/catalogue/src/adapters.rs",
                "\"ledger\" => Some(Arc::new(pushrail_ledger_destination::Ledger::new(context))),",
            ),
        ] {
            assert!(read(path).contains(text), "{path} has no {text}");
        }
    }

    #[test]
    fn what_is_there_or_has_no_name_changes_nothing() {
        let copy = copy();
        let list = copy.path().join("Cargo.toml");
        let before = fs::read_to_string(&list).unwrap();
        for bad in ["", "Redis", "redis-streams", "1st", "a__b", "a_"] {
            assert!(make_in(copy.path(), bad).is_err(), "{bad}");
        }
        make_in(copy.path(), "nats").unwrap();
        let after = fs::read_to_string(&list).unwrap();
        assert!(make_in(copy.path(), "nats").is_err());
        assert_eq!(fs::read_to_string(&list).unwrap(), after);
        assert_ne!(before, after);
    }
}
