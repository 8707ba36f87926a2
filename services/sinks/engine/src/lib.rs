//! What makes thousands of destinations safe in one partition.
//!
//! A worker is one thread: a current-thread runtime that owns a consumer, its partitions, the lanes of their destinations
//! and the connections. A delivery never changes threads, because that costs more than sending it. What is written of it
//! afterwards is another matter: a turn's conclusions go to the worker's writer in one piece, and nobody waits for them.
//!
//! [`core`] decides and does no I/O: it is told what happened and when, and answers with what to do. That makes every
//! policy in it testable on a seed, at any speed, under any order of events. `worker` does what `core` says.
//! The engine knows no adapter and no SDK; it sees destinations through `pushrail-sink-core`.

pub mod core;
mod metrics;
mod settings;
mod worker;

pub use metrics::Metrics;
pub use settings::{Limits, Settings};
pub use worker::{Changes, Destinations, run};
