//! The command line of `pushrail dev`.

use std::path::PathBuf;

use pushrail_settings::{FileArgs, Hidden, OpsArgs, Property};

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
When everything is ready, and not before, it writes DIR/dev.env with the addresses and an API key:
  source .pushrail/dev.env

Examples:
  pushrail dev                          everything in ./.pushrail, on ports 7400 to 7406
  pushrail dev --port 0                 on free ports, the same ones again next time where they are still free
  pushrail dev --kafka 127.0.0.1:9092   with a Kafka that runs already
  pushrail dev --database @FILE         with a PostgreSQL that runs already, whose URL is in FILE")]
pub struct Args {
    /// Folder that keeps everything: topics, schemas, the database, keys, logs of the servers.
    // No variable: a shell that has sourced dev.env must not change what the next `pushrail dev` does.
    #[arg(long, value_name = "DIR", default_value = ".pushrail")]
    pub data_dir: PathBuf,
    /// First of eight ports on 127.0.0.1: HTTP, echo receiver, registry, Kafka, metrics, PostgreSQL, Kafka with SASL, control
    /// plane. 0 finds free ones.
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub port: u16,
    /// Use this Kafka instead of starting one: host:port, comma separated.
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Any librdkafka property for that Kafka, such as security.protocol=SASL_SSL. Repeat it, or separate by commas.
    #[arg(long = "kafka-property", value_name = "NAME=VALUE", requires = "kafka")]
    pub kafka_properties: Vec<Property>,
    /// Where that Kafka listens for clients that name themselves (SASL, SCRAM-SHA-512): host:port, comma separated.
    #[arg(long, value_name = "HOST:PORT", requires = "kafka")]
    pub kafka_sasl: Option<String>,
    /// Use this Confluent-compatible schema registry instead of starting one.
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// Use this PostgreSQL database instead of starting a server: postgres://user:password@host:port/database, or @FILE.
    #[arg(
        long,
        value_name = "URL",
        hide_env_values = true,
        value_parser = parse_database_url
    )]
    pub database: Option<Hidden>,
    /// Threads of each service.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub workers: usize,
    /// Largest heap of the Kafka that it starts, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 384)]
    pub kafka_heap: u32,
    /// What is logged: a level, or directives such as pushrail_router=debug,info.
    // Without the lines that say nothing to whoever looks at a terminal: what the client library mends by itself, and the
    // end of this process, which is printed anyway.
    #[arg(
        long = "log",
        id = "dev_log",
        value_name = "FILTER",
        default_value = "warn,rdkafka::client=off,librdkafka=error,pushrail::process=off"
    )]
    pub log: String,
    /// Base URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318; every event is traced to it.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    #[command(flatten)]
    pub file: FileArgs,
}

impl Args {
    /// How the process is watched. The operator's server is ours to start: it has a port of the eight.
    pub fn ops(&self) -> OpsArgs {
        OpsArgs {
            listen: None,
            log_format: pushrail_obs::LogFormat::Text,
            log_filter: self.log.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            trace_ratio: 1.0,
        }
    }
}

/// Looks at the beginning only: the rest is for whoever connects, and every error that quoted it would show a password.
fn parse_database_url(text: &str) -> Result<Hidden, String> {
    let url: Hidden = text.parse()?;
    let known = |scheme| url.expose().starts_with(scheme);
    match ["postgres://", "postgresql://"].into_iter().any(known) {
        true => Ok(url),
        false => Err("must be a URL that begins with postgres://, or @ and a file with one".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_url_or_a_file_with_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgresql://u:p@h/d\n").unwrap();
        for (text, url) in [
            ("postgres://h/d".to_owned(), "postgres://h/d"),
            (format!("@{}", file.display()), "postgresql://u:p@h/d"),
        ] {
            assert_eq!(parse_database_url(&text).unwrap().expose(), url);
        }
        for wrong in ["", "mysql://u:hunter2@h/d", "127.0.0.1:5432"] {
            let error = parse_database_url(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
