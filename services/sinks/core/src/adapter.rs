//! What an adapter declares and does.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{Class, Fault, Info, Record, canonical};

/// A destination type.
///
/// `Config` and `Secrets` are each one declaration that gives validation, portal form, docs and OpenAPI.
pub trait Adapter: Send + Sync + 'static {
    type Config: DeserializeOwned + JsonSchema + Send + Sync;
    /// Write-only: sealed at rest, masked on every read, never in `Debug`.
    type Secrets: DeserializeOwned + JsonSchema + Send + Sync;
    type Client: Client;

    const INFO: Info;

    /// Calls to one destination that may be under way at the same time, at most. A database has few connections.
    const CALLS_MAX: usize = 64;

    /// Says everything that is wrong with a configuration. Pure: no I/O, same answer every time.
    fn check(
        config: &Self::Config,
        secrets: &Self::Secrets,
        context: &Context,
    ) -> Result<(), Vec<FieldError>>;

    /// Records of one destination share a batch only where this is the same: an object store puts one event type and hour
    /// into a file. Pure, and the same for ever: it decides which batch a record is in when it is read again after a crash.
    /// See [`group_of`]. Kinds that send single records are not asked.
    fn group(_: &Record) -> u64 {
        0
    }

    /// Bytes that a record adds to a call, as the batch limits count them. Where a service refuses a call that is too large,
    /// this must not say too little. Pure.
    fn weigh(record: &Record) -> usize {
        canonical::len_hint(&record.event)
    }

    /// Makes the client of one destination and credential version. It is called on the worker that will use it, and may
    /// connect lazily. A fault here is the destination's or ours, never a record's.
    fn connect(
        &self,
        config: Self::Config,
        secrets: Self::Secrets,
    ) -> impl Future<Output = Result<Self::Client, Fault>> + Send;
}

/// A group from what its records have in common, such as `group_of((event_type, hour))`.
pub fn group_of(common: impl Hash) -> u64 {
    // Its keys are fixed, so that every process of a version says the same.
    let mut hasher = DefaultHasher::new();
    common.hash(&mut hasher);
    hasher.finish()
}

/// A connected destination.
pub trait Client: Send + Sync + 'static {
    type Reply: Send;

    /// One call with what the batch limits allow, all of one group: no retry, no sleep. A record that is larger than the
    /// limits by itself comes alone; what the destination would never take is rejected. Dropping the future gives up the call and leaves nothing behind.
    /// What is not finished at `deadline` must end by itself with a reply that says so.
    fn send(
        &self,
        batch: &[Arc<Record>],
        deadline: Instant,
    ) -> impl Future<Output = Self::Reply> + Send;

    /// What the reply means: one verdict for every record of the batch, in its order. Pure, so that it is tested as a table.
    fn classify(reply: Self::Reply, sent: usize) -> Outcome;
}

/// What a call came to.
#[derive(Debug)]
pub struct Outcome {
    /// One per record sent, in order.
    pub verdicts: Verdicts,
    /// What the destination answered, for the audit record.
    pub evidence: Evidence,
}

pub type Verdicts = SmallVec<[Verdict; 1]>;

/// What becomes of one record. There is no default: an adapter says it for each.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Delivered,
    /// The same bytes may pass later; not before `after`, where the destination said so.
    Retry {
        fault: Fault,
        after: Option<Duration>,
    },
    /// This record never will; the destination is fine.
    Reject {
        fault: Fault,
    },
    /// This destination will not as configured: stop hammering it, tell its owner.
    Suspend {
        fault: Fault,
    },
}

impl Verdict {
    pub fn class(&self) -> Class {
        match self {
            Verdict::Delivered => Class::Delivered,
            Verdict::Retry { .. } => Class::Transient,
            Verdict::Reject { .. } => Class::Permanent,
            Verdict::Suspend { .. } => Class::Suspended,
        }
    }

    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Verdict::Delivered => None,
            Verdict::Retry { fault, .. }
            | Verdict::Reject { fault }
            | Verdict::Suspend { fault } => Some(fault),
        }
    }
}

/// What a destination answered, as far as the audit record keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// HTTP status, where the destination speaks HTTP.
    pub status_code: Option<u16>,
    /// Response headers as lines of `name: value`; credentials removed.
    pub headers: Option<Box<str>>,
    /// The start of the response, 1 KiB at most.
    pub excerpt: Bytes,
}

impl Evidence {
    /// Most bytes of a response that are kept.
    pub const EXCERPT_LEN_MAX: usize = 1024;
}

/// A field of a configuration that is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// Path from the destination: `config.url`, `secrets.password`.
    pub field: String,
    /// What is wrong and what would be right, in one sentence. Never contains the value of a secret.
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// What the operator allows.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Networks that would be refused as private, in CIDR notation, to which deliveries are allowed all the same.
    pub allowed_networks: Vec<Box<str>>,
    /// Whether a destination may be reached without TLS.
    pub allow_plaintext: bool,
}
