//! One event on its way to one destination.

use std::sync::Arc;

use pushrail_schemas::Event;
use pushrail_schemas::headers::Delivery;

/// What one call sends. Most calls send one record, and those allocate nothing for it.
pub type Batch = smallvec::SmallVec<[Arc<Record>; 1]>;

/// What an adapter gets to send.
#[derive(Clone, Debug)]
pub struct Record {
    pub event: Event,
    pub delivery: Delivery,
    /// Number of this attempt, from 1.
    pub attempt: u32,
}
