//! `pushrail admin destination`.

mod add;
mod draft;
mod trial;
mod update;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use pushrail_settings::parse_duration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Api, ApiArgs, is_not_found, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add a destination: where one customer wants events, and which.
    #[command(after_help = add::EXAMPLES)]
    Add(Box<add::Add>),
    /// List destinations; secrets are never shown.
    List(List),
    /// Show destinations with everything that is known of them, as JSON.
    Show(Ids),
    /// Change a destination. What is not given stays.
    #[command(after_help = update::EXAMPLES)]
    Update(Box<update::Update>),
    /// Pause destinations: their events are kept, and delivered when they are resumed.
    Pause(Ids),
    /// Resume destinations that were paused or disabled.
    Resume(Ids),
    /// Disable destinations: their events are skipped, and each skip is recorded.
    Disable(Disable),
    /// Send a test event: one attempt, at once, whatever the state of the destination.
    #[command(after_help = trial::EXAMPLES)]
    Test(trial::Trial),
    /// Replace a destination's signing secret: deliveries are signed with the old one too until the overlap has passed.
    #[command(after_help = ROTATE_EXAMPLES)]
    RotateSecret(Rotate),
    /// End rotations early: deliveries are signed with the newest secret alone, from now on.
    FinishRotation(Ids),
    /// Show the destination types of the control plane, what each needs, and its settings as JSON Schema with --json.
    Kinds(ApiArgs),
    /// Remove destinations. What is still owed to them goes to their dead-letter topic.
    Remove(Ids),
}

const ROTATE_EXAMPLES: &str = "\
Examples:
  pushrail admin destination rotate-secret ID                 prints the new secret once; both sign
  pushrail admin destination rotate-secret ID --overlap 1h    the old one for an hour
  pushrail admin destination finish-rotation ID               when the receiver knows the new one";

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only this customer's, by the vendor's own id.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Ids {
    /// As `destination list` shows them.
    #[arg(required = true, value_name = "DESTINATION_ID")]
    ids: Vec<Uuid>,
    /// The vendor's own id of their customer; looked for when it is not given.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// Why, for people.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    ids: Ids,
}

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// How long the old secret signs too; what the tenant has set when it is not given.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    overlap: Option<Duration>,
    #[command(flatten)]
    ids: Ids,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add::run(*args).await,
        Command::List(args) => list(&args).await,
        Command::Show(args) => show(&args).await,
        Command::Update(args) => update::run(*args).await,
        Command::Pause(args) => act(&args, &["pause"], None).await,
        Command::Resume(args) => act(&args, &["resume"], None).await,
        Command::Disable(args) => {
            let body = json!({"reason": args.reason});
            act(&args.ids, &["disable"], Some(body)).await
        }
        Command::Test(args) => trial::run(&args).await,
        Command::RotateSecret(args) => rotate(&args).await,
        Command::FinishRotation(args) => act(&args, &["secrets", "finish-rotation"], None).await,
        Command::Kinds(args) => kinds(&args).await,
        Command::Remove(args) => remove(&args).await,
    }
}

async fn kinds(args: &ApiArgs) -> anyhow::Result<()> {
    let api = args.tenant()?;
    let kinds = api.get(&["destination-types"]).await?;
    for kind in kinds["items"].as_array().into_iter().flatten() {
        if api.json {
            out!("{kind}");
        } else {
            let guide = text(kind, "guide").trim_end();
            out!("{}: {}\n\n{guide}", text(kind, "kind"), text(kind, "label"));
        }
    }
    Ok(())
}

/// The customers that are meant: one, or all.
async fn customers(api: &Api, customer: Option<&str>) -> anyhow::Result<Vec<String>> {
    if let Some(customer) = customer {
        return Ok(vec![customer.to_owned()]);
    }
    let rows = api.list(&["customers"]).await?;
    Ok(rows
        .iter()
        .map(|row| text(row, "externalId").to_owned())
        .collect())
}

async fn list(args: &List) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    for customer in customers(&api, args.customer.as_deref()).await? {
        let rows = match api.list(&["customers", &customer, "destinations"]).await {
            Err(error) if is_not_found(&error) => continue,
            rows => rows?,
        };
        for destination in rows {
            match api.json {
                true => out!("{destination}"),
                false => out!("{}", line(&destination)),
            }
        }
    }
    Ok(())
}

fn line(destination: &Value) -> String {
    let events = destination["eventTypes"].as_array().into_iter().flatten();
    let events: Vec<_> = events.filter_map(Value::as_str).collect();
    format!(
        "{}  {:<8}  {}  {}  {}  {}",
        text(destination, "destinationId"),
        text(destination, "state"),
        text(destination, "kind"),
        text(destination, "customerExternalId"),
        events.join(","),
        text(destination, "name"),
    )
}

/// A destination and whose it is.
struct Found {
    customer: String,
    id: String,
    shown: Value,
}

impl Found {
    fn path(&self) -> [&str; 4] {
        ["customers", &self.customer, "destinations", &self.id]
    }
}

/// All of them in the order that was asked for, or an error before anything is changed.
async fn find(api: &Api, customer: Option<&str>, ids: &[Uuid]) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Option<Found>> = ids.iter().map(|_| None).collect();
    for customer in customers(api, customer).await? {
        if found.iter().all(Option::is_some) {
            break;
        }
        let rows = match api.list(&["customers", &customer, "destinations"]).await {
            Err(error) if is_not_found(&error) => continue,
            rows => rows?,
        };
        for shown in rows {
            let id = text(&shown, "destinationId").to_owned();
            let Some(place) = ids.iter().position(|wanted| wanted.to_string() == id) else {
                continue;
            };
            found[place] = Some(Found {
                customer: customer.clone(),
                id,
                shown,
            });
        }
    }
    let missing = found.iter().zip(ids).find(|(found, _)| found.is_none());
    if let Some((_, id)) = missing {
        bail!(
            "no destination {id}; nothing was changed (`pushrail admin destination list` shows them)"
        );
    }
    Ok(found.into_iter().flatten().collect())
}

async fn show(args: &Ids) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    for Found { shown, .. } in find(&api, args.customer.as_deref(), &args.ids).await? {
        match api.json {
            true => out!("{shown}"),
            false => out!("{shown:#}"),
        }
    }
    Ok(())
}

/// Asks for the same thing of each.
async fn act(args: &Ids, what: &[&str], body: Option<Value>) -> anyhow::Result<()> {
    let api = args.api.tenant()?.flags(flag_of);
    for found in find(&api, args.customer.as_deref(), &args.ids).await? {
        let path = [&found.path()[..], what].concat();
        let changed = match &body {
            Some(body) => api.post(&path, body).await?,
            None => api.act(&path).await?,
        };
        match api.json {
            true => out!("{changed}"),
            false => out!("{}", line(&changed)),
        }
    }
    Ok(())
}

async fn rotate(args: &Rotate) -> anyhow::Result<()> {
    let api = args.ids.api.tenant()?.flags(flag_of);
    let mut rotation = json!({});
    if let Some(overlap) = args.overlap {
        rotation["overlapSeconds"] = json!(overlap.as_secs());
    }
    for found in find(&api, args.ids.customer.as_deref(), &args.ids.ids).await? {
        let path = [&found.path()[..], &["secrets", "rotate"]].concat();
        let made = api.post(&path, &rotation).await?;
        if api.json {
            out!("{made}");
        } else {
            let until = text(&made, "rotationEndsAt");
            out!(
                "Rotated the secret of destination {}; the old one signs too until {until}",
                found.id
            );
            show_secret(&made);
        }
    }
    Ok(())
}

async fn remove(args: &Ids) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    for found in find(&api, args.customer.as_deref(), &args.ids).await? {
        api.delete(&found.path()).await?;
        match api.json {
            true => out!("{}", json!({"destinationId": found.id, "removed": true})),
            false => out!("Removed destination {}", found.id),
        }
    }
    Ok(())
}

fn show_secret(made: &Value) {
    if let Some(secret) = made["signingSecret"].as_str() {
        out!("\nIts signing secret, shown only now:\n\n  {secret}\n");
    }
}

/// The flag that mends a field.
fn flag_of(field: &str) -> Option<&'static str> {
    const FLAGS: [(&str, &str); 22] = [
        ("customerExternalId", "--customer"),
        ("externalId", "--customer"),
        ("kind", "--kind"),
        ("name", "--name"),
        ("config.url", "--url"),
        ("config", "--config"),
        ("secrets", "--secrets"),
        ("eventTypes", "--events"),
        ("filter", "--filter"),
        ("transform", "--transform"),
        ("retry.maxAttempts", "--max-attempts"),
        ("retry.initialDelayMs", "--initial-delay"),
        ("retry.maxDelayMs", "--max-delay"),
        ("retry.maxAgeMs", "--max-age"),
        ("batch.records", "--batch-records"),
        ("batch.bytes", "--batch-bytes"),
        ("batch.ageMs", "--batch-age"),
        ("rateLimit", "--rate-limit"),
        ("timeoutMs", "--timeout"),
        ("payloadMode", "--payload-mode"),
        ("overlapSeconds", "--overlap"),
        ("reason", "--reason"),
    ];
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let found = FLAGS
        .iter()
        .find(|(name, _)| field.strip_prefix(name).is_some_and(ends));
    found.map(|(_, flag)| *flag)
}
