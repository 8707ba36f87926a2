//! Puts load on Pushrail, misbehaves towards it, kills it, and judges what it did.
//!
//! Each scenario starts real servers, runs Pushrail's services as separate processes of the release binary, and writes a
//! report with what must hold. Nothing leaves the loopback interface. Pushrail's own code is used for ids, headers,
//! the schemas and sealed secrets, and for nothing that is judged; where the router's look-up is measured by itself, the
//! report says so.

pub mod api;
pub mod baseline;
pub mod bed;
pub mod chaos;
pub mod destinations;
pub mod generator;
mod http;
pub mod kafka;
pub mod keeper;
pub mod machine;
pub mod oracle;
pub mod place;
pub mod plane;
mod progress;
pub mod receiver;
pub mod report;
pub mod sample;
pub mod scenario;
pub mod services;
pub mod stats;
pub mod witness;
