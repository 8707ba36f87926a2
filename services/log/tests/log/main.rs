//! The log against a real Kafka and a real PostgreSQL.

mod bed;
mod index;
mod told;
