//! What a worker has concluded: handed to its writer a turn at a time, and settled when the writer says that Kafka has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread::JoinHandle;

use pushrail_kafka::Error;
use pushrail_kafka::rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use pushrail_sink_core::Fault;
use tokio::sync::Notify;

use super::writer::{Fate, Order, Raw, Writer};
use super::{Destinations, audit};
use crate::core::{Conclusion, Item, Next, Source};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Conclusions that may await their acknowledgement before reading and attempting stop.
const OUTSTANDING_MAX: usize = 20_000;

pub(super) struct Outbox {
    /// Those of this turn.
    orders: Vec<Order>,
    /// `None` when the writer is told to end.
    to_writer: Option<mpsc::Sender<Vec<Order>>>,
    from_writer: mpsc::Receiver<Result<Vec<Fate>, Error>>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
    /// How many sources of each partition are not settled yet.
    awaited: HashMap<i32, usize>,
}

impl Outbox {
    /// Starts a writer; it notifies `wake` when something was written.
    pub(super) fn new(
        settings: &Settings,
        client_id: &str,
        metrics: Metrics,
        seed: u64,
        destinations: Arc<dyn Destinations>,
        wake: Arc<Notify>,
    ) -> Result<Self, Error> {
        let (to_writer, orders) = mpsc::channel();
        let (fates, from_writer) = mpsc::channel();
        let writer = Writer::new(settings, client_id, metrics, seed, destinations)?;
        let thread = std::thread::Builder::new()
            .name(format!("{client_id}-writer"))
            .spawn(move || writer.run(&orders, &fates, &wake))
            .map_err(|error| Error::Fatal(format!("no thread for a writer: {error}")))?;
        Ok(Outbox {
            orders: Vec::new(),
            to_writer: Some(to_writer),
            from_writer,
            thread: Some(thread),
            outstanding: 0,
            awaited: HashMap::new(),
        })
    }

    /// Hands settled sources to `settle`; gives back those of which Kafka refused something.
    pub(super) fn poll(&mut self, mut settle: impl FnMut(Source)) -> Result<Vec<Source>, Error> {
        let mut refused = Vec::new();
        loop {
            let fates = match self.from_writer.try_recv() {
                Ok(fates) => fates?,
                Err(TryRecvError::Empty) => return Ok(refused),
                Err(TryRecvError::Disconnected) => {
                    return Err(Error::Fatal("the writer has ended".into()));
                }
            };
            self.outstanding -= fates.len();
            for Fate { source, is_written } in fates {
                let Some(source) = source else { continue };
                if let Some(awaited) = self.awaited.get_mut(&source.partition) {
                    *awaited -= 1;
                }
                match is_written {
                    true => settle(source),
                    false => refused.push(source),
                }
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.outstanding >= OUTSTANDING_MAX
    }

    /// Whether something written for the partition still awaits its acknowledgement.
    pub(super) fn awaits(&self, partition: i32) -> bool {
        self.awaited
            .get(&partition)
            .is_some_and(|awaited| *awaited > 0)
    }

    /// Writes what a conclusion calls for. Where its partition is no longer ours only the attempt is recorded: the record
    /// itself is the next owner's.
    pub(super) fn conclude(&mut self, conclusion: Box<Conclusion>, is_current: bool) {
        let audited = audit::outcome(&conclusion);
        let audited = audited.filter(|_| is_current || conclusion.attempt.is_some());
        let is_copied = is_current && conclusion.next != Next::Delivered;
        if !is_copied && audited.is_none() {
            return;
        }
        let source = is_current.then_some(conclusion.item.source);
        self.push(source, |source| Order::Conclude {
            conclusion,
            audited,
            is_copied,
            source,
        });
    }

    /// A record that kills its reader, set aside without touching it.
    pub(super) fn poisoned(&mut self, item: Item) {
        let fault = Fault::us(
            "poison",
            "The process died each time it handled this record alone.",
        );
        let conclusion = Conclusion {
            item,
            next: Next::Dead { reason: "poison" },
            attempt: None,
            fault: Some(fault),
            payload_mode: pushrail_schemas::config::PayloadMode::Off,
            first_attempt_at_ms: None,
        };
        self.conclude(Box::new(conclusion), true);
    }

    /// A record that can't be read goes to the dead letters with its original key, value and headers.
    pub(super) fn unreadable(
        &mut self,
        source: Source,
        message: &BorrowedMessage<'_>,
        problem: &str,
    ) {
        tracing::warn!(
            partition = source.partition,
            offset = source.offset,
            problem,
            "sink.record_unreadable"
        );
        let raw = Raw {
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: message
                .headers()
                .map_or_else(OwnedHeaders::new, |h| h.detach()),
            problem: problem.to_owned(),
        };
        self.push(Some(source), |_| Order::Unreadable {
            source,
            raw: Box::new(raw),
        });
    }

    fn push(&mut self, source: Option<Source>, order: impl FnOnce(Option<Source>) -> Order) {
        self.outstanding += 1;
        if let Some(source) = source {
            *self.awaited.entry(source.partition).or_default() += 1;
        }
        self.orders.push(order(source));
    }

    /// Hands over what has been concluded since it was last called.
    pub(super) fn hand_over(&mut self) {
        if self.orders.is_empty() {
            return;
        }
        let orders = std::mem::take(&mut self.orders);
        if let Some(to_writer) = &self.to_writer {
            // A writer that is gone is found by `poll`.
            let _ = to_writer.send(orders);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.hand_over();
        self.to_writer = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
