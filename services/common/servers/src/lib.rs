//! Starts and stops the servers that Pushrail stands on, for `pushrail dev` and for tests: the real Apache Kafka, a
//! Confluent-compatible schema registry and PostgreSQL, on loopback, each durable in a folder.
//!
//! Nothing here is a twin of anything in production: the services get an address and cannot tell the difference. This crate
//! downloads nothing by itself (`infra/servers/fetch` does) and knows no topic, no schema and no table.

mod artifacts;
mod error;
mod java;
pub mod kafka;
mod lock;
pub mod ports;
pub mod postgres;
mod process;
pub mod registry;

pub use artifacts::Artifacts;
pub use error::Error;
pub use java::Java;
pub use kafka::Kafka;
pub use lock::FolderLock;
pub use postgres::Postgres;
pub use registry::Registry;
