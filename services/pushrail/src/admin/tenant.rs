//! `pushrail admin tenant`.

use std::time::Duration;

use clap::{Args, Subcommand};
use pushrail_schemas::config::{Encryption, EventValidation};
use pushrail_settings::parse_duration;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::{Api, ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add a tenant, and show its first API key, once.
    #[command(after_help = "\
Examples:
  pushrail admin tenant add acme --name 'Acme, Inc.'
  pushrail topology apply                   makes the topic on which it may publish directly")]
    Add(Add),
    /// List tenants.
    List(ApiArgs),
    /// Show a tenant: the API key's own when none is named.
    Show(Show),
    /// Change a tenant: the API key's own when none is named. What is not given stays.
    #[command(after_help = "\
Examples:
  pushrail admin tenant update --origin https://app.example.com --rotation-overlap 48h
  pushrail admin tenant update --event-validation schema")]
    Update(Update),
    /// Remove a tenant with everything that belongs to it. What is owed to its destinations is dead-lettered.
    Remove(Remove),
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Short id, part of topic names: a-z, 0-9 and inner -. It is for ever.
    tenant: String,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    tenant: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Update {
    tenant: Option<String>,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    tenant: String,
    #[command(flatten)]
    api: ApiArgs,
}

/// What can be said of a tenant.
#[derive(Args, Debug)]
pub(crate) struct SaidArgs {
    /// For people.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Origins from which browsers may call, such as https://app.example.com. Repeat it, or separate by commas.
    #[arg(long = "origin", value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<String>,
    /// How long an old signing secret signs beside a new one.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    rotation_overlap: Option<Duration>,
    /// Whether events are held to the catalogue of event types as they come in: off; schema, where payloads must satisfy the
    /// schema of their type; catalogue, where types must be in the catalogue too.
    #[arg(long, value_name = "off|schema|catalogue")]
    event_validation: Option<EventValidation>,
    /// Whether payloads are sealed when they come in, so that what was erased can be read on no topic: off or on.
    #[arg(long, value_name = "off|on")]
    encryption: Option<Encryption>,
    /// Days for which the delivery log keeps deliveries; 0 for as long as the operator keeps any.
    #[arg(long, value_name = "DAYS")]
    log_retention_days: Option<u32>,
}

impl SaidArgs {
    fn write(&self) -> Map<String, Value> {
        let mut said = Map::new();
        if let Some(name) = &self.name {
            said.insert("name".into(), json!(name));
        }
        if !self.origins.is_empty() {
            said.insert("allowedOrigins".into(), json!(self.origins));
        }
        if let Some(overlap) = self.rotation_overlap {
            said.insert("rotationOverlapSeconds".into(), json!(overlap.as_secs()));
        }
        if let Some(validation) = self.event_validation {
            said.insert("eventValidation".into(), json!(validation));
        }
        if let Some(encryption) = self.encryption {
            said.insert("encryption".into(), json!(encryption));
        }
        if let Some(days) = self.log_retention_days {
            let days = Some(days).filter(|days| *days > 0);
            said.insert("logRetentionDays".into(), json!(days));
        }
        said
    }
}

fn flag_of(field: &str) -> Option<&'static str> {
    let flags = [
        ("name", "--name"),
        ("allowedOrigins", "--origin"),
        ("rotationOverlapSeconds", "--rotation-overlap"),
        ("eventValidation", "--event-validation"),
        ("encryption", "--encryption"),
        ("logRetentionDays", "--log-retention-days"),
    ];
    let found = flags.into_iter().find(|(name, _)| field.starts_with(name));
    found.map(|(_, flag)| flag)
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(&args).await,
        Command::List(args) => list(&args.operator()?).await,
        Command::Show(args) => show(&args).await,
        Command::Update(args) => update(&args).await,
        Command::Remove(args) => remove(&args).await,
    }
}

async fn add(args: &Add) -> anyhow::Result<()> {
    let api = args.api.operator()?.flags(flag_of);
    let mut draft = args.said.write();
    draft.insert("tenantId".into(), json!(args.tenant));
    let made = api.post(&["tenants"], &Value::Object(draft)).await?;
    if api.json {
        out!("{made}");
    } else {
        let (id, name) = (text(&made, "tenantId"), text(&made, "name"));
        out!("Added tenant {id} ({name}). Its first API key, shown only now:\n");
        out!("  {}", text(&made, "apiKey"));
    }
    Ok(())
}

async fn list(api: &Api) -> anyhow::Result<()> {
    for tenant in api.list(&["tenants"]).await? {
        match api.json {
            true => out!("{tenant}"),
            false => out!("{}  {}", text(&tenant, "tenantId"), text(&tenant, "name")),
        }
    }
    Ok(())
}

/// The path of a tenant that is named, or of the API key's own.
fn path(tenant: Option<&str>) -> Vec<&str> {
    match tenant {
        Some(tenant) => vec!["tenants", tenant],
        None => vec!["tenant"],
    }
}

async fn show(args: &Show) -> anyhow::Result<()> {
    let tenant = args.tenant.as_deref();
    let api = args.api.either(tenant)?;
    print(&api, &api.get(&path(tenant)).await?);
    Ok(())
}

async fn update(args: &Update) -> anyhow::Result<()> {
    let tenant = args.tenant.as_deref();
    let api = args.api.either(tenant)?.flags(flag_of);
    let request = api.request(Method::PATCH, &path(tenant))?;
    let answer = api.answer(request.json(&args.said.write())).await?;
    print(&api, &answer.body);
    Ok(())
}

async fn remove(args: &Remove) -> anyhow::Result<()> {
    let api = args.api.operator()?;
    api.delete(&path(Some(&args.tenant))).await?;
    match api.json {
        true => out!("{}", json!({"tenantId": args.tenant, "removed": true})),
        false => out!("Removed tenant {}", args.tenant),
    }
    Ok(())
}

fn print(api: &Api, tenant: &Value) {
    if api.json {
        return out!("{tenant}");
    }
    out!("{}  {}", text(tenant, "tenantId"), text(tenant, "name"));
    let origins: Vec<_> = tenant["allowedOrigins"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let origins: Vec<_> = origins
        .iter()
        .filter_map(|origin| origin.as_str())
        .collect();
    out!("  origins           {}", origins.join(", "));
    out!("  rotation overlap  {} s", tenant["rotationOverlapSeconds"]);
    out!("  event validation  {}", text(tenant, "eventValidation"));
    if let Some(days) = tenant["logRetentionDays"].as_u64() {
        out!("  log retention     {days} days");
    }
    out!("  made              {}", text(tenant, "createdAt"));
}
