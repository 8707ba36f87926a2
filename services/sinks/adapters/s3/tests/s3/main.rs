//! The adapter against moto, read back with boto3, and against stores that misbehave.

mod conformance;
mod declaration;
mod delivery;
mod role;
mod support;
mod trouble;
