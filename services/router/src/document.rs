//! One event's payload and metadata as JSON, opened when the first filter or transform asks.

use std::cell::OnceCell;

use crate::json::{Invalid, Node};
use crate::path::Root;

/// See the module. Lives as long as one event is being routed and is shared by all of its destinations.
pub(crate) struct Document<'a> {
    payload_bytes: &'a [u8],
    metadata_bytes: &'a [u8],
    payload: OnceCell<Result<Node<'a>, Invalid>>,
    metadata: OnceCell<Result<Node<'a>, Invalid>>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(payload: &'a [u8], metadata: &'a [u8]) -> Self {
        Document {
            payload_bytes: payload,
            metadata_bytes: metadata,
            payload: OnceCell::new(),
            metadata: OnceCell::new(),
        }
    }

    pub(crate) fn root(&self, root: Root) -> Result<&Node<'a>, Invalid> {
        let (cell, bytes) = match root {
            Root::Payload => (&self.payload, self.payload_bytes),
            Root::Metadata => (&self.metadata, self.metadata_bytes),
        };
        let node = cell.get_or_init(|| Node::object(bytes));
        node.as_ref().map_err(|invalid| *invalid)
    }

    /// Whether anybody has asked for it yet.
    #[cfg(test)]
    pub(crate) fn is_opened(&self, root: Root) -> bool {
        match root {
            Root::Payload => self.payload.get().is_some(),
            Root::Metadata => self.metadata.get().is_some(),
        }
    }
}
