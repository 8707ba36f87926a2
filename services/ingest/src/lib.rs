//! Ingest: where events come in, over HTTP and straight from Kafka, and become durable records on `events`.
//!
//! It owns what an event must be ([`input`]), how it is answered ([`http`]), and when it counts as accepted: when
//! Kafka has acknowledged it to all in-sync replicas, never earlier. It knows nothing of destinations.

pub mod budget;
pub mod event;
pub mod http;
pub mod input;
pub mod json;
pub mod keys;
pub mod metrics;
pub mod publish;
pub mod server;
pub mod settings;

pub use settings::Settings;
