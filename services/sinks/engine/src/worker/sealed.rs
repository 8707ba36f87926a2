//! Records whose event is sealed: whether they can be opened, and opened for as long as they are looked at or sent.
//!
//! What waits, what is copied and what the audit keeps stays sealed as it came, so that an erasure counts until the moment
//! at which a record is sent. An adapter sees records in clear and no others, be it only to weigh them.

use std::sync::Arc;

use pushrail_shred::{Lookup, PayloadKey};
use pushrail_sink_core::{Batch, Fault, Record};

use super::Destinations;

/// Why a record can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Erased,
    /// Nobody has told us of its key, or it is not its key.
    Unknown,
}

/// A record that could be opened when it came, and can't be when it is to be sent.
#[derive(Debug)]
pub(super) struct Gone {
    /// Its place in the batch.
    pub(super) at: usize,
    /// The record comes back, and is set aside then.
    pub(super) fault: Fault,
}

impl Closed {
    fn fault(self) -> Fault {
        match self {
            Closed::Erased => Fault::us(
                "erased",
                "The event was erased while it waited to be delivered.",
            ),
            Closed::Unknown => Fault::us(
                "key_unknown",
                "What the event is sealed with was given up while it waited to be delivered.",
            ),
        }
    }
}

/// The key of a record; `None` of one that is in clear.
pub(super) fn key(
    record: &Record,
    destinations: &dyn Destinations,
) -> Result<Option<PayloadKey>, Closed> {
    if record.event.sealing().is_none() {
        return Ok(None);
    }
    match destinations.key(&record.delivery, &record.event) {
        Lookup::Key(key) => Ok(Some(key)),
        Lookup::Erased => Err(Closed::Erased),
        Lookup::Unknown => Err(Closed::Unknown),
    }
}

/// A record that is sealed, in clear; `None` of one that is in clear anyway.
pub(super) fn opened(
    record: &Record,
    destinations: &dyn Destinations,
) -> Result<Option<Record>, Closed> {
    let Some(key) = key(record, destinations)? else {
        return Ok(None);
    };
    let open = |part: &str, sealed: &[u8]| key.open(part, sealed).ok();
    let event = record.event.opened(open).ok_or(Closed::Unknown)?;
    Ok(Some(Record {
        event,
        delivery: record.delivery.clone(),
        attempt: record.attempt,
    }))
}

/// What can be sent of a batch, in clear, and what can't.
pub(super) fn in_clear(batch: Batch, destinations: &dyn Destinations) -> (Batch, Vec<Gone>) {
    if batch.iter().all(|record| record.event.sealing().is_none()) {
        return (batch, Vec::new());
    }
    let (mut clear, mut gone) = (Batch::new(), Vec::new());
    for (at, record) in batch.into_iter().enumerate() {
        match opened(&record, destinations) {
            Ok(None) => clear.push(record),
            Ok(Some(record)) => clear.push(Arc::new(record)),
            Err(closed) => gone.push(Gone {
                at,
                fault: closed.fault(),
            }),
        }
    }
    (clear, gone)
}
