//! The feed between real topics.

mod bed;
mod copies;
mod crash;
mod refusals;
