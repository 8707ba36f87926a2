//! `pushrail admin destination test`.

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::api::{ApiArgs, text};
use super::find;
use crate::args::parse_json;

pub(super) const EXAMPLES: &str = "\
Examples:
  pushrail admin destination test ID
  pushrail admin destination test ID --event-type order.completed --payload '{\"total\":42}'

It ends with 1 when the event was not delivered.";

#[derive(Args, Debug)]
pub(crate) struct Trial {
    /// As `destination list` shows it.
    #[arg(value_name = "DESTINATION_ID")]
    id: Uuid,
    /// The vendor's own id of its customer; looked for when it is not given.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Type of the event; pushrail.test when it is not given.
    #[arg(long, value_name = "NAME")]
    event_type: Option<String>,
    /// Its payload, a JSON object, or @FILE.
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

pub(super) async fn run(args: &Trial) -> anyhow::Result<()> {
    let mut draft = Map::new();
    if let Some(event_type) = &args.event_type {
        draft.insert("eventType".to_owned(), json!(event_type));
    }
    if let Some(payload) = &args.payload {
        draft.insert("payload".to_owned(), parse_json("--payload", payload)?);
    }
    let api = args.api.tenant()?.flags(|field| match field {
        "eventType" => Some("--event-type"),
        "payload" => Some("--payload"),
        _ => None,
    });
    let draft = Value::Object(draft);
    for found in find(&api, args.customer.as_deref(), &[args.id]).await? {
        let path = [&found.path()[..], &["test"]].concat();
        let attempt = api.post(&path, &draft).await?;
        if api.json {
            out!("{attempt}");
        }
        let (code, error) = (text(&attempt, "code"), text(&attempt, "error"));
        if attempt["delivered"] != true {
            bail!(
                "not delivered ({}, {code}): {error}",
                text(&attempt, "class")
            );
        }
        if !api.json {
            let status = match &attempt["statusCode"] {
                Value::Null => String::new(),
                status => format!(", answered {status}"),
            };
            let latency = attempt["latencyMs"].as_f64().unwrap_or_default();
            out!(
                "Delivered event {} in {latency:.1} ms{status}",
                text(&attempt, "eventId")
            );
        }
    }
    Ok(())
}
