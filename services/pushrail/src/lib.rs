//! The command line: what can be asked for, and who does it.
//!
//! It owns arguments, the process around a service (signals, logs, the operator's server) and what is printed. It decides
//! nothing about events, destinations or topics: that is done by the crates that it calls.

mod admin;
mod args;
mod cli;
mod process;
mod serve;

use std::process::ExitCode;

use pushrail_settings::{Error, Surroundings};

/// Exit code for a command that cannot be understood, as shells and clap have it.
const USAGE: u8 = 2;

/// Reads the command line, does what it asks, and says how it went.
pub fn main() -> ExitCode {
    let loaded = Surroundings::of_process()
        .with_env_file()
        .and_then(|surroundings| pushrail_settings::load::<cli::Cli>(&surroundings));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        // Also --help and --version, which go to standard output and are no failure.
        Err(Error::Usage(error)) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if loaded.settings.command.wants_settings_printed() {
        print!("{}", loaded.print());
        return ExitCode::SUCCESS;
    }
    match loaded.settings.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
