//! The settings that services share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use pushrail_kafka::Connection;
use pushrail_obs::{LogFormat, Options};

use crate::values::{parse_base_url, parse_brokers, parse_share};
use crate::{Hidden, Property};

/// Where a service's settings are read from and shown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings")]
pub struct FileArgs {
    /// TOML file with settings. Flags and environment win over it.
    #[arg(
        long = "config",
        alias = "config-file",
        id = "config_file",
        env = "PUSHRAIL_CONFIG",
        value_name = "FILE"
    )]
    pub config_file: Option<PathBuf>,
    /// Print every setting of this command and where it comes from, secrets masked, and stop.
    #[arg(long, id = "print_config")]
    pub print_config: bool,
}

/// As [`FileArgs`], for commands on which `--config` means something else.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings")]
pub struct ConfigFileArgs {
    /// TOML file with settings. Flags and environment win over it.
    #[arg(
        long = "config-file",
        id = "config_file",
        env = "PUSHRAIL_CONFIG",
        value_name = "FILE"
    )]
    pub config_file: Option<PathBuf>,
}

/// How to reach Kafka.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers, as host:port, comma separated.
    #[arg(
        long = "kafka",
        id = "kafka_bootstrap",
        env = "PUSHRAIL_KAFKA",
        value_name = "HOST:PORT",
        value_parser = parse_brokers,
        default_value = "127.0.0.1:9092"
    )]
    pub bootstrap: String,
    /// Any librdkafka property, such as security.protocol=SASL_SSL. Repeat it, or separate by commas.
    #[arg(
        long = "kafka-property",
        id = "kafka_properties",
        env = "PUSHRAIL_KAFKA_PROPERTIES",
        value_name = "NAME=VALUE"
    )]
    pub properties: Vec<Property>,
}

impl KafkaArgs {
    pub fn connection(&self) -> Connection {
        let pairs = self.properties.iter().flat_map(Property::pairs);
        Connection {
            bootstrap: self.bootstrap.clone(),
            properties: pairs.cloned().collect::<BTreeMap<_, _>>(),
        }
    }
}

/// How to reach the schema registry.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Schema registry")]
pub struct RegistryArgs {
    /// Base URL of a Confluent-compatible schema registry.
    #[arg(
        long = "registry",
        id = "registry_url",
        env = "PUSHRAIL_REGISTRY",
        value_name = "URL",
        value_parser = parse_base_url,
        default_value = "http://127.0.0.1:8081"
    )]
    pub url: String,
    /// User for basic authentication.
    #[arg(
        long = "registry-user",
        id = "registry_user",
        env = "PUSHRAIL_REGISTRY_USER",
        value_name = "NAME"
    )]
    pub user: Option<String>,
    /// Password for basic authentication, or @FILE.
    #[arg(
        long = "registry-password",
        id = "registry_password",
        env = "PUSHRAIL_REGISTRY_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        requires = "registry_user"
    )]
    pub password: Option<Hidden>,
}

/// How the process is watched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct OpsArgs {
    /// Address of /livez, /readyz and /metrics; off when it is not given. It has no authentication.
    #[arg(
        long = "ops-listen",
        id = "ops_listen",
        env = "PUSHRAIL_OPS_LISTEN",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: Option<SocketAddr>,
    /// How log lines look: text or json.
    #[arg(
        long = "log-format",
        id = "log_format",
        env = "PUSHRAIL_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// What is logged: a level, or directives such as pushrail_router=debug,info.
    #[arg(
        long = "log",
        id = "log_filter",
        env = "PUSHRAIL_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log_filter: String,
    /// Base URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318; traces are off when it is not given.
    #[arg(
        long = "otlp-endpoint",
        id = "otlp_endpoint",
        env = "PUSHRAIL_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = parse_base_url
    )]
    pub otlp_endpoint: Option<String>,
    /// Share of accepted events that are traced, from 0 to 1. Events whose publisher traces them always are.
    #[arg(
        long = "trace-ratio",
        id = "trace_ratio",
        env = "PUSHRAIL_TRACE_RATIO",
        value_name = "SHARE",
        value_parser = parse_share,
        default_value_t = 0.01
    )]
    pub trace_ratio: f64,
}

impl OpsArgs {
    /// What `pushrail_obs::init` takes; `service` is the process' name in traces.
    pub fn options(&self, service: &str) -> Options {
        Options {
            service: service.to_owned(),
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            trace_ratio: self.trace_ratio,
        }
    }
}
