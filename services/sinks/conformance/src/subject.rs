//! What an adapter says of itself to the suite.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pushrail_sink_core::{Adapter, Context, Record, Verdict};
use serde_json::Value;
use uuid::Uuid;

use crate::proxy::Fault;

/// One type and its server.
pub trait Subject: Send + Sync + 'static {
    type Adapter: Adapter;

    /// What it runs against, as the table has it: `PostgreSQL 18.1`.
    fn against(&self) -> String;

    /// The adapter for an operator who allows this.
    fn adapter(&self, context: Context) -> Self::Adapter;

    /// Where the server listens, without TLS: the suite puts its proxy in front.
    fn server(&self) -> SocketAddr;

    /// Port of the suite's proxy, where the server has to know it: one that tells its clients where to go. 0 is any.
    fn proxy_port(&self) -> u16 {
        0
    }

    /// A destination that works, for a server at `at`.
    fn destination(&self, at: SocketAddr) -> Given;

    /// The file that the declaration is compared with.
    fn golden(&self) -> PathBuf;

    /// Ids of the events that have arrived, each as often as it is there, read by a stock client.
    fn arrived(&self) -> impl Future<Output = Vec<Uuid>> + Send;

    /// Records that are sent again are there once all the same. A type where the receiver has to tell them apart says how.
    fn recognises_repeats(&self) -> Case<()>;

    /// Answers that judge records of one call differently; every way that the service has.
    fn partial_failures(&self, at: SocketAddr) -> Case<Vec<Trouble>>;

    /// The service wants less; with the wait that it asks for, where its protocol can say one.
    fn throttled(&self, at: SocketAddr) -> Case<Vec<Trouble>>;

    /// Credentials that the service refuses, each in its way.
    fn rejected_credentials(&self, at: SocketAddr) -> Case<Vec<Trouble>>;

    /// A record that the service will never take because of its size.
    fn oversized(&self, at: SocketAddr) -> Case<Trouble>;

    /// An answer that never ends. What is expected is a verdict of any kind and bounded memory: [`Trouble::expected`] may be
    /// empty.
    fn huge_reply(&self, at: SocketAddr) -> Case<Trouble>;

    /// Further cases of this type alone.
    fn own(&self, _: SocketAddr) -> Vec<Trouble> {
        Vec::new()
    }
}

/// A case, or why the type cannot have it, in one sentence.
pub type Case<T> = Result<T, &'static str>;

/// A destination's configuration and secrets.
#[derive(Clone, Debug)]
pub struct Given {
    pub config: Value,
    pub secrets: Value,
}

/// One call that goes wrong, wholly or in part.
#[derive(Clone)]
pub struct Trouble {
    /// What goes wrong.
    pub name: &'static str,
    /// `None`: the destination that works.
    pub given: Option<Given>,
    pub records: Vec<Arc<Record>>,
    /// What the proxy does; [`Fault::None`] where the server itself makes the trouble.
    pub fault: Fault,
    /// One a record.
    pub expected: Vec<Expected>,
}

impl Trouble {
    /// Trouble of the destination that works, and what becomes of every record of it.
    pub fn new(
        name: &'static str,
        records: Vec<Arc<Record>>,
        fault: Fault,
        expected: Expected,
    ) -> Self {
        Trouble {
            name,
            given: None,
            expected: vec![expected; records.len()],
            records,
            fault,
        }
    }
}

/// What a record's verdict must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Delivered,
    Retry {
        code: &'static str,
        after: Option<Duration>,
    },
    Reject {
        code: &'static str,
    },
    Suspend {
        code: &'static str,
    },
}

pub fn delivered() -> Expected {
    Expected::Delivered
}

pub fn retry(code: &'static str) -> Expected {
    Expected::Retry { code, after: None }
}

pub fn reject(code: &'static str) -> Expected {
    Expected::Reject { code }
}

pub fn suspend(code: &'static str) -> Expected {
    Expected::Suspend { code }
}

impl Expected {
    pub(crate) fn is(&self, verdict: &Verdict) -> bool {
        match (self, verdict) {
            (Expected::Delivered, Verdict::Delivered) => true,
            (
                Expected::Retry {
                    code,
                    after: wanted,
                },
                Verdict::Retry { fault, after },
            ) => fault.code == *code && after == wanted,
            (Expected::Reject { code }, Verdict::Reject { fault })
            | (Expected::Suspend { code }, Verdict::Suspend { fault }) => fault.code == *code,
            _ => false,
        }
    }
}
