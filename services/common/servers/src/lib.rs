//! Starts and stops the servers that Pushrail stands on, for `pushrail dev` and for tests: the real Apache Kafka, a
//! Confluent-compatible schema registry and PostgreSQL, on loopback, each durable in a folder. And, for tests of destinations,
//! the emulators of services that nobody can run.
//!
//! Nothing here is a twin of anything of ours: the services get an address and cannot tell the difference. This crate
//! downloads nothing by itself (`infra/servers/fetch` and `infra/servers/venv` do) and knows no topic, no schema and no table.

mod artifacts;
pub mod bigquery;
mod emulator;
mod error;
mod java;
pub mod kafka;
mod lock;
pub mod moto;
pub mod ports;
pub mod postgres;
mod process;
mod python;
pub mod registry;

pub use artifacts::Artifacts;
pub use bigquery::BigQuery;
pub use emulator::Emulator;
pub use error::Error;
pub use java::Java;
pub use kafka::Kafka;
pub use lock::FolderLock;
pub use postgres::Postgres;
pub use python::Venv;
pub use registry::Registry;
