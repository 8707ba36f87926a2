//! Dashboards and alerts name metrics; a metric that was renamed in code would leave them empty and silent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|ext| ext == extension) {
            found.push(path);
        }
    }
}

/// Every word in `text` that begins with one of `prefixes`.
fn names(text: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text
        .split(|c| !is_name(c))
        .filter(|word| word.contains('_'));
    let wanted = words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    wanted.map(str::to_owned).collect()
}

/// The name as code registers it: what Prometheus adds for counters and histograms is taken off.
fn registered(name: &str) -> &str {
    let endings = ["_total", "_bucket", "_sum", "_count"];
    endings
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}

/// Whether a source registers `name`, written out or put together as `"pushrail_directory_{name}"` from parts of the file.
fn is_registered(name: &str, sources: &[String]) -> bool {
    let literal = format!("\"{name}\"");
    sources.iter().any(|source| {
        let composed = name
            .char_indices()
            .filter(|(_, c)| *c == '_')
            .any(|(at, _)| {
                let (prefix, tail) = (&name[..=at], &name[at + 1..]);
                source.contains(&format!("\"{prefix}{{")) && source.contains(&format!("\"{tail}\""))
            });
        source.contains(&literal) || composed
    })
}

#[test]
fn every_metric_on_a_dashboard_or_in_an_alert_exists() {
    let mut sources = Vec::new();
    files(&root().join("services"), "rs", &mut sources);
    let sources: Vec<String> = sources
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let mut shown = Vec::new();
    files(&root().join("infra/dashboards"), "json", &mut shown);
    files(&root().join("infra/alerts"), "yaml", &mut shown);
    assert!(
        shown.len() >= 2,
        "there is a dashboard and a file of alerts"
    );
    let mut missing = Vec::new();
    for path in shown {
        let used = names(
            &std::fs::read_to_string(&path).unwrap(),
            &["pushrail_", "process_"],
        );
        assert!(
            used.len() > 10,
            "{} names metrics: {used:?}",
            path.display()
        );
        for name in used {
            if !is_registered(registered(&name), &sources) {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no code registers:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_test_itself_sees_a_renamed_metric() {
    let sources = [
        "registry.counter(\"pushrail_a_b\", ..)".to_owned(),
        "(\"x\", format!(\"pushrail_d_{name}\"))".to_owned(),
    ];
    assert!(is_registered("pushrail_a_b", &sources) && is_registered("pushrail_d_x", &sources));
    assert!(!is_registered("pushrail_a_c", &sources) && !is_registered("pushrail_d_y", &sources));
    assert_eq!(registered("pushrail_a_b_total"), "pushrail_a_b");
    let found = names(
        "sum(rate(pushrail_a_b_total{x=\"y\"}[5m])) + up",
        &["pushrail_"],
    );
    assert_eq!(found, BTreeSet::from(["pushrail_a_b_total".to_owned()]));
}
