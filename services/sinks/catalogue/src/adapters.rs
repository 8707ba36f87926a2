//! The destination types of this build: one line each, in the order of their folders' names.

use std::sync::Arc;

use pushrail_sink_core::{Context, ErasedAdapter};

/// Makes the adapter of `kind`, with what the operator allows.
pub fn adapter(kind: &str, context: &Context) -> Option<Arc<dyn ErasedAdapter>> {
    match kind {
        "webhook" => Some(Arc::new(pushrail_webhook::Webhook::new(context.clone()))),
        _ => None,
    }
}

/// The kinds that [`adapter`] knows.
pub const KINDS: &[&str] = &["webhook"];

/// Every adapter with its kind, for whoever judges destinations and does not only deliver to one kind.
pub fn adapters(context: &Context) -> Vec<(&'static str, Arc<dyn ErasedAdapter>)> {
    let made = |kind: &&'static str| Some((*kind, adapter(kind, context)?));
    KINDS.iter().filter_map(made).collect()
}
