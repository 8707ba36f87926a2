//! `pushrail admin erasure`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::api::{ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Erase what is known of an event, of a subject or of a customer, accepted until now. It cannot be undone.
    ///
    /// Payloads, answers and error texts go from the delivery log, and dead letters can be neither looked into nor replayed
    /// any more. What is still owed ends as a dead letter where payloads are sealed (`tenant update --encryption on`); ids,
    /// types, times and outcomes stay.
    #[command(after_help = "\
Examples:
  pushrail admin erasure create --customer c1
  pushrail admin erasure create --customer c1 --subject jane@example.com
  pushrail admin erasure create --event 0198c5d2-6d5f-7b60-9f0a-5f4f9a2d1c33")]
    Create(Create),
    /// List erasures, the newest first.
    List(ApiArgs),
    /// Show how far an erasure is, and until when topics keep what was never sealed.
    Show(Show),
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// An event.
    #[arg(long, value_name = "EVENT_ID", required_unless_present = "customer", conflicts_with_all = ["customer", "subject"])]
    event: Option<Uuid>,
    /// A customer, by the vendor's own id; with --subject, whose subject.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Whom events are about, as `subject` of the events said it.
    #[arg(long, value_name = "TEXT", requires = "customer")]
    subject: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    #[arg(value_name = "ERASURE_ID")]
    id: Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(&args).await,
        Command::List(args) => list(&args).await,
        Command::Show(args) => show(&args).await,
    }
}

async fn create(args: &Create) -> anyhow::Result<()> {
    let api = args.api.tenant()?.flags(|field| match field {
        "eventId" => Some("--event"),
        "customerExternalId" => Some("--customer"),
        "subject" => Some("--subject"),
        _ => None,
    });
    let mut draft = Map::new();
    if let Some(event) = args.event {
        draft.insert("eventId".into(), json!(event));
    }
    for (field, text) in [
        ("customerExternalId", &args.customer),
        ("subject", &args.subject),
    ] {
        if let Some(text) = text {
            draft.insert(field.into(), json!(text));
        }
    }
    let made = api.post(&["erasures"], &Value::Object(draft)).await?;
    match api.json {
        true => out!("{made}"),
        false => out!(
            "Erasing {} under {}; `pushrail admin erasure show` says how far it is",
            text(&made, "what"),
            text(&made, "erasureId")
        ),
    }
    Ok(())
}

async fn list(args: &ApiArgs) -> anyhow::Result<()> {
    let api = args.tenant()?;
    for erasure in api.list(&["erasures"]).await? {
        match api.json {
            true => out!("{erasure}"),
            false => out!("{}", line(&erasure)),
        }
    }
    Ok(())
}

async fn show(args: &Show) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    let erasure = api.get(&["erasures", &args.id.to_string()]).await?;
    if api.json {
        out!("{erasure}");
        return Ok(());
    }
    out!("{}", line(&erasure));
    let removed = &erasure["removed"];
    out!(
        "  content removed of {} deliveries, {} attempts and {} dead letters",
        removed["deliveries"],
        removed["attempts"],
        removed["deadLetters"]
    );
    let topics = &erasure["topics"];
    if topics["shredded"] == true {
        out!("  the keys of what was sealed are destroyed");
    }
    if let Some(until) = topics["keptUntil"].as_str() {
        out!("  topics keep what was never sealed until {until}");
    }
    Ok(())
}

fn line(erasure: &Value) -> String {
    format!(
        "{}  {}  {}  of {}",
        text(erasure, "erasureId"),
        text(erasure, "state"),
        text(erasure, "what"),
        text(erasure, "createdAt")
    )
}
