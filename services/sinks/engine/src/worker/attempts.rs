//! Attempts under way, and the clients they use.
//!
//! The worker's own task polls them all: an attempt costs no task of its own, and what it came to is taken where it is
//! needed. Only making a client, which is rare, is a task.

use std::cell::RefCell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use pushrail_obs::trace::{Span, SpanKind};
use pushrail_sink_core::erased::BoxFuture;
use pushrail_sink_core::{Batch, ErasedClient, Evidence, Fault, Outcome, Record, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sealed::Gone;
use crate::core::{Flight, Start, Target};

/// How much later than its deadline an adapter may end by itself before it is cut off.
const GRACE: Duration = Duration::from_millis(500);
/// Longest time that making a client may take.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Attempts that may end in one round before the worker looks at something else.
const ROUND: usize = 256;

pub(super) enum Done {
    Finished {
        flight: Flight,
        started: Instant,
        outcome: Outcome,
    },
    Connected {
        lane: usize,
        to: Target,
        client: Result<Arc<dyn ErasedClient>, Fault>,
    },
}

/// See the module.
pub(super) struct Attempts {
    running: FuturesUnordered<Attempt>,
    connected: Rc<RefCell<Vec<Done>>>,
    wake: Arc<Notify>,
    /// By lane: a client, and what it is for. Lanes are used again for other destinations, so this is looked at each time.
    clients: Vec<Option<(Target, Arc<dyn ErasedClient>)>>,
}

impl Attempts {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Attempts {
            running: FuturesUnordered::new(),
            connected: Rc::default(),
            wake,
            clients: Vec::new(),
        }
    }

    /// Moves every attempt that can move, and takes what has ended. Says whether anything has.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> bool {
        let before = into.len();
        into.append(&mut self.connected.borrow_mut());
        while into.len() - before < ROUND
            && let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx)
        {
            into.push(done);
        }
        into.len() > before
    }

    /// Cuts off attempts whose adapter has not kept to its deadline.
    pub(super) fn cut_overlong(&mut self, now: Instant) {
        for attempt in self.running.iter_mut() {
            if attempt.deadline + GRACE <= now {
                attempt.sending = None;
                if let Some(waker) = attempt.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    pub(super) fn connect(
        &self,
        lane: usize,
        to: Target,
        connecting: BoxFuture<'static, Result<Arc<dyn ErasedClient>, Fault>>,
    ) {
        let (connected, wake) = (Rc::clone(&self.connected), Arc::clone(&self.wake));
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
            connected
                .borrow_mut()
                .push(Done::Connected { lane, to, client });
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

    /// `gone` is what of the batch that was to be sent is not in it any more; its verdict is added to those of the others.
    pub(super) fn start(&self, start: Start, gone: Vec<Gone>, now: Instant) {
        let Start {
            flight,
            destination,
            batch,
            timeout,
        } = start;
        let deadline = now + timeout;
        let (batch, spans) = traced(batch);
        let client = self.clients.get(flight.lane).and_then(Option::as_ref);
        let client = client.filter(|(to, _)| *to == Target::of(&destination));
        let records = batch.len();
        let sending = match client {
            Some((_, client)) if records > 0 => Arc::clone(client).attempt(batch, deadline),
            _ => {
                let detail = "The destination changed at this very moment.";
                let outcome = every(records, &Fault::us("no_client", detail));
                Box::pin(std::future::ready(outcome))
            }
        };
        self.running.push(Attempt {
            flight,
            started: now,
            deadline,
            records,
            sending: Some(sending),
            spans,
            gone,
            waker: None,
        });
    }
}

/// One call to an adapter.
struct Attempt {
    flight: Flight,
    started: Instant,
    deadline: Instant,
    records: usize,
    /// `None` once it has been cut off.
    sending: Option<BoxFuture<'static, Outcome>>,
    spans: Vec<Option<Span>>,
    gone: Vec<Gone>,
    /// Wakes it when it is cut off.
    waker: Option<Waker>,
}

impl Future for Attempt {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let fault = match &mut self.sending {
            Some(sending) => {
                let polled = std::panic::catch_unwind(AssertUnwindSafe(|| sending.poll_unpin(cx)));
                match polled {
                    Ok(Poll::Pending) => {
                        if self.waker.is_none() {
                            self.waker = Some(cx.waker().clone());
                        }
                        return Poll::Pending;
                    }
                    Ok(Poll::Ready(outcome)) => return Poll::Ready(self.ended(outcome)),
                    Err(_) => Fault::us("adapter_panic", "The adapter failed while it sent this."),
                }
            }
            None => Fault::destination("timeout", "The destination did not answer in time."),
        };
        let outcome = every(self.records, &fault);
        Poll::Ready(self.ended(outcome))
    }
}

impl Attempt {
    fn ended(&mut self, mut outcome: Outcome) -> Done {
        end(std::mem::take(&mut self.spans), &outcome);
        for Gone { at, fault } in self.gone.drain(..) {
            let verdict = Verdict::Retry { fault, after: None };
            let at = at.min(outcome.verdicts.len());
            outcome.verdicts.insert(at, verdict);
        }
        Done::Finished {
            flight: self.flight,
            started: self.started,
            outcome,
        }
    }
}

/// The same verdict for all: they may pass later.
fn every(records: usize, fault: &Fault) -> Outcome {
    let retry = || Verdict::Retry {
        fault: fault.clone(),
        after: None,
    };
    Outcome {
        verdicts: (0..records).map(|_| retry()).collect(),
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
    let mut parents = batch.iter().map(|r| &r.delivery.traceparent);
    if parents.all(Option::is_none) {
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
