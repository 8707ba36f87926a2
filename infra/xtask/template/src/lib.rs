//! The {label} destination: TODO what one call is.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, or to connect by itself. The way of a
//! batch: `check` (pure, at configuration time) → `client` → `classify`.

mod check;
mod classify;
mod client;
mod config;

use std::sync::Arc;
use std::time::Duration;

use pushrail_egress::{Resolvers, Rules};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info};

pub use classify::{FAILURES, Failure, Reply};
pub use client::Client;
pub use config::{Config, Secrets};

/// What all {label} destinations of a process share.
pub struct {Type} {
    rules: Arc<Rules>,
    resolvers: Resolvers,
}

impl {Type} {
    pub fn new(context: &Context) -> Self {
        {Type} {
            rules: Arc::new(Rules::new(context)),
            resolvers: Resolvers::default(),
        }
    }
}

impl Adapter for {Type} {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "{kind}",
        label: "{label}",
        // TODO webhook, object_storage, warehouse, stream, queue, database or analytics.
        category: "stream",
        guide: include_str!("guide.md"),
        // TODO What a call may carry: by default, and at most.
        batch: BatchLimits::SINGLE,
        batch_max: BatchLimits::SINGLE,
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(60),
        failures: FAILURES,
    };

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        plan.target
            .check_name(&rules.guard)
            .map_err(|message| vec![FieldError::new("config.url", message)])
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan = check::plan(&config, &secrets, &self.rules).map_err(Fault::invalid_configuration)?;
        Ok(Client::new(plan, &self.rules, self.resolvers.current()))
    }
}
