//! `pushrail admin session`.

use std::time::Duration;

use clap::{Args, Subcommand};
use pushrail_settings::parse_duration;
use serde_json::json;
use uuid::Uuid;

use super::api::{ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Open a session for one customer, and show its token, once. It reaches what is that customer's, and nothing else.
    #[command(after_help = "Example:\n  pushrail admin session create --customer c1 --ttl 1h")]
    Create(Create),
    /// Revoke a session: its token counts no longer from the next request on.
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The vendor's own id of the customer, who is made when it is not there.
    #[arg(long, value_name = "ID")]
    customer: String,
    /// How long it lasts, 24h at most.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "15m")]
    ttl: Duration,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    #[arg(value_name = "SESSION_ID")]
    id: Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(&args).await,
        Command::Revoke(args) => revoke(&args).await,
    }
}

async fn create(args: &Create) -> anyhow::Result<()> {
    let api = args.api.tenant()?.flags(|field| match field {
        "customerExternalId" => Some("--customer"),
        "ttlSeconds" => Some("--ttl"),
        _ => None,
    });
    let draft = json!({"customerExternalId": args.customer, "ttlSeconds": args.ttl.as_secs()});
    let made = api.post(&["sessions"], &draft).await?;
    if api.json {
        out!("{made}");
    } else {
        let (id, until) = (text(&made, "sessionId"), text(&made, "expiresAt"));
        out!(
            "Opened session {id} for {} until {until}. Its token, shown only now:\n",
            args.customer
        );
        out!("  {}", text(&made, "token"));
    }
    Ok(())
}

async fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    api.delete(&["sessions", &args.id.to_string()]).await?;
    match api.json {
        true => out!("{}", json!({"sessionId": args.id, "revoked": true})),
        false => out!("Revoked session {}", args.id),
    }
    Ok(())
}
