//! The process-wide parts: subscriber and exporter.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::trace::export;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("must be text or json, not \"{text}\"")),
        }
    }
}

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Reported as `service.name`: `pushrail-router`.
    pub service: String,
    pub log_format: LogFormat,
    /// `tracing` directives: `info`, `pushrail_router=debug,info`.
    pub log_filter: String,
    /// Base URL of an OTLP/HTTP receiver such as `http://127.0.0.1:4318`; `None` traces nothing.
    pub otlp_endpoint: Option<String>,
    /// Share of accepted events that are followed, from 0 to 1. An event whose publisher already follows it always is.
    pub trace_ratio: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            service: "pushrail".to_owned(),
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            trace_ratio: 0.0,
        }
    }
}

/// Why observation could not start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("log filter \"{filter}\" is not valid: {source}")]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("trace ratio must be between 0 and 1, not {0}")]
    Ratio(f64),
    #[error("the OTLP exporter cannot be set up for \"{endpoint}\": {problem}")]
    Exporter { endpoint: String, problem: String },
    #[error("observation was already set up in this process")]
    Twice(#[from] TryInitError),
}

/// Keeps the exporter alive. Dropping it sends what is still held back, for a few seconds at most, so it belongs at the
/// very end of `main`.
#[must_use]
pub struct Guard {
    _exporter: Option<export::Exporter>,
}

/// Sets up logs and traces for the whole process. Once.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    if !(0.0..=1.0).contains(&options.trace_ratio) {
        return Err(InitError::Ratio(options.trace_ratio));
    }
    let filter = EnvFilter::try_new(&options.log_filter).map_err(|source| InitError::Filter {
        filter: options.log_filter.clone(),
        source,
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match options.log_format {
        LogFormat::Text => logs.finish().try_init()?,
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init()?,
    }
    let exporter = match &options.otlp_endpoint {
        None => None,
        Some(endpoint) => Some(export::start(
            &options.service,
            endpoint,
            options.trace_ratio,
        )?),
    };
    Ok(Guard {
        _exporter: exporter,
    })
}
