//! What goes in and out of the core.

use std::sync::Arc;
use std::time::Duration;

use pushrail_schemas::config;
use pushrail_sink_core::{Batch, Evidence, Fault, Record};
use tokio::time::Instant;
use uuid::Uuid;

/// Both clocks at one moment: timers run on the first, what other processes must understand is written with the second.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    /// Unix milliseconds.
    pub wall_ms: i64,
}

impl Now {
    pub fn wall_after(&self, delay: Duration) -> i64 {
        self.wall_ms
            .saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Where a record was read. The epoch tells assignments of the same partition apart: what belongs to an earlier one no
/// longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub partition: i32,
    pub epoch: u64,
    pub offset: i64,
}

/// A record in a lane.
#[derive(Clone, Debug)]
pub struct Item {
    pub source: Source,
    pub record: Arc<Record>,
    pub received_at: Instant,
    /// From [`super::Core::weigh`].
    pub weight: Weight,
}

/// What decides about the batch of a record. It is taken once, of the record in clear, because what waits may be sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub group: u64,
    /// As the limits count them.
    pub bytes: usize,
}

impl Item {
    pub fn destination_id(&self) -> Uuid {
        self.record.delivery.destination_id
    }

    /// What it counts for in queues and turns: its value and what surrounds it.
    pub fn cost(&self) -> usize {
        self.record.event.value().len() + 512
    }
}

/// What a client is made for: one version of one destination, and never anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub destination_id: Uuid,
    pub version: u64,
}

impl Target {
    pub fn of(destination: &config::Destination) -> Self {
        Target {
            destination_id: destination.destination_id,
            version: destination.version,
        }
    }
}

/// Names an attempt under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub lane: usize,
    pub number: u64,
}

/// What the worker is to do.
#[derive(Debug)]
pub enum Effect {
    /// Make a client for this version of the destination, and report it with `Core::connected`.
    Connect {
        lane: usize,
        destination: Arc<config::Destination>,
    },
    /// Send these, and report the outcome with `Core::finished`.
    Start(Start),
    /// Write what is said of a record, and settle its source once Kafka has acknowledged all of it.
    Conclude(Box<Conclusion>),
    /// The lane is gone: drop its client.
    Forget {
        lane: usize,
    },
    /// Stop and start reading a partition.
    Pause(i32),
    Resume(i32),
}

#[derive(Debug)]
pub struct Start {
    pub flight: Flight,
    /// The destination and version it goes to.
    pub destination: Arc<config::Destination>,
    pub batch: Batch,
    pub timeout: Duration,
}

/// The end of a record's stay in this engine.
#[derive(Debug)]
pub struct Conclusion {
    pub item: Item,
    pub next: Next,
    /// The attempt that led to it; `None` when none was made.
    pub attempt: Option<Made>,
    pub fault: Option<Fault>,
    pub payload_mode: config::PayloadMode,
    /// Unix milliseconds: when it was first tried, or should have been.
    pub first_attempt_at_ms: Option<i64>,
}

/// An attempt that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub evidence: Arc<Evidence>,
    /// Unix microseconds.
    pub started_at_us: i64,
    pub latency: Duration,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// An attempt failed, and another is made not before this time (Unix milliseconds).
    Retry {
        not_before_ms: i64,
    },
    /// No attempt was made; it comes back not before this time.
    Defer {
        not_before_ms: i64,
        cause: Cause,
    },
    /// To the dead letters, with the reason that [`pushrail_schemas::headers::FAILURE_REASON`] names.
    Dead {
        reason: &'static str,
    },
}

/// Why a record was put off without an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its destination is paused.
    Paused,
    /// It came before its time.
    Early,
    /// Nobody knows its destination yet.
    Unknown,
    /// Its lane holds as much as it may.
    Crowded,
    /// Its destination is left alone for a while: breaker, `Retry-After`, or no client.
    Shut,
    /// Nothing has come back from its destination for too long.
    Stalled,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Paused => "paused",
            Cause::Early => "early",
            Cause::Unknown => "unknown",
            Cause::Crowded => "crowded",
            Cause::Shut => "shut",
            Cause::Stalled => "stalled",
        }
    }

    /// Whether it would have been tried, had its destination been well.
    pub(super) fn counts_as_tried(self) -> bool {
        matches!(self, Cause::Crowded | Cause::Shut | Cause::Stalled)
    }
}
