//! What every adapter must do, as one suite that each adapter's tests run against a real server.
//!
//! An adapter describes how to reach its server and what trouble the server can make ([`Subject`]); the suite sends through a
//! proxy that can make the rest ([`proxy`]), and judges ([`run`]). A case that a type cannot have says why in the table;
//! nothing is skipped in silence. The table is printed, and written to `target/conformance/<kind>.json`, from where
//! `cargo run -p xtask -- conformance` gathers one table of all types.
//!
//! It belongs to tests alone: no crate depends on it when it runs.

mod by_hand;
mod cases;
mod declaration;
pub mod proxy;
mod report;
mod sample;
mod subject;
mod suite;

pub use by_hand::{connect, send_within, verdict, verdicts};
pub use sample::{record, record_of, records};
pub use subject::{Case, Expected, Given, Subject, Trouble, delivered, reject, retry, suspend};
pub use suite::run;
