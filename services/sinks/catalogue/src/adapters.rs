//! The destination types of this build: one line each, in the order of their folders' names.

use std::sync::Arc;

use pushrail_sink_core::{Context, ErasedAdapter};

/// Makes the adapter of `kind`, with what the operator allows.
pub fn adapter(kind: &str, context: &Context) -> Option<Arc<dyn ErasedAdapter>> {
    match kind {
        #[cfg(feature = "bigquery")]
        "bigquery" => Some(Arc::new(pushrail_bigquery::BigQuery::new(context))),
        #[cfg(feature = "kafka")]
        "kafka" => Some(Arc::new(pushrail_kafka_destination::Kafka::new(context))),
        #[cfg(feature = "postgres")]
        "postgres" => Some(Arc::new(pushrail_postgres::Postgres::new(context.clone()))),
        #[cfg(feature = "posthog")]
        "posthog" => Some(Arc::new(pushrail_posthog::PostHog::new(context))),
        #[cfg(feature = "s3")]
        "s3" => Some(Arc::new(pushrail_s3::S3::new(context))),
        #[cfg(feature = "sqs")]
        "sqs" => Some(Arc::new(pushrail_sqs::Sqs::new(context))),
        "webhook" => Some(Arc::new(pushrail_webhook::Webhook::new(context.clone()))),
        _ => None,
    }
}

/// The kinds that [`adapter`] knows.
pub const KINDS: &[&str] = &[
    #[cfg(feature = "bigquery")]
    "bigquery",
    #[cfg(feature = "kafka")]
    "kafka",
    #[cfg(feature = "postgres")]
    "postgres",
    #[cfg(feature = "posthog")]
    "posthog",
    #[cfg(feature = "s3")]
    "s3",
    #[cfg(feature = "sqs")]
    "sqs",
    "webhook",
];

/// [`KINDS`], for settings that own theirs.
pub fn kinds() -> Vec<String> {
    KINDS.iter().map(|kind| (*kind).to_owned()).collect()
}

/// Every adapter with its kind, for whoever judges destinations and does not only deliver to one kind.
pub fn adapters(context: &Context) -> Vec<(&'static str, Arc<dyn ErasedAdapter>)> {
    let made = |kind: &&'static str| Some((*kind, adapter(kind, context)?));
    KINDS.iter().filter_map(made).collect()
}
