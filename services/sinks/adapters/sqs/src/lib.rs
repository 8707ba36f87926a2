//! The SQS destination: one message an event, up to ten a call.
//!
//! This crate owns one call and what its outcome means. SQS answers message by message, and so do the verdicts: a message that
//! is refused costs its neighbours nothing. The way of a batch: `message` (body, attributes, their size) → `client` (one
//! `SendMessageBatch`, or several where the batch does not fit into one) → `classify`.

mod check;
mod classify;
mod client;
mod config;
mod failures;
mod message;

use std::time::Duration;

use pushrail_aws::{Aws, Operator, Secrets};
use pushrail_egress::Rules;
use pushrail_sink_core::{Adapter, BatchLimits, Context, Fault, FieldError, Info, Record};

pub use classify::{Reply, Result};
pub use client::Client;
pub use config::{Config, Deduplication};
pub use failures::FAILURES;

/// Messages that SQS takes in one call.
const MESSAGES_MAX: usize = 10;
/// Bytes that all messages of a call may have together, and any one of them alone.
const BYTES_MAX: usize = 256 * 1024;

/// What all SQS destinations of a process share.
pub struct Sqs {
    aws: Aws,
}

impl Sqs {
    pub fn new(context: &Context) -> Self {
        Sqs::with_operator(context, Operator::Chain)
    }

    /// Roles are assumed with these credentials instead of those of the SDK's default chain.
    pub fn with_operator(context: &Context, operator: Operator) -> Self {
        Sqs {
            aws: Aws::new(context, operator),
        }
    }
}

impl Adapter for Sqs {
    type Config = Config;
    type Secrets = Secrets;
    type Client = Client;

    const INFO: Info = Info {
        kind: "sqs",
        label: "Amazon SQS",
        category: "queue",
        guide: include_str!("guide.md"),
        batch: BatchLimits {
            records: MESSAGES_MAX,
            bytes: BYTES_MAX,
            age: Duration::from_millis(100),
        },
        batch_max: BatchLimits {
            records: MESSAGES_MAX,
            bytes: BYTES_MAX,
            age: Duration::from_secs(60),
        },
        timeout_default: Duration::from_secs(15),
        timeout_max: Duration::from_secs(60),
        failures: &FAILURES,
    };

    fn check(
        config: &Config,
        secrets: &Secrets,
        context: &Context,
    ) -> std::result::Result<(), Vec<FieldError>> {
        let rules = Rules::new(context);
        let plan = check::plan(config, secrets, &rules)?;
        let field = match config.endpoint {
            Some(_) => "config.endpoint",
            None => "config.queueUrl",
        };
        pushrail_aws::endpoint_name(field, &plan.place, &rules)
    }

    fn weigh(record: &Record) -> usize {
        message::len_max(record)
    }

    async fn connect(
        &self,
        config: Config,
        secrets: Secrets,
    ) -> std::result::Result<Client, Fault> {
        let plan = check::plan(&config, &secrets, self.aws.rules())
            .map_err(Fault::invalid_configuration)?;
        Ok(Client::new(plan, self.aws.local()))
    }
}
