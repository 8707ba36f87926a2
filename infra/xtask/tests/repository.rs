//! What may be in the repository: nothing of the machine it was written on, and no file that outgrew its job.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file, at most. The usual file has some 140; one that comes here has two jobs.
const LINES_MAX: usize = 700;
/// From here on a file is named, so that somebody looks.
const LINES_LONG: usize = 500;

const SOURCES: &[&str] = &["rs", "py", "sh", "ts", "tsx", "toml", "yaml", "yml", "md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file that git knows.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git");
    assert!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("names in UTF-8");
    let paths = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root().join(name));
    // A file that is deleted and not committed yet is still listed.
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn no_machine_is_in_the_repository() {
    // Put together here, so that this file does not contain them.
    let forbidden: Vec<String> = [
        "/ro|ot/",
        "/wo|rk/",
        "/ho|me/",
        "/Us|ers/",
        "index-|url",
        "extra-index-|url",
        "arti|factory",
        "<mir|ror>",
    ]
    .iter()
    .map(|text| text.replace('|', ""))
    .collect();
    let mut found = Vec::new();
    for path in tracked() {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if forbidden.iter().any(|text| line.contains(text.as_str())) {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(
        found.is_empty(),
        "paths or hosts of a machine:\n{}",
        found.join("\n")
    );
}

#[test]
fn dependencies_come_from_the_public_registries() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    for line in lock.lines().filter(|line| line.starts_with("source = ")) {
        assert_eq!(line, public);
    }
}

#[test]
fn no_file_outgrew_its_job() {
    let mut too_long = Vec::new();
    for path in tracked() {
        let name = path
            .strip_prefix(root())
            .unwrap_or(&path)
            .display()
            .to_string();
        let is_source = path
            .extension()
            .is_some_and(|ext| SOURCES.iter().any(|known| ext == *known));
        let is_data = name.contains("results/")
            || name.contains("dashboards/")
            || name.ends_with("-lock.json");
        if !is_source || is_data {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match text.lines().count() {
            lines if lines > LINES_MAX => too_long.push(format!("{name}: {lines} lines")),
            lines if lines > LINES_LONG => println!("long: {name}: {lines} lines"),
            _ => {}
        }
    }
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
}
