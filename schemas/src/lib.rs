//! The only types that cross a topic.
//!
//! The `.avsc` files in `avro/` are the source; the Rust types here are written against them and held to them by golden
//! bytes. What is on the hot path (reading an [`Event`], writing an [`Attempt`]) is done by hand against the registered
//! schema and property-tested against `apache-avro`; everything else uses the library.

pub mod attempt;
pub mod avro;
pub mod config;
pub mod event;
pub mod event_input;
pub mod filter;
pub mod headers;
pub mod identity;
pub mod path;
mod payload_mode;
pub mod problem;
pub mod registry;
mod shape;
pub mod transform;
pub mod wire;

pub use attempt::Attempt;
pub use event::Event;
pub use problem::Problem;
