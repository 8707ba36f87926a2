//! The S3 destination: batches of events as files, in Amazon S3 or a store that speaks its API.
//!
//! This crate owns one batch and what its outcome means. A batch becomes one object, of events of one type that were accepted
//! in one hour, and the object is named after what is in it: the same batch has the same key, so that sending it again changes
//! nothing. The way of a batch: `group` (what shares one) → `file` (lines, their hash, compression) → `key` → `client` (one
//! `PutObject`) → `classify`.

mod check;
mod classify;
mod client;
mod config;
mod failures;
mod file;
mod key;
mod parquet;

use std::time::Duration;

use pushrail_aws::{Aws, Operator, Secrets};
use pushrail_egress::Rules;
use pushrail_sink_core::{
    Adapter, BatchLimits, Context, Fault, FieldError, Info, Record, group_of,
};

pub use classify::{Part, Reply};
pub use client::Client;
pub use config::{Compression, Config, Encryption, Format};
pub use failures::FAILURES;

/// Events are collected by the minute in which they were accepted. Batches that are cut by their age would be cut elsewhere
/// when they are collected again after a crash; a minute holds the same events every time, so its object has the same key.
const WINDOW_US: i64 = 60_000_000;

/// What all S3 destinations of a process share.
pub struct S3 {
    aws: Aws,
}

impl S3 {
    pub fn new(context: &Context) -> Self {
        S3::with_operator(context, Operator::Chain)
    }

    /// Roles are assumed with these credentials instead of those of the SDK's default chain.
    pub fn with_operator(context: &Context, operator: Operator) -> Self {
        S3 {
            aws: Aws::new(context, operator),
        }
    }
}

impl Adapter for S3 {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "s3",
        label: "Amazon S3",
        category: "object_storage",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: 1_000,
            bytes: 1_000_000,
            age: Duration::from_secs(60),
        },
        batch_max: BatchLimits {
            records: 10_000,
            bytes: 16_000_000,
            // No longer than a window: nothing would come any more.
            age: Duration::from_secs(60),
        },
        timeout_default: Duration::from_secs(30),
        timeout_max: Duration::from_secs(120),
        failures: &FAILURES,
    };

    fn check(config: &Config, secrets: &Secrets, context: &Context) -> Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        pushrail_aws::endpoint_name("config.endpoint", &plan.place, &rules)
    }

    fn group(record: &Record) -> u64 {
        let window = record.event.received_at_us().div_euclid(WINDOW_US);
        group_of((record.event.event_type(), window))
    }

    async fn connect(&self, config: Config, secrets: Secrets) -> Result<Client, Fault> {
        let plan = check::plan(&config, &secrets, self.aws.rules())
            .map_err(Fault::invalid_configuration)?;
        Ok(Client::new(plan, self.aws.local()))
    }
}
