//! `pushrail admin event-type`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{ApiArgs, text};
use crate::args::parse_json;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add an event type to the tenant's catalogue.
    #[command(after_help = "\
Examples:
  pushrail admin event-type add order.completed --description 'An order was paid' --group Orders
  pushrail admin event-type add order.completed --schema @order.schema.json --example @order.json")]
    Add(Box<Add>),
    /// List the event types of the tenant's catalogue.
    List(ApiArgs),
    /// Remove an event type from the catalogue. Its events are refused from then on where the tenant's event validation is
    /// `catalogue`, and accepted otherwise.
    Remove(Remove),
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Dotted, such as order.completed.
    name: String,
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Under which the portal shows it.
    #[arg(long, value_name = "TEXT")]
    group: Option<String>,
    /// JSON Schema of the payload, or @FILE. Payloads are held to it where the tenant's event validation is not `off`.
    #[arg(long, value_name = "JSON")]
    schema: Option<String>,
    /// An example payload, or @FILE; it satisfies the schema.
    #[arg(long, value_name = "JSON")]
    example: Option<String>,
    /// Nobody should begin to use it.
    #[arg(long)]
    deprecated: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    name: String,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(&args).await,
        Command::List(args) => list(&args).await,
        Command::Remove(args) => remove(&args).await,
    }
}

impl Add {
    fn draft(&self) -> anyhow::Result<Value> {
        let mut draft = Map::new();
        draft.insert("name".into(), json!(self.name));
        for (field, text) in [("description", &self.description), ("group", &self.group)] {
            if let Some(text) = text {
                draft.insert(field.into(), json!(text));
            }
        }
        for (flag, field, text) in [
            ("--schema", "schema", &self.schema),
            ("--example", "example", &self.example),
        ] {
            if let Some(text) = text {
                draft.insert(field.into(), parse_json(flag, text)?);
            }
        }
        if self.deprecated {
            draft.insert("deprecated".into(), json!(true));
        }
        Ok(Value::Object(draft))
    }
}

async fn add(args: &Add) -> anyhow::Result<()> {
    let api = args
        .api
        .tenant()?
        .flags(|field| match field.split('/').next() {
            Some("description") => Some("--description"),
            Some("group") => Some("--group"),
            Some("schema") => Some("--schema"),
            Some("example") => Some("--example"),
            _ => None,
        });
    let made = api.post(&["event-types"], &args.draft()?).await?;
    match api.json {
        true => out!("{made}"),
        false => out!("Added event type {}", text(&made, "name")),
    }
    Ok(())
}

async fn list(args: &ApiArgs) -> anyhow::Result<()> {
    let api = args.tenant()?;
    for kind in api.list(&["event-types"]).await? {
        if api.json {
            out!("{kind}");
            continue;
        }
        let deprecated = match kind["deprecated"] == true {
            true => "  (deprecated)",
            false => "",
        };
        out!(
            "{}{deprecated}  {}",
            text(&kind, "name"),
            text(&kind, "description")
        );
    }
    Ok(())
}

async fn remove(args: &Remove) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    api.delete(&["event-types", &args.name]).await?;
    match api.json {
        true => out!("{}", json!({"name": args.name, "removed": true})),
        false => out!("Removed event type {}", args.name),
    }
    Ok(())
}
