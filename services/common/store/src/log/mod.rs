//! The delivery log: what became of each event, kept for people to look for.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `write` | attempts and dead letters on their way in, each once |
//! | `search` | attempts and deliveries, newest first |
//! | `dead_letters` | what lies on `dlq.*` |
//! | `figures` | attempts by the minute and the hour |
//! | `health` | how each destination is |
//! | `keep` | partitions, and what is too old |
//!
//! Nothing of a delivery depends on these tables.

pub mod dead_letters;
pub mod figures;
pub mod health;
pub mod keep;
pub mod search;
mod time;
pub mod write;

pub use time::{DAY_US, HOUR_US, MINUTE_US, Micros};
