//! One worker: the relay's handler. It owns the windows of its partitions and shares the index with all others.

use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashMap;
use pushrail_clock::Clock;
use pushrail_kafka::relay::{Flow, Handler, Incoming, Outbox};
use pushrail_kafka::{Connection, TopicPartition};
use pushrail_obs::health::{Condition, Heartbeat};
use pushrail_obs::{Span, SpanKind};
use pushrail_payload_keys::PayloadKeys;
use tokio::time::{Duration, Instant};

use crate::accepted::{Accepted, Unreadable};
use crate::dedup::restore::{Limits, Restoring};
use crate::dedup::{Sight, Window};
use crate::fanout::Fanout;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::write::Writer;

/// A record whose copies Kafka refuses for good so often is set aside. One whose topic is missing is not: the topic can be
/// made, and until then nothing is lost.
const REFUSALS_MAX: u32 = 3;

/// An event and its keys come over different topics: for so long after an event was accepted they may merely be on their way.
const KEY_GRACE_US: i64 = 20_000_000;
const KEY_PAUSE: Duration = Duration::from_millis(200);

/// What all workers of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Read once an event, for some microseconds; written when a destination changes.
    pub(crate) index: Arc<RwLock<Index>>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) connection: Connection,
    pub(crate) client_id: String,
    pub(crate) limits: Limits,
    pub(crate) attempt_schema_id: u32,
    pub(crate) keys: PayloadKeys,
    pub(crate) joined: Condition,
}

/// See the module.
pub(crate) struct Worker {
    shared: Shared,
    heartbeat: Heartbeat,
    windows: HashMap<i32, Seen>,
    fanout: Fanout,
    writer: Writer,
    /// Entries that the gauge holds of this worker.
    shown_entries: i64,
}

/// The window of a partition.
enum Seen {
    Restoring(Restoring),
    Ready {
        window: Window,
        /// Forgotten entries that the counter knows of.
        shown_forgotten: u64,
    },
}

impl Worker {
    pub(crate) fn new(shared: Shared, heartbeat: Heartbeat) -> Self {
        let writer = Writer::new(shared.attempt_schema_id);
        let fanout = Fanout::with_keys(Some(shared.keys.clone()));
        Worker {
            shared,
            heartbeat,
            windows: HashMap::new(),
            fanout,
            writer,
            shown_entries: 0,
        }
    }

    fn route(&mut self, record: &Incoming<'_>, accepted: &Accepted<'_>, out: &mut Outbox) {
        let now_us = self.shared.clock.now_us();
        self.shared.metrics.events.inc();
        let mut span = Span::child("route", SpanKind::Consumer, accepted.traceparent);
        let own = span.traceparent().map(|own| own.to_string());
        let traceparent = own.as_deref().or(accepted.traceparent);
        let mut writing = self.writer.to(out);
        let event = &accepted.event;
        if accepted.deduplicate
            && let Some(Seen::Ready { window, .. }) = self.windows.get_mut(&record.partition)
        {
            let accepted_ms = event.received_at_us().div_euclid(1_000);
            let now_ms = now_us.div_euclid(1_000);
            match window.see(event.event_id(), record.offset, accepted_ms, now_ms) {
                Sight::Original { accepted_ms } => {
                    writing.dedup_entry(
                        record.partition,
                        event.event_id(),
                        record.offset,
                        accepted_ms,
                    );
                }
                Sight::Duplicate { first_offset } => {
                    self.shared.metrics.duplicates.inc();
                    span.set_number("pushrail.duplicate_of_offset", first_offset);
                    self.fanout
                        .duplicate(accepted, traceparent, now_us, &mut writing);
                    return;
                }
            }
        }
        let index = self
            .shared
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let tally = self
            .fanout
            .route(&index, accepted, traceparent, now_us, &mut writing);
        drop(index);
        self.shared.metrics.add(tally);
        if span.is_recording() {
            span.set_text("pushrail.event_id", &event.event_id().to_string());
            span.set_number("pushrail.deliveries", tally.deliveries as i64);
        }
    }

    /// What a new epoch is sealed with may come a little later than what was sealed with it.
    fn is_early(&self, accepted: &Accepted<'_>) -> bool {
        let Some(sealing) = accepted.event.sealing() else {
            return false;
        };
        let age_us = self.shared.clock.now_us() - accepted.event.received_at_us();
        (0..KEY_GRACE_US).contains(&age_us) && !self.shared.keys.knows(accepted.tenant_id, sealing)
    }

    fn dead_letter(&mut self, record: &Incoming<'_>, why: &Unreadable, out: &mut Outbox) {
        self.shared.metrics.undecodable.inc();
        let (partition, offset) = (record.partition, record.offset);
        tracing::warn!(partition, offset, %why, "event.undecodable");
        let now_ms = self.shared.clock.now_ms();
        self.writer.to(out).dead_letter(record, why, now_ms);
    }

    fn show_entries(&mut self) {
        let mut entries = 0;
        for seen in self.windows.values_mut() {
            if let Seen::Ready {
                window,
                shown_forgotten,
            } = seen
            {
                entries += window.len() as i64;
                let forgotten = window.forgotten() - *shown_forgotten;
                if forgotten > 0 {
                    *shown_forgotten += forgotten;
                    self.shared.metrics.dedup_forgotten.inc_by(forgotten);
                    tracing::warn!(forgotten, "dedup.window_shortened");
                }
            }
        }
        self.shared
            .metrics
            .dedup_entries
            .inc_by(entries - self.shown_entries);
        self.shown_entries = entries;
    }
}

impl Handler for Worker {
    fn assigned(&mut self, partition: &TopicPartition, next_offset: Option<i64>) {
        self.shared.joined.met();
        let Shared {
            connection,
            client_id,
            limits,
            ..
        } = &self.shared;
        let number = partition.partition;
        let restoring = Restoring::start(
            connection,
            client_id,
            number,
            next_offset.unwrap_or(0),
            *limits,
        );
        self.windows.insert(number, Seen::Restoring(restoring));
    }

    fn ready(&mut self, partition: &TopicPartition) -> bool {
        let Some(seen) = self.windows.get_mut(&partition.partition) else {
            return false;
        };
        if let Seen::Restoring(restoring) = seen {
            let Some((window, took)) = restoring.take() else {
                return false;
            };
            let entries = window.len();
            tracing::info!(%partition, entries, took_ms = took.as_millis() as u64, "dedup.restored");
            self.shared
                .metrics
                .dedup_restores
                .observe(took.as_secs_f64());
            *seen = Seen::Ready {
                window,
                shown_forgotten: 0,
            };
        }
        true
    }

    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
        if let Some(refusal) = record.refused
            && refusal.is_final()
            && !refusal.is_topic_unknown()
            && refusal.times >= REFUSALS_MAX
        {
            self.dead_letter(record, &Unreadable::Refused(refusal.code.to_string()), out);
            return Flow::Done;
        }
        match Accepted::read(record.value, record.headers()) {
            Ok(accepted) if self.is_early(&accepted) => {
                return Flow::Hold(Instant::now() + KEY_PAUSE);
            }
            Ok(accepted) => self.route(record, &accepted, out),
            Err(why) => self.dead_letter(record, &why, out),
        }
        Flow::Done
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.windows.remove(&partition.partition);
        self.show_entries();
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        self.show_entries();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.windows.clear();
        self.show_entries();
    }
}
