//! The Kafka destination: one record an event, in order by key, in a topic of the customer's own cluster.
//!
//! This crate owns one call and what its outcome means. It refuses to retry, to batch, to create topics, or to connect to an
//! address that has not been vetted, whoever names it: the customer, or a broker. The way of a batch: `check` (pure, at
//! configuration time) → `message` → `client` → `session` (who waits for what) → `native` (librdkafka) → `classify`.
//!
//! See `topology/decisions/0023` for why librdkafka is used without rdkafka's producers.

mod check;
mod classify;
mod client;
mod config;
mod failure;
mod message;
mod native;
mod oauth;
mod session;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use pushrail_egress::{Resolvers, Rules};
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info, Record};

pub use classify::Reply;
pub use client::Client;
pub use config::{
    Authentication, ClientAuthentication, Compression, Config, Key, OAuth2, Secrets, Tls,
};
pub use failure::{FAILURES, Failure};

/// Calls to one destination at the same time. They share a producer, which keeps their order.
const CALLS_MAX: usize = 4;
/// The most that a call may carry.
const BATCH_LEN_MAX: usize = 8 * 1024 * 1024;
const BATCH_RECORDS_MAX: usize = 10_000;

/// What all Kafka destinations of a process share.
pub struct Kafka {
    rules: Arc<Rules>,
    resolvers: Resolvers,
}

impl Kafka {
    pub fn new(context: &Context) -> Self {
        Kafka {
            rules: Arc::new(Rules::new(context)),
            resolvers: Resolvers::default(),
        }
    }
}

impl Adapter for Kafka {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "kafka",
        label: "Apache Kafka",
        category: "stream",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: BATCH_RECORDS_MAX,
            bytes: 1024 * 1024,
            age: Duration::from_millis(100),
        },
        batch_max: BatchLimits {
            records: BATCH_RECORDS_MAX,
            bytes: BATCH_LEN_MAX,
            age: Duration::from_secs(60),
        },
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(60),
        failures: FAILURES,
    };

    const CALLS_MAX: usize = CALLS_MAX;

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        check::plan(config, secrets, &rules)?.check_names(&rules)
    }

    fn weigh(record: &Record) -> usize {
        message::len_max(record)
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan =
            check::plan(&config, &secrets, &self.rules).map_err(Fault::invalid_configuration)?;
        let grant = oauth::Grant::of(&plan, &self.rules, self.resolvers.current());
        Ok(Client::new(plan, grant, Arc::clone(&self.rules)))
    }
}
