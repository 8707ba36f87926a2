//! The PostHog destination: a batch of events is one POST to `/batch/`.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, or to connect by itself. The way of a
//! batch: `check` (pure, at configuration time) → `client` → `event` (what PostHog is told) → `classify`.

mod check;
mod classify;
mod client;
mod config;
mod event;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use pushrail_egress::{Dialer, Http, PerRuntime, Resolvers, Rules, TLS};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info, Record};

pub use classify::Reply;
pub use client::Client;
pub use config::{Config, Secrets};
pub use failure::{FAILURES, Failure};

/// What all PostHog destinations of a process share.
pub struct PostHog {
    rules: Arc<Rules>,
    resolvers: Resolvers,
    http: PerRuntime<Http<Full<Bytes>>>,
}

impl PostHog {
    pub fn new(context: &Context) -> Self {
        PostHog {
            rules: Arc::new(Rules::new(context)),
            resolvers: Resolvers::default(),
            http: PerRuntime::default(),
        }
    }

    /// Connections of this worker.
    fn http(&self) -> Arc<Http<Full<Bytes>>> {
        self.http.current(|| {
            Http::new(Dialer {
                rules: Arc::clone(&self.rules),
                names: self.resolvers.current(),
                tls: TLS.shared(),
            })
        })
    }
}

const MIB: usize = 1024 * 1024;

impl Adapter for PostHog {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "posthog",
        label: "PostHog",
        category: "analytics",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: 100,
            bytes: 4 * MIB,
            age: Duration::from_secs(1),
        },
        // PostHog takes 20 MB a request.
        batch_max: BatchLimits {
            records: 1_000,
            bytes: 16 * MIB,
            age: Duration::from_secs(300),
        },
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(60),
        failures: FAILURES,
    };

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        plan.target
            .check_name(&rules.guard)
            .map_err(|message| vec![FieldError::new("config.instanceUrl", message)])
    }

    fn weigh(record: &Record) -> usize {
        event::len_max(&record.event)
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan =
            check::plan(&config, &secrets, &self.rules).map_err(Fault::invalid_configuration)?;
        Ok(Client::new(plan, self.http()))
    }
}
