//! What an operator decides.

use std::net::SocketAddr;
use std::time::Duration;

use pushrail_kafka::Connection;

use crate::http::forward::address_problem;
use crate::input::rules::Limits;
use crate::publish::RECORDS_MAX;

/// Settings of ingest. [`Settings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads, each with its own runtime and producer.
    pub workers: usize,
    /// Threads of direct publishing, each a member of its group; 0 leaves it to other processes.
    pub direct_workers: usize,
    pub connection: Connection,
    /// Where the rest of the API is forwarded to, as `http://host:port`; it is not there without.
    pub control: Option<http::Uri>,
    pub limits: Limits,
    /// Bytes of a single event's body, decompressed.
    pub event_body_len_max: usize,
    /// Bytes of a batch's body, decompressed.
    pub batch_body_len_max: usize,
    /// Events in a batch.
    pub batch_events_max: usize,
    /// Connections at once; more wait in the listener's queue.
    pub connections_max: usize,
    /// Bytes read or queued and not acknowledged, in the whole process. Beyond it: 429.
    pub in_flight_bytes_max: usize,
    /// Events queued and not acknowledged, in the whole process. Beyond it: 429.
    pub in_flight_events_max: usize,
    /// How long Kafka may take to acknowledge a request's events. Beyond it: 503.
    pub ack_timeout: Duration,
    /// How long a request's head may take, and how long a kept connection may be idle.
    pub head_timeout: Duration,
    /// How long a request's body may take. Beyond it: 408.
    pub body_timeout: Duration,
    /// How long requests under way may take to finish at shutdown.
    pub drain_timeout: Duration,
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SettingsError {
    pub name: &'static str,
    pub problem: String,
}

/// Largest payload that may be allowed: `events` takes records of 2 MiB, and sinks have to copy them whole.
pub const PAYLOAD_LEN_CEILING: usize = 1024 * 1024;

impl Settings {
    pub fn new(listen: SocketAddr, connection: Connection) -> Self {
        Settings {
            listen,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            direct_workers: 1,
            connection,
            control: None,
            limits: Limits::default(),
            event_body_len_max: 512 * 1024,
            batch_body_len_max: 5 * 1024 * 1024,
            batch_events_max: 1_000,
            connections_max: 10_000,
            in_flight_bytes_max: 64 * 1024 * 1024,
            in_flight_events_max: 50_000,
            ack_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(15),
        }
    }

    /// Whether they can work together.
    pub fn check(&self) -> Result<(), SettingsError> {
        let at_most = |name, value: usize, max: usize| {
            match value {
                0 => Err("must be at least 1, not 0".to_owned()),
                _ if value > max => Err(format!("must be at most {max}, not {value}")),
                _ => Ok(()),
            }
            .map_err(|problem| SettingsError { name, problem })
        };
        let control = self.control.as_ref().and_then(address_problem);
        if let Some(problem) = control {
            return Err(SettingsError {
                name: "control",
                problem: problem.to_owned(),
            });
        }
        at_most("workers", self.workers, 1_024)?;
        at_most("payload", self.limits.payload_len_max, PAYLOAD_LEN_CEILING)?;
        at_most("batch_events", self.batch_events_max, RECORDS_MAX)?;
        at_most(
            "event_body",
            self.event_body_len_max,
            self.batch_body_len_max,
        )?;
        // A body and what is made of it are held at once; one request must always fit, or it could never pass.
        at_most(
            "batch_body",
            self.batch_body_len_max,
            self.in_flight_bytes_max / 4,
        )?;
        at_most(
            "batch_events",
            self.batch_events_max,
            self.in_flight_events_max,
        )?;
        at_most("connections", self.connections_max, 1_000_000)
    }
}
