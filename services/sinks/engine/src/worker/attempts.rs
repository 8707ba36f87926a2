//! Attempts under way, and the clients they use.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use pushrail_obs::trace::{Span, SpanKind};
use pushrail_sink_core::erased::BoxFuture;
use pushrail_sink_core::{Batch, ErasedClient, Evidence, Fault, Outcome, Record, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::{Flight, Start, Target};
use crate::metrics::Metrics;

/// How much later than its deadline an adapter may end by itself before it is cut off.
const GRACE: Duration = Duration::from_millis(500);
/// Longest time that making a client may take.
const CONNECT_MAX: Duration = Duration::from_secs(30);

pub(super) enum Done {
    Finished(Flight, Outcome),
    Connected {
        lane: usize,
        to: Target,
        client: Result<Arc<dyn ErasedClient>, Fault>,
    },
}

/// Tasks of this thread; what they come to is collected by the worker's loop.
pub(super) struct Attempts {
    done: Rc<RefCell<Vec<Done>>>,
    wake: Arc<Notify>,
    /// By lane: a client, and what it is for. Lanes are used again for other destinations, so this is looked at each time.
    clients: Vec<Option<(Target, Arc<dyn ErasedClient>)>>,
    metrics: Metrics,
}

impl Attempts {
    pub(super) fn new(wake: Arc<Notify>, metrics: Metrics) -> Self {
        Attempts {
            done: Rc::default(),
            wake,
            clients: Vec::new(),
            metrics,
        }
    }

    pub(super) fn take_done(&self, into: &mut Vec<Done>) {
        into.append(&mut self.done.borrow_mut());
    }

    pub(super) fn connect(
        &self,
        lane: usize,
        to: Target,
        connecting: BoxFuture<'static, Result<Arc<dyn ErasedClient>, Fault>>,
    ) {
        let (done, wake) = (Rc::clone(&self.done), Arc::clone(&self.wake));
        tokio::task::spawn_local(async move {
            let guarded = AssertUnwindSafe(connecting).catch_unwind();
            let client = match tokio::time::timeout(CONNECT_MAX, guarded).await {
                Ok(Ok(client)) => client,
                Ok(Err(_)) => Err(Fault::us(
                    "adapter_panic",
                    "The adapter failed while it made a client.",
                )),
                Err(_) => Err(Fault::us(
                    "connect_timeout",
                    "Making a client took too long.",
                )),
            };
            done.borrow_mut().push(Done::Connected { lane, to, client });
            wake.notify_one();
        });
    }

    /// Keeps a lane's client.
    pub(super) fn keep(&mut self, lane: usize, to: Target, client: Arc<dyn ErasedClient>) {
        if self.clients.len() <= lane {
            self.clients.resize_with(lane + 1, || None);
        }
        self.clients[lane] = Some((to, client));
    }

    /// Lets go of a lane's client; attempts under way keep it until they end.
    pub(super) fn forget(&mut self, lane: usize) {
        if let Some(client) = self.clients.get_mut(lane) {
            *client = None;
        }
    }

    pub(super) fn start(&self, start: Start) {
        let Start {
            flight,
            destination,
            batch,
            timeout,
        } = start;
        let client = self.clients.get(flight.lane).and_then(Option::as_ref);
        let client = client
            .filter(|(to, _)| *to == Target::of(&destination))
            .map(|(_, client)| Arc::clone(client));
        let (done, wake, seconds) = (
            Rc::clone(&self.done),
            Arc::clone(&self.wake),
            self.metrics.attempt_seconds.clone(),
        );
        tokio::task::spawn_local(async move {
            let outcome = match client {
                Some(client) => attempt(client, batch, timeout, &seconds).await,
                None => every(
                    &batch,
                    &Fault::us("no_client", "The destination changed at this very moment."),
                ),
            };
            done.borrow_mut().push(Done::Finished(flight, outcome));
            wake.notify_one();
        });
    }
}

async fn attempt(
    client: Arc<dyn ErasedClient>,
    batch: Batch,
    timeout: Duration,
    seconds: &prometheus_client::metrics::histogram::Histogram,
) -> Outcome {
    let started = Instant::now();
    let deadline = started + timeout;
    let (batch, spans) = traced(batch);
    let sending = AssertUnwindSafe(client.attempt(batch.clone(), deadline)).catch_unwind();
    let outcome = match tokio::time::timeout_at(deadline + GRACE, sending).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => every(
            &batch,
            &Fault::us("adapter_panic", "The adapter failed while it sent this."),
        ),
        Err(_) => every(
            &batch,
            &Fault::destination("timeout", "The destination did not answer in time."),
        ),
    };
    seconds.observe(started.elapsed().as_secs_f64());
    end(spans, &outcome);
    outcome
}

/// The same verdict for all: they may pass later.
fn every(batch: &[Arc<Record>], fault: &Fault) -> Outcome {
    let retry = || Verdict::Retry {
        fault: fault.clone(),
        after: None,
    };
    Outcome {
        verdicts: batch.iter().map(|_| retry()).collect(),
        evidence: Evidence::default(),
    }
}

/// Gives each record of a sampled trace a span of its own, which the destination sees as the parent of what it does.
fn traced(batch: Batch) -> (Batch, Vec<Option<Span>>) {
    let sampled = |record: &Arc<Record>| {
        let parent = record.delivery.traceparent.as_deref()?;
        let mut span = Span::child("delivery.attempt", SpanKind::Client, Some(parent));
        if !span.is_recording() {
            return None;
        }
        span.set_text(
            "pushrail.delivery_id",
            &record.delivery.delivery_id.to_string(),
        );
        span.set_text(
            "pushrail.destination_id",
            &record.delivery.destination_id.to_string(),
        );
        span.set_number("pushrail.attempt", record.attempt.into());
        Some(span)
    };
    if batch
        .iter()
        .all(|record| record.delivery.traceparent.is_none())
    {
        return (batch, Vec::new());
    }
    let spans: Vec<Option<Span>> = batch.iter().map(sampled).collect();
    if spans.iter().all(Option::is_none) {
        return (batch, Vec::new());
    }
    let records = batch.iter().zip(&spans).map(|(record, span)| {
        let mut record = Record::clone(record);
        if let Some(parent) = span.as_ref().and_then(Span::traceparent) {
            record.delivery.traceparent = Some(parent.to_string().into());
        }
        Arc::new(record)
    });
    (records.collect(), spans)
}

fn end(spans: Vec<Option<Span>>, outcome: &Outcome) {
    for (span, verdict) in spans.into_iter().zip(&outcome.verdicts) {
        let Some(mut span) = span else { continue };
        if let Some(status) = outcome.evidence.status_code {
            span.set_number("http.response.status_code", status.into());
        }
        if let Some(fault) = verdict.fault() {
            span.fail(&fault.code);
        }
        span.end();
    }
}
