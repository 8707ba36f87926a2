//! The contract between the engine and a destination type.
//!
//! An adapter owns one call to a destination and its meaning, and nothing else: no Kafka, no retry, no pool, no timer.
//! The engine owns time, batching, concurrency, retry and state, and knows no adapter.

pub mod adapter;
pub mod canonical;
pub mod erased;
pub mod fault;
pub mod info;
mod message;
pub mod record;
pub mod rfc3339;
pub mod secret;

pub use adapter::{
    Adapter, Client, Context, Evidence, FieldError, Outcome, Verdict, Verdicts, group_of,
};
pub use erased::{Batching, Destination, ErasedAdapter, ErasedClient};
pub use fault::{Blame, Class, Fault};
pub use info::{BatchLimits, FailureClass, Info};
pub use message::without_value;
pub use record::{Batch, Record};
pub use secret::Secret;
