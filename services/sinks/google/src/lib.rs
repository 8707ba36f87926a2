//! What the destinations in Google Cloud share: who we are there, and what its services' refusals mean.
//!
//! Two ways to be let in. **Workload Identity Federation** (preferred): this installation is an OIDC issuer of its own, and
//! signs a token whose subject is the customer's own id here, which nobody can choose. The customer's pool trusts the issuer,
//! and binds that subject to what it may do; that is what keeps one customer from naming another's pool (the confused deputy).
//! Nothing secret is stored, and the customer takes it back without asking us. Or the key file of a service account.
//!
//! Either becomes an access token of an hour ([`Source`]), which is kept, shared by all calls of a destination, and renewed
//! before it ends. Calls go through `pushrail-egress`: vetted addresses, one TLS stack, bounded answers, and one pool of
//! connections a worker, however many destinations there are.

mod check;
mod config;
mod exchange;
mod failure;
mod identity;
mod jwt;
mod local;
mod refusal;
mod rest;
mod source;

pub use check::{Access, access};
pub use config::{Authentication, Secrets};
pub use failure::{FAILURES, Failure};
pub use identity::Identity;
pub use local::{Google, Local, Operator};
pub use refusal::{Meaning, Refusal};
pub use rest::{Answer, Rest};
pub use source::{Source, Token};
