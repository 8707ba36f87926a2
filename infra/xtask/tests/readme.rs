//! `services/README.md` says which test holds which invariant; a test that was renamed or removed must not leave it lying.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names in backticks with three underscores or more, which only tests have, from the part about invariants.
fn named_tests(readme: &str) -> Vec<&str> {
    let (_, invariants) = readme
        .split_once("## Invariants")
        .expect("a part about invariants");
    let (invariants, _) = invariants.split_once("\n## ").expect("a part behind it");
    let quoted = invariants.split('`').skip(1).step_by(2);
    let is_test = |name: &&str| {
        name.matches('_').count() >= 3
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    quoted.filter(is_test).collect()
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let readme = std::fs::read_to_string(root().join("services/README.md")).unwrap();
    let names = named_tests(&readme);
    assert!(names.len() > 30, "{names:?}");
    let mut grep = Command::new("git");
    grep.args(["grep", "--untracked", "-hoE", "fn [a-z0-9_]+", "--", "*.rs"]);
    let output = grep.current_dir(root()).output().expect("git grep");
    let functions = String::from_utf8_lossy(&output.stdout);
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            !functions
                .lines()
                .any(|line| line.strip_prefix("fn ") == Some(**name))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "named in services/README.md and nowhere else: {missing:#?}"
    );
}

#[test]
fn every_crate_of_services_is_on_the_map() {
    let readme = std::fs::read_to_string(root().join("services/README.md")).unwrap();
    let output = Command::new("git")
        .args(["ls-files", "services/*Cargo.toml"])
        .current_dir(root())
        .output()
        .unwrap();
    let manifests = String::from_utf8(output.stdout).unwrap();
    for manifest in manifests
        .lines()
        .filter(|path| !path.contains("/adapters/"))
    {
        let folder = manifest
            .trim_start_matches("services/")
            .trim_end_matches("/Cargo.toml");
        assert!(
            readme.contains(&format!("| `{folder}` |")),
            "{folder} is not on the map"
        );
    }
}
