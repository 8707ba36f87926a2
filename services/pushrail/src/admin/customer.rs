//! `pushrail admin customer`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::api::{ApiArgs, text};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List customers. One is made when it is first named.
    List(ApiArgs),
    /// Remove a customer with its destinations and sessions. What is owed to its destinations is dead-lettered.
    Remove(Remove),
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The vendor's own id of the customer.
    #[arg(value_name = "CUSTOMER")]
    id: String,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(&args).await,
        Command::Remove(args) => remove(&args).await,
    }
}

async fn list(args: &ApiArgs) -> anyhow::Result<()> {
    let api = args.tenant()?;
    for customer in api.list(&["customers"]).await? {
        match api.json {
            true => out!("{customer}"),
            false => out!(
                "{}  {}",
                text(&customer, "externalId"),
                text(&customer, "name")
            ),
        }
    }
    Ok(())
}

async fn remove(args: &Remove) -> anyhow::Result<()> {
    let api = args.api.tenant()?;
    api.delete(&["customers", &args.id]).await?;
    match api.json {
        true => out!("{}", json!({"externalId": args.id, "removed": true})),
        false => out!("Removed customer {}", args.id),
    }
    Ok(())
}
