//! `pushrail dev`: every service in one process, beside a Kafka, a schema registry and a PostgreSQL of its own.
//!
//! There is one code path: the services get addresses, as they do in production, and cannot tell that somebody started the
//! servers for them a moment ago. What is here is only what surrounds them: the data folder, the servers, a first tenant
//! with an API key, a receiver to point a first webhook at, and the order in which all that starts and stops.
//!
//! What makes it development: everything listens on loopback, deliveries may go to loopback and without TLS, and topics
//! have one copy.

mod args;
mod echo;
mod env_file;
mod folder;
mod hints;
mod identity;
mod listeners;
mod progress;
mod run;
mod servers;
mod services;

pub use args::Args;
pub use run::{Surroundings, run};
