//! One step of one event, or nothing at all.

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};

use super::Traceparent;
use super::export::{Active, active};

/// What role a step plays, in OpenTelemetry's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a request.
    Server,
    /// Makes one.
    Client,
    /// Reads from Kafka and acts on it.
    Consumer,
    /// Writes to Kafka.
    Producer,
    Internal,
}

/// A step that is recorded from now until it is dropped or ended; empty, and free, where the event is not followed.
#[must_use]
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    pub const NONE: Span = Span(None);

    /// The first step of an event: here it is decided whether it is followed. It is when its publisher says so in
    /// `incoming`, or else for the configured share of events.
    pub fn root(name: &'static str, kind: SpanKind, incoming: Option<Traceparent>) -> Span {
        let Some(active) = active() else {
            return Span::NONE;
        };
        let followed = incoming.is_some_and(|parent| parent.is_sampled())
            || (active.ratio > 0.0 && rand::random::<f64>() < active.ratio);
        if !followed {
            return Span::NONE;
        }
        start(active, name, kind, incoming)
    }

    /// A later step, under the step that `traceparent` names; empty unless that one is followed.
    pub fn child(name: &'static str, kind: SpanKind, traceparent: Option<&str>) -> Span {
        let (Some(text), Some(active)) = (traceparent, active()) else {
            return Span::NONE;
        };
        match Traceparent::parse(text.as_bytes()) {
            Some(parent) if parent.is_sampled() => start(active, name, kind, Some(parent)),
            _ => Span::NONE,
        }
    }

    /// Whether anything is recorded; guards work that is only done for the record.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// What to hand on, so that the next step becomes a child of this one. `None` when this one is empty: then hand on
    /// what came in.
    pub fn traceparent(&self) -> Option<Traceparent> {
        let context = self.0.as_ref()?.span_context();
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
        let span_id = u64::from_be_bytes(context.span_id().to_bytes());
        Traceparent::new(trace_id, span_id, context.is_sampled())
    }

    pub fn set_text(&mut self, key: &'static str, value: &str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value.to_owned()));
        }
    }

    pub fn set_number(&mut self, key: &'static str, value: i64) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Marks the step as failed, with a reason that names no credential.
    pub fn fail(&mut self, reason: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(reason.to_owned()));
        }
    }

    /// Ends the step now. Dropping does the same.
    pub fn end(self) {
        drop(self);
    }
}

fn start(active: &Active, name: &'static str, kind: SpanKind, parent: Option<Traceparent>) -> Span {
    let kind = match kind {
        SpanKind::Server => opentelemetry::trace::SpanKind::Server,
        SpanKind::Client => opentelemetry::trace::SpanKind::Client,
        SpanKind::Consumer => opentelemetry::trace::SpanKind::Consumer,
        SpanKind::Producer => opentelemetry::trace::SpanKind::Producer,
        SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
    };
    let context = parent.map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(parent.trace_id),
            SpanId::from(parent.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        ))
    });
    let builder = active.tracer.span_builder(name).with_kind(kind);
    let span = active.tracer.build_with_context(builder, &context);
    Span(Some(Box::new(span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_followed_costs_nothing() {
        assert_eq!(size_of::<Span>(), size_of::<usize>());
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut span = Span::child("deliver", SpanKind::Client, Some(parent));
        assert!(!span.is_recording(), "no exporter, so nobody records");
        span.set_text("key", "value");
        assert_eq!(span.traceparent(), None);
    }
}
