//! The adapter against a real PostgreSQL.

mod conformance;
mod delivery;
mod support;
mod tls;
