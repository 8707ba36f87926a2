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
