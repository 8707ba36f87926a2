//! `pushrail api-key`.

use anyhow::bail;
use clap::{Args, Subcommand};
use pushrail_directory::{Key, Record};
use serde_json::json;

use super::AdminArgs;
use super::session::Session;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make an API key and show it, once.
    #[command(after_help = "Example:\n  pushrail api-key add --tenant acme")]
    Add(TenantArgs),
    /// List API keys: their ids, not the keys.
    List(AdminArgs),
    /// Revoke an API key. Requests with it are refused within moments.
    #[command(after_help = "Example:\n  pushrail api-key revoke 3f9a1c2b7d4e")]
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct TenantArgs {
    /// Tenant that may be published for with it.
    #[arg(
        long,
        env = "PUSHRAIL_TENANT",
        value_name = "ID",
        default_value = "dev"
    )]
    tenant: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The key's id, as `api-key list` shows it.
    #[arg(value_name = "KEY_ID")]
    id: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(&args).await,
        Command::List(args) => list(&args).await,
        Command::Revoke(args) => revoke(&args).await,
    }
}

async fn add(args: &TenantArgs) -> anyhow::Result<()> {
    let made = pushrail_admin::api_key(&args.tenant)?;
    let session = Session::open(&args.admin).await?;
    session.require_tenant(&args.tenant)?;
    session.put(Record::ApiKey(&made.record)).await?;
    let id = &made.record.key_id;
    if session.json {
        out!(
            "{}",
            json!({"keyId": id, "tenantId": args.tenant, "key": *made.key})
        );
    } else {
        out!(
            "Added API key {id} for tenant {}. It is shown only now:\n",
            args.tenant
        );
        out!("  {}", *made.key);
    }
    Ok(())
}

async fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let session = Session::open(args).await?;
    let mut keys = session.directory.api_keys();
    keys.sort_by(|a, b| (&a.tenant_id, &a.key_id).cmp(&(&b.tenant_id, &b.key_id)));
    for key in keys {
        if session.json {
            out!(
                "{}",
                json!({"keyId": key.key_id, "tenantId": key.tenant_id})
            );
        } else {
            out!("{}  {}", key.key_id, key.tenant_id);
        }
    }
    Ok(())
}

async fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let session = Session::open(&args.admin).await?;
    let keys = session.directory.api_keys();
    if !keys.iter().any(|key| *key.key_id == *args.id) {
        bail!(
            "no API key with the id \"{}\"; `pushrail api-key list` shows them",
            args.id
        );
    }
    session
        .remove(&Key::ApiKey(args.id.as_str().into()))
        .await?;
    if session.json {
        out!("{}", json!({"keyId": args.id, "revoked": true}));
    } else {
        out!("Revoked API key {}", args.id);
    }
    Ok(())
}
