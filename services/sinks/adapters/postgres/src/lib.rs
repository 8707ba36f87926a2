//! The PostgreSQL destination: a batch of events is a transaction of `INSERT … ON CONFLICT (event_id) DO NOTHING`.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, to keep more connections than calls
//! need, or to connect to an address that has not been vetted. The way of a batch: `check` (pure, at configuration time) →
//! `client` → `connect` → `insert` → `classify`.
//!
//! It speaks through `tokio-postgres`, because that takes a connection that is already open: the vetted address is the one
//! connected to, and TLS still knows the host by its name. With sqlx the host's name is looked up a second time.

mod check;
mod classify;
mod client;
mod config;
mod connect;
mod failure;
mod iam;
mod insert;
mod table;

use std::sync::Arc;
use std::time::Duration;

use pushrail_aws::{Aws, Operator, Source};
use pushrail_egress::{Resolvers, Rules};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info};

pub use classify::Reply;
pub use client::Client;
pub use config::{Authentication, Config, Secrets, Tables, Tls};
pub use failure::{FAILURES, Failure};

/// What all PostgreSQL destinations of a process share.
pub struct Postgres {
    rules: Arc<Rules>,
    resolvers: Resolvers,
    aws: Aws,
}

impl Postgres {
    pub fn new(context: Context) -> Self {
        Postgres {
            rules: Arc::new(Rules::new(&context)),
            resolvers: Resolvers::default(),
            aws: Aws::new(&context, Operator::Chain),
        }
    }
}

const MIB: usize = 1024 * 1024;

impl Adapter for Postgres {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "postgres",
        label: "PostgreSQL",
        category: "database",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: 1_000,
            bytes: 4 * MIB,
            age: Duration::from_secs(1),
        },
        batch_max: BatchLimits {
            records: 10_000,
            bytes: 16 * MIB,
            age: Duration::from_secs(300),
        },
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(60),
        failures: FAILURES,
    };

    /// Each is a connection, of which a server has some hundred for everybody.
    const CALLS_MAX: usize = 4;

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        plan.target
            .check_name(&rules.guard)
            .map_err(|message| vec![FieldError::new("config.host", message)])
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan =
            check::plan(&config, &secrets, &self.rules).map_err(Fault::invalid_configuration)?;
        let names = self.resolvers.current();
        let proof = match plan.proof {
            check::Proof::Password(ref password) => connect::Proof::Password(password.clone()),
            check::Proof::Iam {
                ref region,
                ref access,
            } => connect::Proof::Iam(iam::Iam {
                region: region.clone(),
                source: Source::new(access.clone(), &self.aws.local()),
            }),
        };
        Ok(Client::new(plan, proof, Arc::clone(&self.rules), names))
    }
}
