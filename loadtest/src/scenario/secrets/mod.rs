//! Secrets: recognisable credentials are planted everywhere one can be, used, mistyped and echoed by receivers; then
//! everything that was stored, sent, logged or answered is searched for them.

mod places;
mod planted;
mod story;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use self::places::{Search, Searched};
use self::planted::{Finding, Planted};
use self::story::{CUSTOMER, STATUSES, Story};
use super::{Options, wait};
use crate::generator::{self, http};
use crate::keeper::{Keeper, Reply};
use crate::plane::Plane;
use crate::report::Report;
use crate::services::Kind;

/// Files that are sparse, hold offsets alone, or are where a secret is kept on purpose.
const SKIPPED: [&str; 3] = [".index", ".timeindex", "/postgres/password"];

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let events = if options.quick { 15 } else { 400 };
    let mut planted = Planted::default();
    let traces = Keeper::start(|_| Reply::status(200)).await?;
    let tokens = STATUSES.map(|status| (status, planted.fresh(&format!("access token {status}"))));
    let answered = tokens.clone();
    let keeper = Keeper::start(move |kept| story::echo(kept, &answered)).await?;
    // Not asked for by these servers, but known to every service.
    let sasl = format!("sasl.password={}", planted.fresh("Kafka password"));
    let registry = planted.fresh("registry password");
    let collector = traces.url("");
    let watched = [
        "--log",
        "debug",
        "--otlp-endpoint",
        &collector,
        "--trace-ratio",
        "1",
        "--kafka-property",
        &sasl,
    ];
    let with_registry = [
        "--registry-user",
        "service",
        "--registry-password",
        &registry,
    ];
    let control = [&watched[..], &with_registry[..]].concat();
    let plane = Plane::start("secrets", &control).await?;
    planted.add("API key of the tenant", &plane.bed.api_key);
    planted.add("operator's key", &plane.admin_key);
    planted.add("database password", password(&plane.postgres.url())?);
    let ring = plane.bed.ring.to_text();
    for key in ring.split(',') {
        let (_, key) = key.split_once(':').context("a key ring of id:key")?;
        planted.add("key of the key ring", key);
    }
    let mut services = plane.services(&watched).await?;
    services.push(plane.service(Kind::Feed, &watched).await?);
    let ingest = services[0].listen;
    let through = plane.through(&services[0])?;

    let mut story = Story {
        planted: &mut planted,
        answers: Vec::new(),
        refused: 0,
    };
    eprintln!("  planting");
    story.plant(&through, &keeper).await?;
    let sent = deliveries(&plane, ingest, events).await?;
    eprintln!("  mistakes");
    story.mistakes(&plane.tenant, &through).await?;
    let limit = Duration::from_secs(if options.quick { 8 } else { 60 });
    let left = wait::settled(&plane.bed.bootstrap(), limit).await?;
    story.read(&plane.tenant, &plane.operator).await?;
    let (answers, refused) = (story.answers, story.refused);
    plane.told().await?;
    let mut pages = Vec::new();
    for service in services.iter().chain([&plane.control]) {
        pages.push((
            format!("metrics of {}", service.kind.name()),
            service.metrics().await?,
        ));
    }
    pages.push((
        "--print-config".to_owned(),
        print_config(&plane, &control).await?,
    ));
    // What they hold back of logs and traces is written when they stop.
    for service in &mut services {
        service.stop().await?;
    }

    eprintln!("  searching");
    let needles = planted.needles()?;
    let mut search = Search {
        needles: &needles,
        findings: Vec::new(),
        searched: Vec::new(),
    };
    search.kafka(&plane.bed.bootstrap())?;
    search.database(&mut plane.database().await?).await?;
    search.place("logs of the services at debug", "lines");
    let debugged = logs(&mut search, plane.bed.folder())?;
    search.place("exported traces", "requests");
    for kept in traces.kept(0) {
        search.look(&kept.body, &format!("traces {}", kept.path), &[]);
    }
    search.place("metrics and --print-config", "pages");
    for (what, page) in &pages {
        search.look(page.as_bytes(), what, &[]);
    }
    search.place("answers of the API but for what they show once", "answers");
    for answer in &answers {
        search.look(answer.text.as_bytes(), &answer.what, &answer.shown);
    }
    search.place("files of Kafka, PostgreSQL and the registry", "files");
    for server in ["kafka", "postgres", "registry"] {
        search.files(&plane.bed.folder().join(server), &SKIPPED)?;
    }
    let Search {
        findings, searched, ..
    } = search;
    let echoed = keeper.kept(0);
    let requests = echoed.len();
    // A search that finds nothing must be one that would have found something.
    let mut seen = Vec::new();
    for kept in &echoed {
        let text = format!("{:?}", kept.headers);
        needles.search(text.as_bytes(), &kept.path, &[], &mut seen);
    }
    plane.stop().await?;

    let mut report = report(options, &planted, needles.len(), &searched, &findings);
    report.at_least(
        "secrets that receivers were seen to get",
        distinct(&seen) as f64,
        10.0,
        "",
    );
    report.at_least("lines of logs at debug", debugged as f64, 1.0, "");
    report.note(format!(
        "{} events to {} destinations made {requests} requests to receivers and token endpoints, which answered with every \
         credential that they had been sent; {} deliveries were still owed. {refused} requests had a secret where it does not belong. {} traces were exported.",
        sent,
        STATUSES.len() * 7,
        left.total(),
        traces.count()
    ));
    report.data = json!({"findings": findings, "searched": searched});
    Ok(report)
}

async fn deliveries(
    plane: &Plane,
    ingest: std::net::SocketAddr,
    events: u64,
) -> anyhow::Result<usize> {
    anyhow::ensure!(
        CUSTOMER == crate::sample::customer(0),
        "the load is for another customer"
    );
    let load = http::Load {
        ingest,
        api_key: plane.bed.api_key.clone(),
        connections: 4,
        first: 0,
        events,
        batch: 1,
        per_second: Some(10.0),
        payload_len: 200,
        customers: 1,
        keys: None,
        patience: Duration::from_secs(30),
    };
    let sent = generator::on_own_thread(move || http::run(load)).await?;
    Ok(sent.accepted.len())
}

fn password(url: &str) -> anyhow::Result<&str> {
    let user = url
        .split_once("//")
        .and_then(|(_, rest)| rest.split_once('@'));
    let password = user.and_then(|(user, _)| user.split_once(':'));
    Ok(password.context("a URL with a password")?.1)
}

/// What an operator sees who asks for the settings.
async fn print_config(plane: &Plane, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(&plane.bed.binary)
        .args(["control", "--print-config"])
        .args(arguments)
        .env("PUSHRAIL_KEY_RING", &*plane.bed.ring.to_text())
        .env("PUSHRAIL_DATABASE_URL", plane.postgres.url())
        .env("PUSHRAIL_ADMIN_KEY", &plane.admin_key)
        .output()
        .await?;
    let said = [output.stdout, output.stderr].concat();
    anyhow::ensure!(
        output.status.success() && said.len() > 500,
        "no settings were printed"
    );
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The services' logs, which lie beside the servers' folders. Says how many lines are there at debug alone.
fn logs(search: &mut Search<'_>, folder: &Path) -> anyhow::Result<usize> {
    let mut debugged = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            let place = format!(
                "log {}",
                path.file_name().unwrap_or_default().to_string_lossy()
            );
            // A line each, so that a finding says where.
            for line in bytes.split(|byte| *byte == b'\n') {
                debugged += usize::from(memchr::memmem::find(line, b" DEBUG ").is_some());
                search.look(line, &place, &[]);
            }
        }
    }
    Ok(debugged)
}

fn distinct(findings: &[Finding]) -> usize {
    let names: std::collections::BTreeSet<_> = findings.iter().map(|f| &f.secret).collect();
    names.len()
}

fn report(
    options: Options,
    planted: &Planted,
    forms: usize,
    searched: &[Searched],
    findings: &[Finding],
) -> Report {
    let mut report = Report::new(
        "secrets",
        "Planted credentials, looked for everywhere",
        options.quick,
    );
    report.method = format!(
        "{} secrets that can be recognised: passwords, bearer tokens, OAuth 2.0 client secrets and access tokens, headers, \
         client keys, signing secrets and their successors, API keys, a session token, Kafka users' passwords, the \
         operator's key, the key ring, passwords of database, Kafka and registry, and secrets in fields of requests \
         where they do not belong. Receivers answer with everything that they were sent, in headers and body, with the \
         statuses {STATUSES:?}; a token endpoint quotes what it refuses. Each secret is looked for as it is, as JSON, \
         percent-encoded, in hex and in base64 at every alignment: {forms} forms.",
        planted.len()
    );
    report.at_least("secrets planted", planted.len() as f64, 50.0, "");
    let mut by_place: BTreeMap<&Finding, usize> = BTreeMap::new();
    for finding in findings {
        *by_place.entry(finding).or_default() += 1;
    }
    report.check(
        "findings",
        findings.len().to_string(),
        "0",
        findings.is_empty(),
    );
    let rows = searched.iter().map(|searched| {
        vec![
            searched.place.to_owned(),
            format!("{} {}", searched.items, searched.unit),
            format!("{:.2}", searched.bytes as f64 / f64::from(1 << 20)),
            searched.findings.to_string(),
        ]
    });
    report.table(
        "Searched",
        &["place", "how much", "MiB", "findings"],
        rows.collect(),
    );
    let empty = searched.iter().filter(|searched| searched.bytes == 0);
    let empty: Vec<_> = empty.map(|searched| searched.place).collect();
    report.check(
        "places with nothing to search",
        format!("{} {}", empty.len(), empty.join(", ")),
        "0",
        empty.is_empty(),
    );
    if !by_place.is_empty() {
        let rows = by_place.iter().map(|(finding, count)| {
            vec![
                finding.secret.clone(),
                finding.form.to_owned(),
                finding.place.clone(),
                count.to_string(),
            ]
        });
        report.table(
            "Found",
            &["secret", "form", "where", "times"],
            rows.collect(),
        );
    }
    report
}
