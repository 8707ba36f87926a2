//! The BigQuery destination: a batch of events is rows appended to a stream of the Storage Write API.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, or to connect by itself. The way of a
//! batch: `check` (pure, at configuration time) → `client` (a token, the tables of the batch) → `stream` (rows at an offset) →
//! `api` (what is asked of BigQuery) → `classify`.
//!
//! **Exactly once, as far as it goes.** Each table of a destination has a stream of its own, committed, and each append says at
//! which offset it stands, so an append that arrives twice is there once. When an answer is lost, the stream is asked how many
//! rows it has before anything else is sent: the engine may send the same events again, in other company, and they are
//! recognised. What a process knew of its streams goes with it; what is sent twice then is told by its `event_id`.

mod api;
mod check;
mod classify;
mod client;
mod config;
mod failure;
mod grpc;
mod row;
mod stream;
mod table;

use std::sync::Arc;
use std::time::Duration;

use pushrail_egress::{Dialer, Http2, PerRuntime, TLS};
use pushrail_google::{Google, Operator, Secrets};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info};

pub use classify::Reply;
pub use client::Client;
pub use config::{Config, Tables};
pub use failure::{FAILURES, Failure};

/// What all BigQuery destinations of a process share.
pub struct BigQuery {
    google: Google,
    grpc: PerRuntime<Http2<tonic::body::Body>>,
}

impl BigQuery {
    pub fn new(context: &Context) -> Self {
        BigQuery::with_operator(context, Operator::default())
    }

    /// With this identity instead of the one that the environment names.
    pub fn with_operator(context: &Context, operator: Operator) -> Self {
        BigQuery {
            google: Google::new(context, operator),
            grpc: PerRuntime::default(),
        }
    }

    /// Connections of this worker for gRPC.
    fn grpc(&self) -> Arc<Http2<tonic::body::Body>> {
        self.grpc.current(|| {
            Http2::new(Dialer {
                tls: TLS.http2(),
                ..self.google.dialer()
            })
        })
    }
}

const MIB: usize = 1024 * 1024;

impl Adapter for BigQuery {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "bigquery",
        label: "BigQuery",
        category: "warehouse",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: 500,
            bytes: 4 * MIB,
            age: Duration::from_secs(5),
        },
        batch_max: BatchLimits {
            records: 10_000,
            bytes: 16 * MIB,
            age: Duration::from_secs(300),
        },
        timeout_default: Duration::from_secs(30),
        timeout_max: Duration::from_secs(120),
        failures: FAILURES,
    };

    /// Appends to one table wait for each other; more calls than this would only wait.
    const CALLS_MAX: usize = 4;

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = pushrail_egress::Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        for (field, target) in [
            ("config.endpoint", &plan.rest),
            ("config.storageEndpoint", &plan.storage),
        ] {
            target
                .check_name(&rules.guard)
                .map_err(|message| vec![FieldError::new(field, message)])?;
        }
        Ok(())
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan = check::plan(&config, &secrets, self.google.rules())
            .map_err(Fault::invalid_configuration)?;
        Ok(Client::new(plan, self.google.local(), self.grpc()))
    }
}
