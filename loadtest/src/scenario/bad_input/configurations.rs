//! Configurations and settings: a command line that is wrong ends with an error that names what, and writes nothing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pushrail_servers::Postgres;
use tokio::process::Command;

use super::Row;
use crate::bed::Bed;
use crate::services::{Kind, Service};

/// A command that takes longer has started to work with what it was given.
const WITHIN: Duration = Duration::from_secs(30);

/// A command line, and what its error must name.
type Case = (&'static [&'static str], &'static str);

/// Behind `admin destination add --customer customer-1 --url https://example.com/hooks`.
const DESTINATIONS: &[Case] = &[
    (&["--customer", ""], "customerExternalId (--customer)"),
    (&["--api-key", "psh_nobody_knows_this"], "--api-key"),
    (&["--kind", "fax"], "--kind"),
    (&["--url", "example.com/hooks"], "config.url (--url)"),
    (&["--url", "ftp://example.com/hooks"], "config.url (--url)"),
    (&["--url", "http://example.com/hooks"], "config.url (--url)"),
    (
        &["--url", "https://user:pw@example.com/"],
        "config.url (--url)",
    ),
    (&["--url", "https://10.0.0.1/"], "config.url (--url)"),
    (
        &["--url", "https://[::ffff:169.254.169.254]/"],
        "config.url (--url)",
    ),
    (&["--url", "https://localhost/"], "config.url (--url)"),
    (&["--config", r#"{"uri":"https://example.com/"}"#], "uri"),
    (
        &["--config", r#"{"headers":{"Host":"example.org"}}"#],
        "config.headers.Host",
    ),
    (
        &["--config", r#"{"headers":{"webhook-id":"1"}}"#],
        "config.headers.webhook-id",
    ),
    (
        &["--secrets", r#"{"signingSecret":"tiny"}"#],
        "secrets.signingSecret",
    ),
    (&["--events", "*.paid"], "eventTypes[0] (--events)"),
    (&["--filter", "{"], "--filter"),
    (
        &[
            "--filter",
            r#"{"path":"payload.total","op":"near","value":1}"#,
        ],
        "--filter",
    ),
    (
        &[
            "--filter",
            r#"{"path":"payload.total","op":"in","value":1}"#,
        ],
        "filter",
    ),
    (
        &["--transform", r#"[{"shout":["payload.a"]}]"#],
        "--transform",
    ),
    (&["--rate-limit", "0"], "rateLimit.perSecond (--rate-limit)"),
    (&["--timeout", "1h"], "timeoutMs (--timeout)"),
    (
        &["--max-attempts", "0"],
        "retry.maxAttempts (--max-attempts)",
    ),
    (
        &["--initial-delay", "1h", "--max-delay", "30m"],
        "retry.initialDelayMs (--initial-delay)",
    ),
    (&["--max-age", "48h"], "retry.maxAgeMs (--max-age)"),
    (&["--payload-mode", "some"], "payloadMode (--payload-mode)"),
    (&["--colour", "red"], "--colour"),
];

/// Command lines of their own.
const OTHERS: &[Case] = &[
    (&["sink", "--kind", "fax"], "--kind"),
    (
        &["sink", "--kind", "webhook", "--key-ring", "k:tiny"],
        "--key-ring",
    ),
    (
        &["sink", "--kind", "webhook", "--allow-network", "10.0.0.1/8"],
        "--allow-network",
    ),
    (
        &[
            "sink",
            "--kind",
            "webhook",
            "--kafka-property",
            "linger.mss=5",
        ],
        "linger.mss",
    ),
    (
        &[
            "sink",
            "--kind",
            "webhook",
            "--kafka-property",
            "enable.auto.commit=true",
        ],
        "enable.auto.commit",
    ),
    (
        &["sink", "--kind", "webhook", "--drain-timeout", "soon"],
        "--drain-timeout",
    ),
    (&["router", "--ops-listen", "9090"], "--ops-listen"),
    (&["router", "--kafka", "127.0.0.1"], "--kafka"),
    (&["ingest", "--registry", "registry.internal"], "--registry"),
    (&["ingest", "--trace-ratio", "2"], "--trace-ratio"),
    (&["retry", "--log-format", "xml"], "--log-format"),
    (
        &["topology", "apply", "--replication-factor", "3"],
        "3 brokers",
    ),
    (&["control", "--admin-key", "short"], "--admin-key"),
    (&["admin", "tenant", "add", "ACME"], "tenantId"),
    (
        &["admin", "api-key", "add", "--tenant", "nobody"],
        "no such tenant",
    ),
    (&["admin", "destination", "pause", "first"], "first"),
];

const ADMIN_KEY: &str = "the-operators-key-of-the-load-test";

/// A control plane for the commands to ask, with a tenant.
pub(super) struct Asked {
    postgres: Postgres,
    control: Service,
    api_key: String,
}

impl Asked {
    pub(super) async fn start(bed: &Bed) -> anyhow::Result<Self> {
        let postgres = Postgres::builder(bed.folder().join("postgres"));
        let postgres = postgres.start().await?;
        let url = postgres.url();
        let arguments = ["--database", &url, "--admin-key", ADMIN_KEY];
        let control = Service::start(bed, Kind::Control, "control", &arguments).await?;
        let mut asked = Asked {
            postgres,
            control,
            api_key: String::new(),
        };
        let line = ["admin", "tenant", "add", "bad-input", "--json"];
        let output = asked.command(bed, &line).output().await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no tenant was made: {error}");
        let made: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let key = made["apiKey"].as_str();
        asked.api_key = key.context("a tenant without a key")?.to_owned();
        Ok(asked)
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.control.stop().await?;
        self.postgres.stop().await;
        Ok(())
    }

    fn command(&self, bed: &Bed, line: &[&str]) -> Command {
        let mut command = Command::new(&bed.binary);
        command
            .args(line)
            .env("PUSHRAIL_KAFKA", bed.bootstrap())
            .env("PUSHRAIL_REGISTRY", bed.registry.url())
            .env("PUSHRAIL_KEY_RING", &*bed.ring.to_text())
            .env("PUSHRAIL_DATABASE_URL", self.postgres.url())
            .env(
                "PUSHRAIL_CONTROL_URL",
                format!("http://{}", self.control.listen),
            )
            .env("PUSHRAIL_ADMIN_KEY", ADMIN_KEY)
            .env("PUSHRAIL_API_KEY", &self.api_key)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

pub(super) async fn run(bed: &Bed, asked: &Asked) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let usual = [
        "--customer",
        "customer-1",
        "--url",
        "https://example.com/hooks",
    ];
    for (extra, part) in DESTINATIONS {
        // What is malformed stands in for what it is about.
        let kept = usual.chunks(2).filter(|pair| pair[0] != extra[0]).flatten();
        let mut line = vec!["admin", "destination", "add"];
        line.extend(kept);
        line.extend(*extra);
        rows.push(refused(bed, asked, &line, part).await?);
    }
    for (line, part) in OTHERS {
        rows.push(refused(bed, asked, line, part).await?);
    }
    rows.push(misspelt_file(bed, asked).await?);
    Ok(rows)
}

async fn misspelt_file(bed: &Bed, asked: &Asked) -> anyhow::Result<Row> {
    let path = bed.folder().join("misspelt.toml");
    std::fs::write(&path, "[kafka]\nboostrap = \"127.0.0.1:9092\"\n")?;
    let path = path.to_str().context("a path in UTF-8")?;
    let mut row = refused(bed, asked, &["router", "--config", path], "boostrap").await?;
    row.what = "router with a misspelt key in its settings file".to_owned();
    row.error = row.error.replace(path, "misspelt.toml");
    Ok(row)
}

async fn refused(bed: &Bed, asked: &Asked, line: &[&str], part: &str) -> anyhow::Result<Row> {
    let mut command = asked.command(bed, line);
    let what = line.join(" ");
    let Ok(output) = tokio::time::timeout(WITHIN, command.output()).await else {
        return Ok(Row {
            what,
            outcome: "went on".to_owned(),
            error: String::new(),
            is_clear: false,
        });
    };
    let output = output?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // Whoever uses a command line reads its exit code in scripts: 1 or 2, never a panic's 101 or a signal.
    let is_refusal = matches!(output.status.code(), Some(1 | 2));
    Ok(Row {
        what,
        outcome: output
            .status
            .code()
            .map_or("signal".to_owned(), |code| format!("exit {code}")),
        is_clear: is_refusal && error.contains(part),
        error,
    })
}
