//! The relay and its clients against a real Kafka.

mod consumer;
mod group;
mod hold;
mod outage;
mod refusal;
mod support;
mod worker;
