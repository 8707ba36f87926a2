//! `pushrail destination`.

mod add;
mod draft;
mod rotate;

use anyhow::bail;
use clap::{Args, Subcommand};
use pushrail_directory::{Key, Record};
use pushrail_schemas::config::{Destination, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::AdminArgs;
use super::session::Session;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add a destination: where one customer wants events, and which.
    #[command(after_help = add::EXAMPLES)]
    Add(Box<add::Add>),
    /// List destinations; secrets are never shown.
    List(List),
    /// Pause destinations: their events are kept, and delivered when they are resumed.
    Pause(Ids),
    /// Resume destinations that were paused or disabled.
    Resume(Ids),
    /// Disable destinations: their events are skipped, and each skip is recorded.
    Disable(Ids),
    /// Replace a destination's signing secret: deliveries are signed with the old one too until --finish.
    #[command(after_help = rotate::EXAMPLES)]
    RotateSecret(rotate::Rotate),
    /// Show the destination types of this build, what each needs, and its settings as JSON Schema with --json.
    Kinds(Kinds),
    /// Remove destinations. What is still owed to them goes to their dead-letter topic.
    Remove(Ids),
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only this tenant's.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only this customer's, by the vendor's own id.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Ids {
    /// As `destination list` shows them.
    #[arg(required = true, value_name = "DESTINATION_ID")]
    ids: Vec<Uuid>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Kinds {
    /// Print JSON, one value a line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add::run(*args).await,
        Command::List(args) => list(&args).await,
        Command::Pause(args) => set_state(&args, State::Paused).await,
        Command::Resume(args) => set_state(&args, State::Active).await,
        Command::Disable(args) => set_state(&args, State::Disabled).await,
        Command::RotateSecret(args) => rotate::run(args).await,
        Command::Kinds(args) => kinds(&args),
        Command::Remove(args) => remove(&args).await,
    }
}

fn kinds(args: &Kinds) -> anyhow::Result<()> {
    let context = pushrail_sink_core::Context::default();
    let adapters = pushrail_sinks::KINDS
        .iter()
        .filter_map(|kind| pushrail_sinks::adapter(kind, &context));
    for adapter in adapters {
        let info = adapter.info();
        if args.json {
            let (config, secrets) = adapter.schemas();
            let failures = info.failures;
            out!(
                "{}",
                json!({"kind": info.kind, "label": info.label, "config": config, "secrets": secrets, "failures": failures})
            );
        } else {
            out!("{}: {}\n\n{}", info.kind, info.label, info.guide.trim_end());
        }
    }
    Ok(())
}

async fn list(args: &List) -> anyhow::Result<()> {
    let session = Session::open(&args.admin).await?;
    let wanted = |given: &Option<String>, value: &str| given.as_ref().is_none_or(|g| g == value);
    let mut ids = session.directory.destination_ids();
    ids.sort();
    for id in ids {
        // One at a time: the directory unpacks each for whoever holds it.
        let Some(destination) = session.directory.destination(id) else {
            continue;
        };
        let shown = wanted(&args.tenant, &destination.tenant_id)
            && wanted(&args.customer, &destination.customer_external_id);
        if shown && session.json {
            out!("{}", masked(&destination));
        } else if shown {
            out!("{}", line(&destination));
        }
    }
    Ok(())
}

/// A destination as it may be shown: that it has secrets, not even their ciphertext.
fn masked(destination: &Destination) -> Value {
    let mut value = serde_json::to_value(destination).unwrap_or_default();
    if destination.secrets.is_some() {
        value["secrets"] = json!("***");
    }
    value
}

fn line(destination: &Destination) -> String {
    let state = match destination.state {
        State::Active => "active",
        State::Paused => "paused",
        State::Disabled => "disabled",
    };
    format!(
        "{}  {state:<8}  {}  {}/{}  {}  {}",
        destination.destination_id,
        destination.kind,
        destination.tenant_id,
        destination.customer_external_id,
        destination.event_types.join(","),
        destination.name,
    )
}

/// All of them, or an error before anything is changed.
fn find(session: &Session, ids: &[Uuid]) -> anyhow::Result<Vec<std::sync::Arc<Destination>>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match session.directory.destination(*id) {
            Some(destination) => found.push(destination),
            None => bail!(
                "no destination {id}; nothing was changed (`pushrail destination list` shows them)"
            ),
        }
    }
    Ok(found)
}

async fn set_state(args: &Ids, state: State) -> anyhow::Result<()> {
    let session = Session::open(&args.admin).await?;
    for destination in find(&session, &args.ids)? {
        let mut changed = (*destination).clone();
        changed.state = state;
        if changed.state != destination.state {
            session.put(Record::Destination(&changed)).await?;
        }
        match session.json {
            true => out!("{}", masked(&changed)),
            false => out!("{}", line(&changed)),
        }
    }
    Ok(())
}

async fn remove(args: &Ids) -> anyhow::Result<()> {
    let session = Session::open(&args.admin).await?;
    for destination in find(&session, &args.ids)? {
        let id = destination.destination_id;
        session.remove(&Key::Destination(id)).await?;
        match session.json {
            true => out!("{}", json!({"destinationId": id, "removed": true})),
            false => out!("Removed destination {id}"),
        }
    }
    Ok(())
}
