//! `pushrail admin api-key`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::api::{ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make an API key and show it, once.
    #[command(after_help = "\
Examples:
  pushrail admin api-key add --name 'checkout service'      another one, with one of the tenant's
  pushrail admin api-key add --tenant acme                  with the operator's key")]
    Add(Add),
    /// List API keys: not the keys themselves. Revoked ones too.
    List(OfTenant),
    /// Revoke an API key. Requests with it are refused within moments.
    #[command(after_help = "Example:\n  pushrail admin api-key revoke 3f9a1c2b7d4e")]
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct OfTenant {
    /// Whose keys, with the operator's; the API key's own tenant when it is not given.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// For people: what the key is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The key's id, as `api-key list` shows it.
    #[arg(value_name = "KEY_ID")]
    id: String,
    #[command(flatten)]
    of: OfTenant,
}

impl OfTenant {
    fn path(&self) -> Vec<&str> {
        match &self.tenant {
            Some(tenant) => vec!["tenants", tenant, "api-keys"],
            None => vec!["api-keys"],
        }
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(&args).await,
        Command::List(args) => list(&args).await,
        Command::Revoke(args) => revoke(&args).await,
    }
}

async fn add(args: &Add) -> anyhow::Result<()> {
    let api = args.of.api.either(args.of.tenant.as_deref())?;
    let api = api.flags(|field| (field == "name").then_some("--name"));
    let made = api
        .post(&args.of.path(), &json!({"name": args.name}))
        .await?;
    if api.json {
        out!("{made}");
    } else {
        out!(
            "Added API key {}. It is shown only now:\n",
            text(&made, "keyId")
        );
        out!("  {}", text(&made, "key"));
    }
    Ok(())
}

async fn list(args: &OfTenant) -> anyhow::Result<()> {
    let api = args.api.either(args.tenant.as_deref())?;
    for key in api.list(&args.path()).await? {
        if api.json {
            out!("{key}");
            continue;
        }
        let state = match key["revokedAt"].as_str() {
            Some(at) => format!("revoked {at}"),
            None => "active".to_owned(),
        };
        out!("{}  {state}  {}", text(&key, "keyId"), text(&key, "name"));
    }
    Ok(())
}

async fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let api = args.of.api.either(args.of.tenant.as_deref())?;
    let mut path = args.of.path();
    path.push(&args.id);
    api.delete(&path)
        .await
        .map_err(|error| match super::api::is_not_found(&error) {
            true => anyhow::anyhow!(
                "no API key with the id \"{}\"; `pushrail admin api-key list` shows them",
                args.id
            ),
            false => error,
        })?;
    match api.json {
        true => out!("{}", json!({"keyId": args.id, "revoked": true})),
        false => out!("Revoked API key {}", args.id),
    }
    Ok(())
}
