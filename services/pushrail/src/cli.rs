//! The commands.

use clap::{Parser, Subcommand};

use crate::{admin, serve};

/// Pushrail delivers a vendor's product events to the places that each of its customers chose.
#[derive(Parser, Debug)]
#[command(
    name = "pushrail",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 120,
    after_help = "\
Try it:
  pushrail dev                                     everything in one process, with a Kafka of its own
  source .pushrail/dev.env                         its addresses and an API key, for the commands below
  pushrail admin destination add --customer c1 --url \"$PUSHRAIL_ECHO_URL\"
  curl \"$PUSHRAIL_URL/v1/events\" -H \"Authorization: Bearer $PUSHRAIL_API_KEY\" \\
    -H 'Content-Type: application/json' \\
    -d '{\"eventType\":\"order.completed\",\"customerExternalId\":\"c1\",\"payload\":{\"total\":42}}'

In earnest, each service alone:
  pushrail topology apply
  pushrail control --listen 0.0.0.0:8081 --database @FILE --admin-key @FILE
  pushrail ingest --listen 0.0.0.0:8080 --control http://control:8081
  pushrail router
  pushrail sink --kind webhook
  pushrail retry
  pushrail feed
  pushrail log --database @FILE
  pushrail replay --database @FILE

Settings come from flags, then the environment (PUSHRAIL_…), then a file (--config FILE), then defaults;
any variable can be given as NAME_FILE=path. `pushrail SERVICE --print-config` shows what took effect."
)]
pub(crate) struct Cli {
    /// File of variables to read first, such as .pushrail/dev.env.
    // Taken off the command line before it is parsed; declared here for the help.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env: Option<std::path::PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run everything in one process, beside a Kafka, a registry and a PostgreSQL that it starts: for development.
    Dev(Box<pushrail_dev::Args>),
    /// Run ingest: accept events over HTTP and from vendors' own topics.
    Ingest(Box<serve::ingest::Args>),
    /// Run the control plane: the API for tenants, customers, destinations and sessions.
    Control(Box<serve::control::Args>),
    /// Run the router: find the destinations of every event, and write a delivery for each.
    Router(Box<serve::router::Args>),
    /// Run one kind's sink: deliver to destinations.
    Sink(Box<serve::sink::Args>),
    /// Run the retry mover: put deliveries back on their way when their delay has passed.
    Retry(Box<serve::retry::Args>),
    /// Run the audit feed: copy audit records to the topics of the tenants that read their own.
    Feed(Box<serve::feed::Args>),
    /// Run the log: keep what became of every event where people can look for it.
    Log(Box<serve::log::Args>),
    /// Run replays: put deliveries on their way again, from dead letters or from the events of a time.
    Replay(Box<serve::replay::Args>),
    /// Show or make the topics and schemas that Pushrail needs.
    #[command(subcommand)]
    Topology(admin::topology::Command),
    /// Ask the control plane: tenants, API keys, customers, destinations, sessions, event types, the audit trail.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Make and rotate the keys that seal destinations' secrets.
    #[command(subcommand)]
    KeyRing(admin::key_ring::Command),
    /// Make and publish the identity with which customers' clouds let this installation in.
    #[command(subcommand)]
    Identity(admin::identity::Command),
}

impl Command {
    /// Whether `--print-config` was given.
    pub(crate) fn wants_settings_printed(&self) -> bool {
        match self {
            Command::Dev(args) => args.file.print_config,
            Command::Ingest(args) => args.file.print_config,
            Command::Control(args) => args.file.print_config,
            Command::Router(args) => args.file.print_config,
            Command::Sink(args) => args.file.print_config,
            Command::Retry(args) => args.file.print_config,
            Command::Feed(args) => args.file.print_config,
            Command::Log(args) => args.file.print_config,
            Command::Replay(args) => args.file.print_config,
            _ => false,
        }
    }

    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Dev(args) => serve::dev::run(*args),
            Command::Ingest(args) => serve::ingest::run(*args),
            Command::Control(args) => serve::control::run(*args),
            Command::Router(args) => serve::router::run(*args),
            Command::Sink(args) => serve::sink::run(*args),
            Command::Retry(args) => serve::retry::run(*args),
            Command::Feed(args) => serve::feed::run(*args),
            Command::Log(args) => serve::log::run(*args),
            Command::Replay(args) => serve::replay::run(*args),
            Command::Topology(command) => admin::run(admin::topology::run(command)),
            Command::Admin(command) => admin::run(command.run()),
            Command::KeyRing(command) => admin::run(admin::key_ring::run(command)),
            Command::Identity(command) => admin::run(admin::identity::run(command)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_declared_soundly() {
        Cli::command().debug_assert();
    }
}
