//! The control plane as its callers meet it: over HTTP, on a real PostgreSQL.

mod access;
mod destinations;
mod erasures;
mod isolation;
mod kafka;
mod keys;
mod log;
mod payload_mode;
mod quality;
mod replays;
mod secrets;
mod story;
mod support;
mod trail;
