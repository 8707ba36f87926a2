//! What scripts need and a shell does badly.
//!
//! `xtask with-servers COMMAND...` starts one Kafka, one registry and one PostgreSQL in a folder that is removed afterwards,
//! runs the command with `PUSHRAIL_TEST_KAFKA`, `PUSHRAIL_TEST_KAFKA_SASL`, `PUSHRAIL_TEST_REGISTRY` and
//! `PUSHRAIL_TEST_DATABASE_URL` set, and ends with its exit code: that is how all test binaries of a run share three servers.
//! They die with this process, however it ends.
//!
//! `xtask conformance` prints the table of what each destination type was put through when its tests last ran,
//! `xtask pages` writes each type's page for customers, and `xtask new-destination KIND` begins another type.

mod conformance;
mod new_destination;
mod pages;

use std::process::ExitCode;

use anyhow::{Context, bail};
use pushrail_servers::{Kafka, Postgres, Registry};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: cargo run -p xtask -- with-servers COMMAND [ARGUMENT...]
       cargo run -p xtask -- conformance
       cargo run -p xtask -- pages
       cargo run -p xtask -- new-destination KIND";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<u8> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((task, [])) if task == "conformance" => {
            println!("{}", conformance::table()?);
            Ok(0)
        }
        Some((task, [])) if task == "pages" => {
            pages::write()?;
            Ok(0)
        }
        Some((task, [kind])) if task == "new-destination" => {
            new_destination::make(kind)?;
            Ok(0)
        }
        Some((task, [program, rest @ ..])) if task == "with-servers" => {
            with_servers(program, rest).await
        }
        _ => bail!(USAGE),
    }
}

async fn with_servers(program: &str, arguments: &[String]) -> anyhow::Result<u8> {
    let folder = tempfile::Builder::new()
        .prefix("pushrail-servers-")
        .tempdir()?;
    let (kafka, registry, postgres) = tokio::join!(
        Kafka::builder(folder.path().join("kafka"))
            .heap_mib(512)
            .start(),
        Registry::builder(folder.path().join("registry")).start(),
        Postgres::builder(folder.path().join("postgres")).start(),
    );
    let (mut kafka, mut registry, mut postgres) = (kafka?, registry?, postgres?);
    // The command gets Ctrl-C from the terminal itself; we stay to clean up after it.
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut child = Command::new(program)
        .args(arguments)
        .env("PUSHRAIL_TEST_KAFKA", kafka.bootstrap())
        .env("PUSHRAIL_TEST_KAFKA_SASL", kafka.sasl_bootstrap())
        .env("PUSHRAIL_TEST_REGISTRY", registry.url())
        .env("PUSHRAIL_TEST_DATABASE_URL", postgres.url())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.start_kill()?,
        }
    };
    // Nothing in the folder is worth a clean stop; but PostgreSQL that is killed has processes that still write into it.
    tokio::join!(kafka.kill(), registry.kill(), postgres.stop());
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
