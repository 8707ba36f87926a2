//! The command line against a real Kafka and registry.

mod admin;
mod installation;
mod services;
