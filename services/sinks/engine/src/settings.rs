//! How an engine works. Every limit has a default that was chosen with a reason.

use std::time::Duration;

use pushrail_kafka::Connection;

/// One kind's sink.
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection: Connection,
    pub kind: String,
    /// Consumer group; members of one group split the partitions.
    pub group: String,
    /// Threads, each a member of the group.
    pub workers: usize,
    /// Schema id that audit records are written with.
    pub attempt_schema_id: u32,
    /// Schema ids of events that can be read; a record with another one is dead-lettered.
    pub event_schema_id: u32,
    pub commit_interval: Duration,
    /// No more than the brokers' `offset.metadata.max.bytes`.
    pub metadata_len_max: usize,
    /// How long attempts under way may go on after a partition was revoked or a shutdown began.
    pub drain_timeout: Duration,
    pub limits: Limits,
}

impl Settings {
    pub fn new(
        connection: Connection,
        kind: &str,
        event_schema_id: u32,
        attempt_schema_id: u32,
    ) -> Self {
        Settings {
            connection,
            kind: kind.to_owned(),
            group: format!("pushrail-sink-{kind}"),
            workers: 1,
            attempt_schema_id,
            event_schema_id,
            commit_interval: Duration::from_millis(500),
            metadata_len_max: pushrail_kafka::METADATA_LEN_MAX_DEFAULT,
            drain_timeout: Duration::from_secs(20),
            limits: Limits::default(),
        }
    }
}

/// Bounds of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records waiting in lanes, all lanes together. Reading stops at four fifths of it.
    pub queued_records_max: usize,
    /// Bytes waiting in lanes, all lanes together.
    pub queued_bytes_max: usize,
    /// Attempts under way that answer in their usual time.
    pub active_max: usize,
    /// Bytes of records in those; the last to start may go beyond it.
    pub active_bytes_max: usize,
    /// Attempts under way that are overdue: they cost a connection and memory, but no healthy neighbour waits for them.
    pub overdue_max: usize,
    /// Bytes of records in those. What hangs beyond it keeps its permits.
    pub overdue_bytes_max: usize,
    /// Attempts under way to one destination.
    pub lane_in_flight_max: usize,
    /// Longest time that a record should wait in its lane; what would wait longer is put off through a retry tier.
    pub lane_wait_max: Duration,
    /// Records that may wait for a destination that has not answered yet.
    pub unproven_queue_max: usize,
    /// An attempt is overdue after this, or after three times the lane's usual latency where that is longer.
    pub overdue_after: Duration,
    /// A lane without work is forgotten after this, with its client and connections.
    pub lane_idle_max: Duration,
    /// Offsets between a partition's commit and its newest record, at least; see [`Limits::window`].
    pub window_min: usize,
    /// Offsets between a partition's commit and its newest record, at most.
    pub window_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            queued_records_max: 32_768,
            queued_bytes_max: 64 * 1024 * 1024,
            active_max: 512,
            active_bytes_max: 128 * 1024 * 1024,
            overdue_max: 4_096,
            overdue_bytes_max: 128 * 1024 * 1024,
            lane_in_flight_max: 64,
            lane_wait_max: Duration::from_secs(2),
            unproven_queue_max: 16,
            overdue_after: Duration::from_secs(1),
            lane_idle_max: Duration::from_secs(60),
            window_min: 50_000,
            window_max: 4_000_000,
        }
    }
}

impl Limits {
    /// How far reading may run ahead of a partition's commit: twice what arrives while a record waits for its batch as long
    /// as it may and the longest attempt is under way, so that one slow attempt never stops its partition. An offset in the
    /// window costs a byte.
    pub fn window(&self, records_per_second: f64, stay_max: Duration) -> usize {
        let needed = 2.0 * records_per_second * stay_max.as_secs_f64();
        (needed as usize).clamp(self.window_min, self.window_max)
    }
}
