//! The log against a real Kafka and a real PostgreSQL.

mod bed;
mod erased;
mod index;
mod retention;
mod told;
