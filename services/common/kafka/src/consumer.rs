//! A group member that its owner polls.
//!
//! Assignment and revocation come back as polled values, and nothing happens to the partitions until the owner says so:
//! it can read the commit's metadata before it starts, and let what is under way finish before it lets go.

mod commit;
mod nudge;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use nudge::Nudges;

/// How long leaving the group may take. With a broker it takes milliseconds.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A partition, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a group stands in a partition.
#[derive(Clone, Debug)]
pub struct Committed {
    pub partition: TopicPartition,
    /// `None` when the group never committed.
    pub offset: Option<i64>,
    pub metadata: String,
}

/// What a poll brought.
#[derive(Debug)]
pub enum Polled<'a> {
    Record(BorrowedMessage<'a>),
    /// These are ours once [`Consumer::start`] is called for them.
    Assigned(Vec<TopicPartition>),
    /// These are to be given back with [`Consumer::release`]. When they are `lost`, another member may have them already.
    Revoked {
        partitions: Vec<TopicPartition>,
        lost: bool,
    },
    /// Kafka complains; the client goes on.
    Problem(KafkaError),
    Idle,
}

/// See the module.
pub struct Consumer {
    /// Taken when it is closed.
    inner: ManuallyDrop<BaseConsumer<Context>>,
    wake: Arc<Notify>,
    /// Rebalances that the owner has been told of and has not answered.
    unanswered: RefCell<Vec<(bool, Vec<TopicPartition>)>>,
    nudges: Nudges,
}

#[derive(Default)]
struct Context {
    rebalances: Mutex<VecDeque<(bool, Vec<TopicPartition>)>>,
    pending: AtomicBool,
    closing: AtomicBool,
    /// The newest outcome of each partition that nobody has taken yet: an owner that never asks costs no more memory.
    outcomes: Mutex<HashMap<TopicPartition, KafkaResult<()>>>,
    /// A poll took an event that brings its caller nothing, which rdkafka reports as if nothing had come.
    took_event: AtomicBool,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka.consumer.error");
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.took_event.store(true, Ordering::Relaxed);
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|e| e.into_inner());
        for (partition, element) in partitions(offsets).into_iter().zip(offsets.elements()) {
            outcomes.insert(partition, result.clone().and(element.error()));
        }
    }

    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assigned = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            // Nobody polls for it any more: what could be finished and committed has been.
            answer(consumer, assigned, list);
            return;
        }
        self.rebalances
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push_back((assigned, partitions(list)));
        self.pending.store(true, Ordering::Relaxed);
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .map(|e| TopicPartition {
            topic: e.topic().into(),
            partition: e.partition(),
        })
        .collect()
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for p in partitions {
        list.add_partition(&p.topic, p.partition);
    }
    list
}

fn cooperative(consumer: &BaseConsumer<Context>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

fn assign(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    if cooperative(consumer) {
        consumer.incremental_assign(list)
    } else {
        consumer.assign(list)
    }
}

fn release(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    if cooperative(consumer) {
        consumer.incremental_unassign(list)
    } else {
        consumer.unassign()
    }
}

/// Agrees to a rebalance on behalf of an owner that is gone: closing waits until each has been answered.
fn answer(consumer: &BaseConsumer<Context>, assigned: bool, list: &TopicPartitionList) {
    let answered = if assigned {
        assign(consumer, list)
    } else {
        release(consumer, list)
    };
    if let Err(error) = answered {
        tracing::warn!(%error, "kafka.consumer.rebalance_unanswered");
    }
}

impl Consumer {
    /// Joins the group of `config` with `topics`; a name that starts with `^` is a pattern.
    pub fn new(config: &ClientConfig, topics: &[&str]) -> KafkaResult<Self> {
        let mut inner: BaseConsumer<Context> = config.create_with_context(Context::default())?;
        let wake = Arc::new(Notify::new());
        let notify = Arc::clone(&wake);
        inner.set_nonempty_callback(move || notify.notify_one());
        inner.subscribe(topics)?;
        Ok(Consumer {
            inner: ManuallyDrop::new(inner),
            wake,
            unanswered: RefCell::default(),
            nudges: Nudges::default(),
        })
    }

    /// Takes the next thing, without waiting.
    pub fn poll(&self) -> Polled<'_> {
        if let Some(polled) = self.rebalance() {
            return polled;
        }
        if self.nudges.is_due()
            && let Err(error) = nudge::ask_leaders(&self.inner)
        {
            tracing::debug!(%error, "kafka.consumer.nudge_failed");
        }
        loop {
            match self.inner.poll(Duration::ZERO) {
                Some(Ok(message)) => return Polled::Record(message),
                Some(Err(error)) => return Polled::Problem(error),
                None => {}
            }
            if let Some(polled) = self.rebalance() {
                return polled;
            }
            // There may be more behind an event, and nobody is woken for it: the queue was not empty.
            if !self
                .inner
                .context()
                .took_event
                .swap(false, Ordering::Relaxed)
            {
                return Polled::Idle;
            }
        }
    }

    fn rebalance(&self) -> Option<Polled<'static>> {
        let context = self.inner.context();
        if !context.pending.load(Ordering::Relaxed) {
            return None;
        }
        let mut queue = context.rebalances.lock().unwrap_or_else(|e| e.into_inner());
        let next = queue.pop_front();
        context.pending.store(!queue.is_empty(), Ordering::Relaxed);
        next.inspect(|told| self.unanswered.borrow_mut().push(told.clone()))
            .map(|(assigned, partitions)| match assigned {
                true => Polled::Assigned(partitions),
                false => Polled::Revoked {
                    partitions,
                    lost: self.inner.assignment_lost(),
                },
            })
    }

    /// Ends when there may be something to poll. Edge-triggered: poll until [`Polled::Idle`] first, and bound the wait.
    pub async fn wait(&self) {
        match self.nudges.next() {
            None => self.wake.notified().await,
            Some(at) => tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(at) => {}
            },
        }
    }

    /// A handle that ends [`Consumer::wait`], for whoever has other news for the owner.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Where the group stands. Asks the broker and waits for it, a few milliseconds when all is well.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> KafkaResult<Vec<Committed>> {
        let list = self.inner.committed_offsets(list(partitions), timeout)?;
        let mut committed = Vec::with_capacity(partitions.len());
        for e in list.elements() {
            e.error()?;
            committed.push(Committed {
                partition: TopicPartition {
                    topic: e.topic().into(),
                    partition: e.partition(),
                },
                offset: match e.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                },
                metadata: e.metadata().to_owned(),
            });
        }
        Ok(committed)
    }

    /// Starts reading assigned partitions, each at its offset or, without one, where `auto.offset.reset` says.
    pub fn start(&self, partitions: &[(TopicPartition, Option<i64>)]) -> KafkaResult<()> {
        // librdkafka remembers a pause across assignments: a partition that was given up while it was paused would come
        // back and never be read. It answers for partitions that it does not know yet with an error, which means nothing.
        let names: Vec<TopicPartition> = partitions.iter().map(|(p, _)| p.clone()).collect();
        let _ = self.inner.resume(&list(&names));
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (p, offset) in partitions {
            list.add_partition_offset(
                &p.topic,
                p.partition,
                offset.map_or(Offset::Stored, Offset::Offset),
            )?;
        }
        self.unanswered
            .borrow_mut()
            .retain(|(assigned, _)| !assigned);
        self.nudges.begin();
        assign(&self.inner, &list)
    }

    /// Gives revoked partitions back.
    pub fn release(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        self.unanswered
            .borrow_mut()
            .retain(|(assigned, _)| *assigned);
        self.nudges.begin();
        release(&self.inner, &list(partitions))
    }

    /// Stops reading a partition. Throws away what was prefetched of it, so call it rarely.
    pub fn pause(&self, partition: &TopicPartition) -> KafkaResult<()> {
        self.inner.pause(&list(std::slice::from_ref(partition)))
    }

    pub fn resume(&self, partition: &TopicPartition) -> KafkaResult<()> {
        self.nudges.begin();
        self.inner.resume(&list(std::slice::from_ref(partition)))
    }

    /// Reads a partition again from `offset` on. Does not wait: what was fetched before is never polled after this.
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> KafkaResult<()> {
        self.inner.seek(
            &partition.topic,
            partition.partition,
            Offset::Offset(offset),
            Duration::ZERO,
        )
    }

    /// Whether the group has given our partitions to others already, without asking.
    pub fn is_assignment_lost(&self) -> bool {
        self.inner.assignment_lost()
    }

    /// Commits `(partition, offset, metadata)`. What became of an asynchronous commit comes back from
    /// [`Consumer::outcomes`]. A synchronous one waits for the broker, but not longer than five seconds; it may still be
    /// carried out after that.
    pub fn commit<'a>(
        &self,
        commits: impl IntoIterator<Item = (&'a TopicPartition, i64, String)>,
        mode: CommitMode,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (p, offset, metadata) in commits {
            let mut element = list.add_partition(&p.topic, p.partition);
            element.set_offset(Offset::Offset(offset))?;
            element.set_metadata(metadata);
        }
        if list.count() == 0 {
            return Ok(());
        }
        commit::send(&self.inner, &list, mode)
    }

    /// What has become of asynchronous commits since this was last asked: the newest outcome of each partition. They
    /// arrive while polling.
    pub fn outcomes(&self) -> HashMap<TopicPartition, KafkaResult<()>> {
        let context = self.inner.context();
        std::mem::take(&mut *context.outcomes.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// One past the newest offset of a partition that is being read, as the last fetch saw it. Asks nobody.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        let topic = CString::new(&*partition.topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client outlives the call, the topic is a C string, and the two numbers are ours.
        let result = unsafe {
            rdkafka_sys::rd_kafka_get_watermark_offsets(
                self.inner.client().native_ptr(),
                topic.as_ptr(),
                partition.partition,
                &mut low,
                &mut high,
            )
        };
        (result == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let context = self.inner.context();
        context.closing.store(true, Ordering::Relaxed);
        let untold =
            std::mem::take(&mut *context.rebalances.lock().unwrap_or_else(|e| e.into_inner()));
        for (assigned, partitions) in self.unanswered.take().into_iter().chain(untold) {
            answer(&self.inner, assigned, &list(&partitions));
        }
        // SAFETY: taken once, here, and not used after.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        close(inner);
    }
}

/// Leaves the group, and waits for that, but not for ever: librdkafka does not give up while there is no broker to say
/// goodbye to, and a process that is told to stop must. The group notices by itself that a member is gone.
fn close(inner: BaseConsumer<Context>) {
    let (closed, done) = std::sync::mpsc::channel::<()>();
    let spawned = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(inner);
            drop(closed);
        });
    // The channel's other end goes when the client has: that is the news.
    let waited = spawned.map(|_| done.recv_timeout(CLOSE_WITHIN));
    if matches!(waited, Ok(Err(RecvTimeoutError::Timeout))) {
        tracing::warn!("kafka.consumer.close_abandoned");
    }
}
