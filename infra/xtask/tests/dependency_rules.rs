//! The architecture, held by a test over `cargo metadata`: who may depend on whom.
//!
//! The rules are a table. A crate that is not in it fails the test, so that a new crate is placed on purpose.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Every crate of ours, and the crates of ours that it may depend on when it runs. Tests may use more.
const ALLOWED: &[(&str, &[&str])] = &[
    // Contracts.
    ("pushrail-schemas", &[]),
    ("pushrail-topology", &["pushrail-schemas"]),
    ("pushrail-sink-core", &["pushrail-schemas"]),
    // Common: one job each, and nothing of a service.
    ("pushrail-clock", &[]),
    ("pushrail-http", &[]),
    ("pushrail-ledger", &[]),
    ("pushrail-obs", &[]),
    ("pushrail-payload-schema", &[]),
    ("pushrail-servers", &[]),
    ("pushrail-kafka", &["pushrail-ledger"]),
    (
        "pushrail-kafka-access",
        &["pushrail-kafka", "pushrail-schemas", "pushrail-topology"],
    ),
    ("pushrail-shred", &[]),
    ("pushrail-privacy", &["pushrail-schemas", "pushrail-shred"]),
    // Where the directory and the vault meet for whoever seals and opens events.
    (
        "pushrail-payload-keys",
        &[
            "pushrail-directory",
            "pushrail-schemas",
            "pushrail-shred",
            "pushrail-vault",
        ],
    ),
    ("pushrail-vault", &["pushrail-schemas"]),
    ("pushrail-settings", &["pushrail-kafka", "pushrail-obs"]),
    (
        "pushrail-directory",
        &[
            "pushrail-kafka",
            "pushrail-obs",
            "pushrail-schemas",
            "pushrail-topology",
        ],
    ),
    (
        "pushrail-admin",
        &[
            "pushrail-privacy",
            "pushrail-schemas",
            "pushrail-sink-core",
            "pushrail-vault",
        ],
    ),
    ("pushrail-store", &["pushrail-schemas"]),
    ("pushrail-testkit", &["*"]),
    // What adapters share.
    ("pushrail-egress", &["pushrail-http", "pushrail-sink-core"]),
    (
        "pushrail-aws",
        &[
            "pushrail-clock",
            "pushrail-egress",
            "pushrail-schemas",
            "pushrail-sink-core",
        ],
    ),
    (
        "pushrail-google",
        &[
            "pushrail-clock",
            "pushrail-egress",
            "pushrail-schemas",
            "pushrail-sink-core",
        ],
    ),
    // Sinks. The engine knows no adapter, an adapter knows no engine; the catalogue is where they meet.
    (
        "pushrail-sink-engine",
        &[
            "pushrail-clock",
            "pushrail-kafka",
            "pushrail-ledger",
            "pushrail-obs",
            "pushrail-privacy",
            "pushrail-schemas",
            "pushrail-shred",
            "pushrail-sink-core",
            "pushrail-topology",
        ],
    ),
    // For adapters' tests alone.
    (
        "pushrail-conformance",
        &["pushrail-schemas", "pushrail-sink-core"],
    ),
    ("pushrail-bigquery", ADAPTER),
    ("pushrail-kafka-destination", ADAPTER),
    ("pushrail-postgres", ADAPTER),
    ("pushrail-posthog", ADAPTER),
    ("pushrail-s3", ADAPTER),
    ("pushrail-sqs", ADAPTER),
    ("pushrail-webhook", ADAPTER),
    (
        "pushrail-sinks",
        &[
            "pushrail-bigquery",
            "pushrail-directory",
            "pushrail-kafka",
            "pushrail-kafka-destination",
            "pushrail-obs",
            "pushrail-payload-keys",
            "pushrail-postgres",
            "pushrail-posthog",
            "pushrail-s3",
            "pushrail-schemas",
            "pushrail-shred",
            "pushrail-sink-core",
            "pushrail-sink-engine",
            "pushrail-sqs",
            "pushrail-vault",
            "pushrail-webhook",
        ],
    ),
    // Services: they share contracts and common crates, and never each other.
    (
        "pushrail-ingest",
        &[
            "pushrail-clock",
            "pushrail-directory",
            "pushrail-http",
            "pushrail-kafka",
            "pushrail-obs",
            "pushrail-payload-keys",
            "pushrail-payload-schema",
            "pushrail-schemas",
            "pushrail-shred",
            "pushrail-topology",
            "pushrail-vault",
        ],
    ),
    ("pushrail-router", SERVICE),
    ("pushrail-retry", SERVICE),
    ("pushrail-feed", SERVICE),
    // What a replay of events delivers is what the router would: its code, and not a second opinion.
    (
        "pushrail-replay",
        &[
            "pushrail-clock",
            "pushrail-directory",
            "pushrail-kafka",
            "pushrail-obs",
            "pushrail-payload-keys",
            "pushrail-router",
            "pushrail-schemas",
            "pushrail-store",
            "pushrail-topology",
            "pushrail-vault",
        ],
    ),
    (
        "pushrail-log",
        &[
            "pushrail-clock",
            "pushrail-kafka",
            "pushrail-obs",
            "pushrail-schemas",
            "pushrail-store",
            "pushrail-topology",
        ],
    ),
    (
        "pushrail-control",
        &[
            "pushrail-admin",
            "pushrail-clock",
            "pushrail-http",
            "pushrail-kafka",
            "pushrail-kafka-access",
            "pushrail-obs",
            "pushrail-payload-schema",
            "pushrail-privacy",
            "pushrail-schemas",
            "pushrail-shred",
            "pushrail-sink-core",
            "pushrail-store",
            "pushrail-topology",
            "pushrail-vault",
        ],
    ),
    // Whatever puts services together.
    ("pushrail-dev", &["*"]),
    ("pushrail", &["*"]),
    ("pushrail-loadtest", &["*"]),
    ("xtask", &["pushrail-servers"]),
];

/// What an adapter may use: the contract, and helpers without a runtime service behind them.
const ADAPTER: &[&str] = &[
    "pushrail-aws",
    "pushrail-clock",
    "pushrail-egress",
    "pushrail-google",
    "pushrail-http",
    "pushrail-schemas",
    "pushrail-sink-core",
];

const SERVICE: &[&str] = &[
    "pushrail-clock",
    "pushrail-directory",
    "pushrail-http",
    "pushrail-kafka",
    "pushrail-ledger",
    "pushrail-obs",
    "pushrail-payload-keys",
    "pushrail-privacy",
    "pushrail-schemas",
    "pushrail-shred",
    "pushrail-topology",
    "pushrail-vault",
];

/// Clients of runtime services. None may be below `core`.
const RUNTIME_SERVICES: &[&str] = &["rdkafka", "rdkafka-sys", "hyper", "axum", "sqlx"];

/// Libraries that must be there once: two majors are twice the code, the pools and the bugs.
const ONCE: &[&str] = &[
    "apache-avro",
    "axum",
    "bytes",
    "http",
    "hyper",
    "hyper-util",
    "opentelemetry",
    "prometheus-client",
    "prost",
    "rdkafka",
    "reqwest",
    "rustls",
    "serde",
    "serde_json",
    "tokio",
    "tokio-rustls",
    "tracing",
    "uuid",
];

/// TLS and cryptography come from rustls on aws-lc-rs. OpenSSL is there for librdkafka alone.
const BANNED: &[&str] = &[
    "ring",
    "native-tls",
    "openssl",
    "tokio-native-tls",
    "hyper-tls",
    "tokio-openssl",
];

/// Lines of the binary's `main.rs`, at most.
const MAIN_LINES_MAX: usize = 30;

struct Graph {
    metadata: Metadata,
    /// What each package depends on when it runs.
    normal: HashMap<PackageId, Vec<PackageId>>,
}

impl Graph {
    fn read() -> Self {
        let metadata = MetadataCommand::new()
            .other_options([
                "--offline".to_owned(),
                "--filter-platform=x86_64-unknown-linux-gnu".to_owned(),
            ])
            .exec()
            .expect("cargo metadata");
        let resolve = metadata.resolve.as_ref().expect("a resolved graph");
        let is_normal = |kinds: &[cargo_metadata::DepKindInfo]| {
            kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        let normal = resolve
            .nodes
            .iter()
            .map(|node| {
                let deps = node.deps.iter().filter(|dep| is_normal(&dep.dep_kinds));
                (node.id.clone(), deps.map(|dep| dep.pkg.clone()).collect())
            })
            .collect();
        Graph { metadata, normal }
    }

    fn ours(&self) -> Vec<&Package> {
        self.metadata.workspace_packages()
    }

    fn our(&self, name: &str) -> &Package {
        let ours = self.ours();
        ours.into_iter()
            .find(|package| package.name.as_str() == name)
            .expect(name)
    }

    /// Everything that runs when `package` does.
    fn below(&self, package: &Package) -> BTreeSet<String> {
        let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![package.id.clone()];
        while let Some(id) = open.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            names.insert(self.metadata[&id].name.to_string());
            open.extend(self.normal.get(&id).into_iter().flatten().cloned());
        }
        names.remove(package.name.as_str());
        names
    }
}

#[test]
fn every_crate_depends_on_what_its_place_allows() {
    let graph = Graph::read();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let ours: BTreeSet<String> = graph
        .ours()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut broken = Vec::new();
    for package in graph.ours() {
        let Some(may) = allowed.get(package.name.as_str()) else {
            broken.push(format!(
                "{} has no place in the table of rules",
                package.name
            ));
            continue;
        };
        let uses = package
            .dependencies
            .iter()
            .filter(|dep| dep.kind == DependencyKind::Normal);
        for dep in uses.filter(|dep| ours.contains(&dep.name)) {
            if !may.contains(&"*") && !may.contains(&dep.name.as_str()) {
                broken.push(format!("{} must not depend on {}", package.name, dep.name));
            }
        }
    }
    for (name, _) in ALLOWED {
        if !ours.contains(*name) {
            broken.push(format!("{name} is in the table of rules and nowhere else"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Follows dependencies all the way, where the table looks at one step.
#[test]
fn the_engine_never_reaches_an_adapter_nor_an_adapter_the_engine() {
    let graph = Graph::read();
    let adapters: Vec<_> = graph
        .ours()
        .into_iter()
        .filter(|package| package.manifest_path.as_str().contains("/sinks/adapters/"))
        .collect();
    assert!(!adapters.is_empty(), "there is an adapter");
    let engine = graph.below(graph.our("pushrail-sink-engine"));
    for adapter in adapters {
        assert!(
            !engine.contains(adapter.name.as_str()),
            "the engine reaches {}",
            adapter.name
        );
        let below = graph.below(adapter);
        for forbidden in [
            "pushrail-sink-engine",
            "pushrail-kafka",
            "pushrail-directory",
            "pushrail-vault",
        ] {
            assert!(
                !below.contains(forbidden),
                "{} reaches {forbidden}",
                adapter.name
            );
        }
    }
    for vendor in ["reqwest", "rustls"] {
        let direct = &graph.our("pushrail-sink-engine").dependencies;
        assert!(
            direct.iter().all(|dep| dep.name != vendor),
            "the engine speaks {vendor}"
        );
    }
}

#[test]
fn the_contracts_need_no_runtime_service() {
    let graph = Graph::read();
    let core = graph.our("pushrail-sink-core");
    let direct: Vec<_> = core
        .dependencies
        .iter()
        .map(|dep| dep.name.as_str())
        .collect();
    for service in RUNTIME_SERVICES {
        assert!(!direct.contains(service), "core uses {service}");
    }
    for package in ["pushrail-sink-core", "pushrail-schemas"] {
        let below = graph.below(graph.our(package));
        for service in ["rdkafka", "axum", "sqlx"] {
            assert!(!below.contains(service), "{package} reaches {service}");
        }
        let ours: Vec<_> = below
            .iter()
            .filter(|name| name.starts_with("pushrail"))
            .collect();
        assert!(
            ours.iter().all(|name| *name == "pushrail-schemas"),
            "{package} reaches {ours:?}"
        );
    }
}

/// Asks `cargo tree`, which knows the features that are really on; `cargo metadata` unites those of tests and platforms.
#[test]
fn one_tls_provider_and_one_of_each_large_library() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package=pushrail",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    for banned in BANNED {
        assert!(
            !versions.contains_key(*banned),
            "the binary reaches {banned}"
        );
    }
    for name in ONCE {
        let versions = versions.get(*name).cloned().unwrap_or_default();
        assert_eq!(versions.len(), 1, "{name} is there as {versions:?}");
    }
}

#[test]
fn the_binary_is_almost_empty() {
    let main = root().join("services/pushrail/src/main.rs");
    let lines = std::fs::read_to_string(main).unwrap().lines().count();
    assert!(lines <= MAIN_LINES_MAX, "{lines} lines");
}

/// One place for versions, one for lints: a member repeats neither.
#[test]
fn members_inherit_versions_and_lints() {
    for package in Graph::read().ours() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} has lints of its own",
            package.name
        );
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !line.trim_start().starts_with('#') {
                let inherits = line.contains("workspace = true");
                assert!(
                    inherits,
                    "{}: {line}: versions belong to the workspace",
                    package.name
                );
            }
        }
    }
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
