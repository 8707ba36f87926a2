//! What the destinations in AWS share: who we are there, and how a call gets there.
//!
//! Two ways to be let in. A **role** of the customer's that we assume with `sts:AssumeRole` (preferred): nothing secret is
//! stored, and the customer takes it back without asking us. Its external id is the customer's own id here, which nobody can
//! choose: that is what keeps one customer from naming another's role (AWS calls it the confused deputy). Or a pair of access
//! keys. The credentials that assume roles are the operator's, from the SDK's default chain, and go nowhere but to STS.
//!
//! The SDK signs and parses; it neither retries nor waits nor connects. Its HTTP client is ours ([`Http`]): vetted addresses,
//! one TLS stack, bounded answers, and one pool of connections a worker, however many destinations there are.

mod check;
mod config;
mod credentials;
mod failure;
mod http;
mod local;
mod operator;
mod refusal;
mod sts;

pub use check::{Access, Place, access, endpoint_name, place};
pub use config::{Authentication, Secrets};
pub use credentials::Source;
pub use failure::{FAILURES, Failure};
pub use http::Http;
pub use local::{Aws, Local};
pub use operator::Operator;
pub use refusal::{Meaning, Refusal};

/// Longest that a service's answer is read. Those of the calls that are made here have a few KiB.
const ANSWER_LEN_MAX: usize = 256 * 1024;
