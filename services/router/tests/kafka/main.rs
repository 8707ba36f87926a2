//! The router on a real Kafka: what it reads, writes, remembers and survives.
//!
//! Each test has a cluster of its own, because the topics have fixed names; they take turns, because a cluster is large.

mod bed;
mod crash;
mod dedup;
mod pipeline;
