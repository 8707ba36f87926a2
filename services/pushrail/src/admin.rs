//! Commands that change or show configuration, and end.
//!
//! Every one judges completely before it writes anything, writes with `acks=all`, and says what it did. Output is for
//! people; with `--json` it is one JSON value a line, the same for every command.

/// As `println!`, but a reader that has enough (`| head`) ends the command quietly.
macro_rules! out {
    ($($text:tt)*) => { $crate::admin::print(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) mod api_key;
pub(crate) mod destination;
pub(crate) mod key_ring;
mod session;
pub(crate) mod tenant;
pub(crate) mod topology;

use std::future::Future;
use std::io::Write as _;

use clap::Args;
use pushrail_obs::Options;
use pushrail_settings::{ConfigFileArgs, KafkaArgs};

/// What every such command takes.
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
