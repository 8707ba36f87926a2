//! The services: each one's arguments, and what they are turned into.

pub(crate) mod control;
pub(crate) mod dev;
pub(crate) mod feed;
pub(crate) mod ingest;
pub(crate) mod log;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod router;
pub(crate) mod sink;
