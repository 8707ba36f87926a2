//! What the router would make of an event for one destination, for whoever replays events to it.
//!
//! It is the same code on an index of one: patterns, tenant and customer, filter, transform and ids cannot come out
//! otherwise than they would for an event that is accepted now. It neither deduplicates nor records what is skipped:
//! nothing new has happened to the event.

use pushrail_payload_keys::PayloadKeys;
use pushrail_schemas::attempt::Attempt;
use pushrail_schemas::config::Destination;
use pushrail_schemas::headers::Delivery;
use uuid::Uuid;

use crate::accepted::Accepted;
use crate::fanout::{Fanout, Out};
use crate::index::Index;
use crate::route::Kind;

/// See the module.
pub struct Single {
    index: Index,
    fanout: Fanout,
    made: Made,
}

/// Why the destination does not get an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It is somebody else's, or of a type that the destination does not name.
    NoMatch,
    /// Its filter does not let it pass, or its transform cannot be applied.
    Filtered,
    Disabled,
    /// It is sealed, and its key is gone.
    Erased,
}

/// The delivery that was made last.
#[derive(Default)]
struct Made {
    delivery: Option<Delivery>,
    value: Vec<u8>,
}

impl Out for Made {
    fn deliver(&mut self, _: &Kind, delivery: &Delivery, value: &[u8]) {
        self.value.clear();
        self.value.extend_from_slice(value);
        self.delivery = Some(delivery.clone());
    }

    fn record(&mut self, _: Uuid, _: &Attempt<'_>) {}
}

impl Single {
    /// `keys` open what is sealed, where the destination's filter or transform has to see into it.
    pub fn new(destination: &Destination, keys: Option<PayloadKeys>) -> Self {
        let mut index = Index::new([]);
        index.put(destination);
        Single {
            index,
            fanout: Fanout::with_keys(keys),
            made: Made::default(),
        }
    }

    /// The delivery of an event, and its value.
    pub fn route(&mut self, accepted: &Accepted<'_>) -> Result<(Delivery, &[u8]), Skipped> {
        let Single {
            index,
            fanout,
            made,
        } = self;
        made.delivery = None;
        let tally = fanout.route(index, accepted, accepted.traceparent, 0, made);
        match made.delivery.take() {
            Some(delivery) => Ok((delivery, &made.value)),
            None if tally.erased > 0 => Err(Skipped::Erased),
            None if tally.disabled > 0 => Err(Skipped::Disabled),
            None if tally.filtered > 0 => Err(Skipped::Filtered),
            None => Err(Skipped::NoMatch),
        }
    }
}
