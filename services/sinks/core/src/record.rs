//! One event on its way to one destination.

use pushrail_schemas::Event;
use pushrail_schemas::headers::Delivery;

/// What an adapter gets to send.
#[derive(Clone, Debug)]
pub struct Record {
    pub event: Event,
    pub delivery: Delivery,
    /// Number of this attempt, from 1.
    pub attempt: u32,
}
