//! Commands that change or show configuration, and end.
//!
//! What the control plane owns is asked of its API, so that whoever types a command may do what their key may do, and finds
//! it on the audit trail. Topics and the key ring are the operator's own: those commands talk to Kafka and the database.
//! Output is for people; with `--json` it is one JSON value a line, as the API answers it.

/// As `println!`, but a reader that has enough (`| head`) ends the command quietly.
macro_rules! out {
    ($($text:tt)*) => { $crate::admin::print(format_args!("{}\n", format_args!($($text)*))) };
}

mod api;
mod api_key;
mod audit;
mod config;
mod customer;
mod destination;
mod erasure;
mod event_type;
pub(crate) mod identity;
pub(crate) mod key_ring;
mod session;
mod tenant;
pub(crate) mod topology;

use std::future::Future;
use std::io::Write as _;

use clap::{Args, Subcommand};
use pushrail_obs::Options;
use pushrail_settings::{ConfigFileArgs, KafkaArgs};

/// What is asked of the control plane.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add, list, show, change and remove tenants: the vendors whose events are delivered.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Add, list and revoke API keys.
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// List and remove customers.
    #[command(subcommand)]
    Customer(customer::Command),
    /// Add, list, change, pause, test and remove destinations.
    #[command(subcommand)]
    Destination(destination::Command),
    /// Open and revoke sessions of a customer in the portal.
    #[command(subcommand)]
    Session(session::Command),
    /// Add, list and remove event types of the catalogue.
    #[command(subcommand)]
    EventType(event_type::Command),
    /// Erase an event, a subject or a customer, and see how far that is.
    #[command(subcommand)]
    Erasure(erasure::Command),
    /// List, export and verify the trail of who changed what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Tell Kafka anew what the database knows.
    #[command(subcommand)]
    Config(config::Command),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Tenant(command) => tenant::run(command).await,
            Command::ApiKey(command) => api_key::run(command).await,
            Command::Customer(command) => customer::run(command).await,
            Command::Destination(command) => destination::run(command).await,
            Command::Session(command) => session::run(command).await,
            Command::EventType(command) => event_type::run(command).await,
            Command::Erasure(command) => erasure::run(command).await,
            Command::Audit(command) => audit::run(command).await,
            Command::Config(command) => config::run(command).await,
        }
    }
}

/// What every command takes that talks to Kafka.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// Print JSON, one value a line.
    #[arg(long, help_heading = "Operation")]
    pub(crate) json: bool,
    /// What is logged: a level, or directives; nothing by default.
    #[arg(
        long = "log",
        id = "log_filter_admin",
        value_name = "FILTER",
        default_value = "off",
        help_heading = "Operation"
    )]
    pub(crate) log: String,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) file: ConfigFileArgs,
}

impl AdminArgs {
    /// Logs to standard error what was asked for.
    fn observe(&self) -> anyhow::Result<pushrail_obs::Guard> {
        let options = Options {
            service: "pushrail-admin".to_owned(),
            log_filter: self.log.clone(),
            ..Options::default()
        };
        Ok(pushrail_obs::init(&options)?)
    }
}

fn print(text: std::fmt::Arguments<'_>) {
    if std::io::stdout().write_fmt(text).is_err() {
        std::process::exit(0);
    }
}

/// Runs one command to its end.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
