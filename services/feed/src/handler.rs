//! What happens to a record: it belongs to nobody, to a tenant without a feed, or it is copied.
//!
//! A copy that its topic refuses must not keep a partition from the tenants behind it. A refusal that is the topic's fault
//! (see `blame`) ends in a dropped copy, and the topic is then barred for a while: what it would refuse again isn't tried, so
//! a topic that is set up wrongly costs its neighbours one rest of the relay a minute and not one a record. Every other
//! refusal is Kafka's trouble: the record is offered until it passes.

use std::collections::HashMap;
use std::time::Duration;

use pushrail_directory::Directory;
use pushrail_kafka::TopicPartition;
use pushrail_kafka::rdkafka::types::RDKafkaErrorCode as Code;
use pushrail_kafka::relay::{Flow, Handler, Incoming, Outbox, Refusal};
use pushrail_obs::health::{Condition, Heartbeat};
use pushrail_schemas::attempt;
use pushrail_topology::topics::audit;
use tokio::time::Instant;

use crate::metrics::{Dropped, Reason};
use crate::topics::{Known, Topics};

/// Verdicts before a copy counts as refused; [`Refusal::is_final`] says why not the first. The relay lets 1 and 2 seconds
/// pass between them.
const VERDICTS: u32 = 3;
/// How long a topic that refused a record is spared what it would refuse again.
const BARRED_FOR: Duration = Duration::from_secs(60);
/// How soon a record is offered again whose topic is being looked for.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Unreadable records of a partition are logged so often at most.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What all workers of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) topics: Topics,
    pub(crate) dropped: Dropped,
    pub(crate) known: Condition,
    pub(crate) joined: Condition,
}

/// One worker's part.
pub(crate) struct Feeder {
    shared: Shared,
    heartbeat: Heartbeat,
    /// By tenant.
    barred: HashMap<Box<str>, Bar>,
    /// The offset and the verdicts with which a partition's record last had its topic looked for.
    doubted: HashMap<i32, (i64, u32)>,
    /// When an unreadable record of a partition was logged.
    logged: HashMap<i32, Instant>,
}

/// What a topic does not take.
#[derive(Clone, Copy, Debug)]
struct Bar {
    until: Instant,
    /// Values of at least so many bytes.
    len_min: usize,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// Kafka's: try again.
    Kafka,
    /// The topic is not there.
    Missing,
    /// The topic does not take a record of that size.
    Size,
    /// The topic takes nothing like it.
    Topic,
}

fn blame(refusal: &Refusal) -> Blame {
    match refusal.code {
        _ if refusal.is_topic_unknown() => Blame::Missing,
        // The tenant's topic alone is closed to us or has settings of its own; a cluster that is closed says otherwise.
        Code::TopicAuthorizationFailed | Code::PolicyViolation | Code::InvalidTimestamp => {
            Blame::Topic
        }
        _ if !refusal.is_final() || refusal.times < VERDICTS => Blame::Kafka,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Blame::Size
        }
        _ => Blame::Topic,
    }
}

impl Feeder {
    pub(crate) fn new(shared: Shared, heartbeat: Heartbeat) -> Self {
        Feeder {
            shared,
            heartbeat,
            barred: HashMap::new(),
            doubted: HashMap::new(),
            logged: HashMap::new(),
        }
    }

    fn unreadable(&mut self, record: &Incoming<'_>, problem: &str) {
        self.shared.dropped.count(Reason::Unreadable);
        let now = Instant::now();
        let last = self.logged.get(&record.partition);
        if last.is_none_or(|last| now.duration_since(*last) >= LOG_EVERY) {
            self.logged.insert(record.partition, now);
            let (partition, offset) = (record.partition, record.offset);
            tracing::warn!(partition, offset, problem, "feed.unreadable");
        }
    }

    /// What becomes of a copy of `record` to its tenant's topic: `Err` when it is dropped.
    fn judge(&mut self, tenant: &str, record: &Incoming<'_>) -> Result<Known, Reason> {
        let len = record.value.map_or(0, <[u8]>::len);
        if let Some(refusal) = record.refused {
            match blame(&refusal) {
                Blame::Kafka => {}
                Blame::Missing => self.doubt(tenant, record, refusal.times)?,
                Blame::Size => self.bar(tenant, len, &refusal),
                Blame::Topic => self.bar(tenant, 0, &refusal),
            }
        }
        let bar = self.barred.get(tenant);
        if bar.is_some_and(|bar| len >= bar.len_min && Instant::now() < bar.until) {
            return Err(Reason::Refused);
        }
        match self.shared.topics.of(tenant) {
            Known::Missing => Err(Reason::TopicMissing),
            known => Ok(known),
        }
    }

    /// Kafka says that a topic is not there which was: somebody has deleted it, or a broker has just started. Looks again,
    /// and believes what is seen, until that has been contradicted too often.
    fn doubt(&mut self, tenant: &str, record: &Incoming<'_>, times: u32) -> Result<(), Reason> {
        let this = (record.offset, times);
        if self.doubted.insert(record.partition, this) != Some(this) {
            self.shared.topics.ask(tenant);
        }
        match times < VERDICTS {
            true => Ok(()),
            false => Err(Reason::TopicMissing),
        }
    }

    fn bar(&mut self, tenant: &str, len_min: usize, refusal: &Refusal) {
        let (topic, error) = (audit(tenant), refusal.code);
        tracing::warn!(topic, %error, "feed.refused");
        let until = Instant::now() + BARRED_FOR;
        let before = self.barred.get(tenant);
        let len_min = before.map_or(len_min, |bar| bar.len_min.min(len_min));
        self.barred.insert(tenant.into(), Bar { until, len_min });
    }
}

impl Handler for Feeder {
    fn assigned(&mut self, _: &TopicPartition, _: Option<i64>) {
        self.shared.joined.met();
    }

    fn ready(&mut self, _: &TopicPartition) -> bool {
        self.shared.directory.is_ready()
    }

    fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
        let value = record.value.unwrap_or_default();
        let tenant = match attempt::tenant_id(value) {
            Ok(tenant) => tenant,
            Err(problem) => {
                self.unreadable(record, &problem.to_string());
                return Flow::Done;
            }
        };
        let known = self.shared.directory.tenant(tenant);
        if !known.is_some_and(|tenant| tenant.audit_feed) {
            return Flow::Done;
        }
        match self.judge(tenant, record) {
            Ok(Known::Asked) => return Flow::Hold(Instant::now() + ASK_AGAIN),
            Ok(_) => {
                let (topic, key) = (audit(tenant), record.key.unwrap_or_default());
                let headers = record.copy_headers();
                match record.timestamp_ms {
                    Some(at_ms) => out.send_at(&topic, key, record.value, headers, at_ms),
                    None => out.send(&topic, key, record.value, headers),
                }
            }
            Err(reason) => self.shared.dropped.count(reason),
        }
        Flow::Done
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.doubted.remove(&partition.partition);
        self.logged.remove(&partition.partition);
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        if self.shared.directory.is_ready() {
            self.shared.known.met();
        }
        if !self.barred.is_empty() {
            let now = Instant::now();
            self.barred.retain(|_, bar| bar.until > now);
        }
    }
}
