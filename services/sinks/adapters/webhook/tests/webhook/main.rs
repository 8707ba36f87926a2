//! The adapter against real servers on loopback.

mod conformance;
mod declaration;
mod delivery;
mod egress;
mod keeping;
mod misbehaving;
mod oauth;
mod support;
mod tls;
