//! The adapter against moto, read back with boto3, and against services that misbehave.

mod conformance;
mod delivery;
mod support;
mod trouble;
