//! The adapter against a real Apache Kafka, with listeners of every kind, and stock clients that read what arrived.

mod bed;
mod conformance;
mod delivery;
mod limits;
mod security;
mod threads;
