//! Servers that check who calls: each destination has a credential of its own, which can be replaced and taken away.

mod kafka;
mod postgres;
mod s3;

use std::path::Path;

use futures::Future;
use serde_json::Value;

use super::Found;

pub use kafka::GuardedKafka;
pub use postgres::GuardedPostgres;
pub use s3::GuardedS3;

pub trait Guarded: Sized + Send {
    const KIND: &'static str;
    const NAME: &'static str;
    const SERVER: &'static str;

    /// Starts the server, with `destinations` and a credential for each.
    fn start(folder: &Path, destinations: u32)
    -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Configuration and secrets with the credential of now.
    fn destination(&self, number: u32) -> (Value, Value);

    /// Makes another credential, beside the one before it where the server has two at a time. Returns the change that its
    /// owner enters.
    fn renew(&mut self, number: u32) -> impl Future<Output = anyhow::Result<Value>> + Send;

    /// Takes away the credentials before the one of now.
    fn retire(&mut self, number: u32) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Takes away the credential of now, connections included.
    fn revoke(&mut self, number: u32) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What the stock client finds.
    fn found(&self) -> impl Future<Output = anyhow::Result<Found>> + Send;
}
