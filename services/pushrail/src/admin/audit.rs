//! `pushrail admin audit`.

use std::io::Write as _;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::api::{Api, ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List what was done, newest first.
    #[command(after_help = "\
Examples:
  pushrail admin audit list --action destination.delete --since 2026-01-31T00:00:00Z
  pushrail admin audit list --tenant acme          with the operator's key")]
    List(List),
    /// Print what was done, oldest first, as JSON lines or CSV.
    Export(Export),
    /// Check that nothing on the trail was changed or removed.
    Verify(Verify),
}

/// Whose trail.
#[derive(Args, Debug)]
pub(crate) struct Of {
    /// A tenant's, with the operator's key; the API key's own when it is not given.
    #[arg(long, value_name = "ID", conflicts_with = "operator")]
    tenant: Option<String>,
    /// The operator's own.
    #[arg(long)]
    operator: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// What of it.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Not older than this, such as 2026-01-31T23:59:59Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Older than this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// One action, such as destination.create.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// What concerns one customer, by the vendor's own id.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Rows, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// How: ndjson or csv.
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    format: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    of: Of,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(&args).await,
        Command::Export(args) => export(&args).await,
        Command::Verify(args) => verify(&args).await,
    }
}

impl Of {
    fn api(&self) -> anyhow::Result<Api> {
        let api = match self.operator {
            true => self.api.operator(),
            false => self.api.either(self.tenant.as_deref()),
        };
        Ok(api?.flags(|field| match field {
            "since" => Some("--since"),
            "until" => Some("--until"),
            "format" => Some("--format"),
            "action" => Some("--action"),
            "customerExternalId" => Some("--customer"),
            "tenantId" => Some("--tenant"),
            _ => None,
        }))
    }

    fn request(&self, api: &Api, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        let request = api.request(Method::GET, path)?;
        Ok(given(request, "tenantId", self.tenant.as_ref()))
    }
}

impl Which {
    fn write(&self, request: RequestBuilder) -> RequestBuilder {
        let query = [
            ("since", &self.since),
            ("until", &self.until),
            ("action", &self.action),
            ("customerExternalId", &self.customer),
        ];
        let given =
            |request, (name, value): (_, &Option<String>)| given(request, name, value.as_ref());
        query.into_iter().fold(request, given)
    }
}

fn given(request: RequestBuilder, name: &str, value: Option<&String>) -> RequestBuilder {
    match value {
        Some(value) => request.query(&[(name, value)]),
        None => request,
    }
}

async fn list(args: &List) -> anyhow::Result<()> {
    let api = args.of.api()?;
    let request = args.of.request(&api, &["audit-trail"])?;
    let request = args.which.write(request).query(&[("limit", args.limit)]);
    let page = api.answer(request).await?.body;
    for entry in page["items"].as_array().into_iter().flatten() {
        match api.json {
            true => out!("{entry}"),
            false => out!("{}", line(entry)),
        }
    }
    Ok(())
}

fn line(entry: &Value) -> String {
    let (actor, target) = (&entry["actor"], &entry["target"]);
    format!(
        "{}  {}  {}  {} {}  by {} {} from {}",
        entry["seq"],
        text(entry, "at"),
        text(entry, "action"),
        text(target, "kind"),
        text(target, "id"),
        text(actor, "kind"),
        text(actor, "id"),
        text(entry, "source"),
    )
}

async fn export(args: &Export) -> anyhow::Result<()> {
    let api = args.of.api()?;
    let request = args.of.request(&api, &["audit-trail", "export"])?;
    let request = args.which.write(request).query(&[("format", &args.format)]);
    let mut answer = api.response(request).await?;
    let mut output = std::io::stdout().lock();
    while let Some(piece) = answer.chunk().await? {
        // Whoever reads has enough.
        if output.write_all(&piece).is_err() {
            break;
        }
    }
    Ok(())
}

async fn verify(args: &Verify) -> anyhow::Result<()> {
    let api = args.of.api()?;
    let request = args.of.request(&api, &["audit-trail", "verify"])?;
    let verdict = api.answer(request).await?.body;
    let whole = verdict["whole"] == true;
    if api.json {
        out!("{verdict}");
    } else if whole {
        let head = text(&verdict, "head");
        out!(
            "Whole: {} rows, the newest with the hash {head}",
            verdict["rows"]
        );
    }
    match whole {
        true => Ok(()),
        false => bail!(
            "the trail is not what was written, from row {} on: {}",
            verdict["brokenAt"],
            text(&verdict, "problem")
        ),
    }
}
