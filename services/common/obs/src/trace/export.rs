//! The exporter: a bounded queue and a thread that posts what is in it to an OTLP receiver.
//!
//! It must never hold up an event. When the receiver is slow or gone, spans are dropped and the rest goes on.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};

use crate::InitError;

/// Spans that wait to be sent, at most; some 1 KiB each.
const QUEUE_SPANS_MAX: usize = 16_384;
const BATCH_SPANS_MAX: usize = 1_024;
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

static ACTIVE: OnceLock<Active> = OnceLock::new();

pub(super) struct Active {
    pub(super) tracer: SdkTracer,
    pub(super) ratio: f64,
}

/// The tracer of this process, where traces are on.
pub(super) fn active() -> Option<&'static Active> {
    ACTIVE.get()
}

/// Sends what is left when it is dropped.
pub(crate) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(SHUTDOWN_MAX) {
            tracing::warn!(%error, "traces.dropped");
        }
    }
}

/// Starts exporting to `endpoint`, an OTLP/HTTP base URL, or the whole URL when it ends in `/v1/traces`.
pub(crate) fn start(service: &str, endpoint: &str, ratio: f64) -> Result<Exporter, InitError> {
    let base = endpoint.trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .with_headers(Default::default())
        .build()
        .map_err(|error| InitError::Exporter {
            endpoint: endpoint.to_owned(),
            problem: error.to_string(),
        })?;
    let limits = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(BATCH_AGE_MAX)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(limits)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(
            Resource::builder()
                .with_service_name(service.to_owned())
                .build(),
        )
        .build();
    let tracer = provider.tracer("pushrail");
    // `init` refuses a second call before it comes here.
    let _ = ACTIVE.set(Active { tracer, ratio });
    Ok(Exporter(provider))
}
