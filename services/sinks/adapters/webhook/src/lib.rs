//! The webhook destination: one signed POST an event.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, to follow redirects, to use a
//! proxy of the environment, or to connect to an address that its guard has not vetted. The way of an event: `check`
//! (pure, at configuration time) → `client` → `pool` or the dialer of `pushrail-egress` → `http1` → `classify`.

mod check;
mod classify;
mod client;
mod config;
mod deadlines;
mod evidence;
mod failure;
mod headers;
mod http1;
mod oauth;
mod pool;
mod redact;
mod sign;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pushrail_egress::{Dialer, Resolvers, Rules};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info};

pub use classify::{Answer, Reply};
pub use client::Client;
pub use config::{Authentication, ClientAuthentication, Config, OAuth2, Secrets};
pub use failure::{FAILURES, Failure, Phase};
pub use sign::generate_secret;

const USER_AGENT: &str = concat!("Pushrail/", env!("CARGO_PKG_VERSION"));

/// What all webhooks of a process share: the operator's rules, name look-ups and TLS settings.
pub struct Webhook {
    rules: Arc<Rules>,
    resolvers: Resolvers,
}

impl Webhook {
    pub fn new(context: Context) -> Self {
        Webhook {
            rules: Arc::new(Rules::new(&context)),
            resolvers: Default::default(),
        }
    }

    /// Asks these name servers instead of the machine's.
    pub fn with_name_servers(self, servers: Vec<SocketAddr>) -> Self {
        Webhook {
            resolvers: Resolvers::with_servers(servers),
            ..self
        }
    }
}

impl Adapter for Webhook {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "webhook",
        label: "Webhook",
        category: "webhook",
        guide: include_str!("guide.md"),
        batch: BatchLimits::SINGLE,
        batch_max: BatchLimits::SINGLE,
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(30),
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
        let plan =
            check::plan(&config, &secrets, &self.rules).map_err(Fault::invalid_configuration)?;
        let dialer = Dialer {
            rules: self.rules.clone(),
            names: self.resolvers.current(),
            tls: plan.tls.clone(),
        };
        Ok(Client::new(plan, dialer))
    }
}

/// Wall time in Unix milliseconds.
fn now_ms() -> i64 {
    pushrail_clock::now_ms()
}
