//! Replays on a real Kafka and a real PostgreSQL.

mod crash;
mod events;
mod letters;
mod states;
mod support;
