//! The services: each one's arguments, and what they are turned into.

pub(crate) mod sink;
