//! How Pushrail is watched: logs, metrics, traces, and the small server that an operator's tools ask.
//!
//! - **Logs** are events called `noun.verb` (`delivery.attempted`, `partition.assigned`) with fields, as text or JSON
//!   on standard error. Nothing that a customer sent, and no credential, is ever a field.
//! - **Metrics** are registered by the crate that counts, under their full name: `pushrail_<component>_<what>_<unit>`.
//!   Labels come from closed sets (kind, class, partition, tier); an id is never one.
//! - **Traces** follow an event from its acceptance to the destination. Whether one is followed is decided once, at
//!   the edge; everything later obeys the `traceparent` header, and costs nothing where there is none.
//!
//! It owns the process-wide parts (subscriber, exporter); each service owns its names.

pub mod health;
mod init;
pub mod metrics;
mod process;
mod server;
pub mod trace;

pub use health::{Condition, Health, Heartbeat};
pub use init::{Guard, InitError, LogFormat, Options, init};
pub use metrics::Metrics;
pub use server::{router, serve};
pub use trace::{Span, SpanKind, Traceparent};
