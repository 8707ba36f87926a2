//! What every HTTP edge of Pushrail shares: how an error is answered, what becomes of a body that nobody reads, and which
//! addresses may be called.
//!
//! It owns three small decisions and no transport: a server is its service's, a client its adapter's.

pub mod body;
pub mod egress;
pub mod problem;

pub use egress::{Guard, Network, NetworkError, Refused};
pub use problem::{FieldProblem, Problem};
