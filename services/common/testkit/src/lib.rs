//! What tests share: a real Kafka and registry, topics of their own, a real PostgreSQL with databases of their own, AWS as
//! moto has it, a BigQuery, an HTTP receiver that misbehaves on demand, and a way to wait for a condition without sleeping for a guess.
//!
//! [`cluster`] and the server behind [`database`] are shared by all tests of a process, and by all test binaries of a run
//! when `infra/test` has started them beforehand; a test that stops servers, or that needs the fixed topics (`events`, `config`) for itself, starts a
//! [`Cluster::private`] one. Everything here panics instead of returning errors: a test can do nothing better.

mod bigquery;
mod cluster;
mod database;
mod folder;
mod moto;
pub mod receiver;
mod records;
mod wait;

pub use bigquery::{BigQuery, bigquery};
pub use cluster::{Cluster, cluster};
pub use database::database;
pub use moto::{Moto, moto};
pub use receiver::{Receiver, Reply, Request};
pub use records::{Record, headers};
pub use wait::{WITHIN, wait_for, wait_until};
