//! `pushrail admin config`.

use clap::{Args, Subcommand};
use pushrail_settings::ConfigFileArgs;
use serde_json::json;

use crate::args::DatabaseArgs;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Tell Kafka everything again that the database knows: for a topic `config` that was lost, or another Kafka.
    #[command(after_help = "\
It puts every tenant, API key and destination into the outbox; a running `pushrail control` publishes them.

Example:
  pushrail admin config rebuild --database @/etc/pushrail/database-url")]
    Rebuild(Rebuild),
}

#[derive(Args, Debug)]
pub(crate) struct Rebuild {
    /// Print JSON.
    #[arg(long, help_heading = "Operation")]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    file: ConfigFileArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Rebuild(args) = command;
    let store = args.database.store().await?;
    let told = pushrail_control::rebuild(&store).await?;
    store.close().await;
    match args.json {
        true => out!("{}", json!({"records": told})),
        false => out!(
            "{told} records are on their way to the topic config; `pushrail control` publishes them."
        ),
    }
    Ok(())
}
