//! Gathers what happened: from the receivers' logs, and from every topic on which a delivery may lie.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::headers::{self, Delivery};
use pushrail_topology::{TIERS, topics};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use uuid::Uuid;

use super::{Pair, groups};
use crate::kafka;
use crate::receiver::Arrival;

/// Where a delivery that was not delivered is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Dead,
    Suspended,
    /// On a topic, not yet settled by whoever has to take it further.
    Owed,
}

/// Copies of a delivery that were written although there was one: when the earlier and when the later one was written,
/// in Unix microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    /// On `deliver.*` without an attempt or deferral behind them: by the router.
    pub(super) routed: Vec<(i64, i64)>,
    /// On `deliver.*` after one attempt or deferral: by the retry mover, which may have repeated a step on the way there, so
    /// the earlier time is the one at which the record was put on its first tier.
    pub(super) moved: Vec<(i64, i64)>,
    /// On a tier, after one attempt or deferral: by the sink.
    pub(super) spilled: Vec<(i64, i64)>,
    /// When the sink first put each attempt or deferral on a tier; of deliveries that arrived more than once.
    pub(super) spills: Vec<i64>,
}

/// Records of one attempt and deferral of a delivery on one topic: when each was written, and when it was due.
type Step = Vec<(i64, Option<i64>)>;

/// Everything that is known after a run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Times at which the receiver answered 2xx, in order, in Unix microseconds.
    pub(super) delivered: HashMap<Pair, Vec<i64>>,
    pub(super) fates: HashMap<Pair, Fate>,
    pub(super) copies: HashMap<Pair, Copies>,
    /// When each event was written to `events`, in Unix microseconds.
    pub(super) accepted: HashMap<u128, Vec<i64>>,
    /// Attempts of each delivery that ended without an answer, by delivery id.
    pub(super) given_up: HashMap<u128, u32>,
    pub(super) mixed_up: usize,
    /// Audit records by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Records on each topic.
    pub topic_records: Vec<(String, u64)>,
    /// Dead letters by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Evidence {
    /// Reads all topics. `ids` are the destinations by number; what is for others is passed over.
    pub fn gather(bootstrap: &str, arrivals: &[Arrival], ids: &[Uuid]) -> anyhow::Result<Self> {
        let numbers: HashMap<Uuid, u32> = ids.iter().zip(0..).map(|(id, n)| (*id, n)).collect();
        let mut evidence = Evidence::default();
        evidence.take_arrivals(arrivals);
        evidence.read_events(bootstrap)?;
        evidence.read_copies(bootstrap, &numbers)?;
        evidence.read_dead(bootstrap, &numbers)?;
        evidence.read_audit(bootstrap)?;
        Ok(evidence)
    }

    fn take_arrivals(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.mixed_up += usize::from(!arrival.consistent);
            if arrival.delivered() {
                self.delivered
                    .entry((arrival.event_id, arrival.destination))
                    .or_default()
                    .push(arrival.at_us);
            }
        }
        self.delivered
            .values_mut()
            .for_each(|times| times.sort_unstable());
    }

    fn read_events(&mut self, bootstrap: &str) -> anyhow::Result<()> {
        let read = kafka::read_all(bootstrap, topics::EVENTS, |message| {
            if let Some(id) =
                header(message, headers::EVENT_ID).and_then(|v| Uuid::try_parse_ascii(v).ok())
            {
                let written_ms = message.timestamp().to_millis().unwrap_or(0);
                self.accepted
                    .entry(id.as_u128())
                    .or_default()
                    .push(written_ms * 1_000);
            }
        })?;
        self.topic_records.push((topics::EVENTS.to_owned(), read));
        Ok(())
    }

    /// Reads `deliver.webhook` and the tiers: what is owed, and what was written twice.
    fn read_copies(&mut self, bootstrap: &str, numbers: &HashMap<Uuid, u32>) -> anyhow::Result<()> {
        let deliver = topics::deliver("webhook");
        let tiers = TIERS
            .iter()
            .map(|tier| (tier.topic.to_owned(), groups::RETRY.to_owned(), true));
        // When each attempt or deferral was first put on a tier. Whatever carried it from there may have been repeated.
        let mut spilled_at: HashMap<(Pair, u32, u32), i64> = HashMap::new();
        for (topic, group, spill) in tiers.chain([(deliver, groups::sink("webhook"), false)]) {
            let committed = kafka::committed(bootstrap, &group, &topic)?;
            let mut steps: HashMap<(Pair, u32, u32), Step> = HashMap::new();
            let read = kafka::read_all(bootstrap, &topic, |message| {
                let Some((pair, delivery)) = delivery(message, numbers) else {
                    return;
                };
                let step = steps
                    .entry((pair, delivery.attempt, delivery.deferrals))
                    .or_default();
                let written_ms = message.timestamp().to_millis().unwrap_or(0);
                step.push((written_ms * 1_000, delivery.not_before_ms));
                if message.offset() >= committed.get(&message.partition()).copied().unwrap_or(0) {
                    self.fates.entry(pair).or_insert(Fate::Owed);
                }
            })?;
            for ((pair, attempt, deferrals), step) in steps {
                let first = step.iter().map(|(written, _)| *written).min();
                if let Some(first) = first.filter(|_| spill) {
                    let known = spilled_at
                        .entry((pair, attempt, deferrals))
                        .or_insert(first);
                    *known = first.min(*known);
                }
                if spill && self.delivered.get(&pair).is_some_and(|t| t.len() > 1) {
                    self.copies.entry(pair).or_default().spills.extend(first);
                }
                if step.len() < 2 {
                    continue;
                }
                let copies = self.copies.entry(pair).or_default();
                let list = match (spill, attempt, deferrals) {
                    (true, ..) => &mut copies.spilled,
                    (false, 0, 0) => &mut copies.routed,
                    (false, ..) => &mut copies.moved,
                };
                let since = spilled_at.get(&(pair, attempt, deferrals));
                list.extend(again(step, spill).into_iter().map(|(first, second)| {
                    let since = since.filter(|_| !spill);
                    (since.copied().unwrap_or(first).min(first), second)
                }));
            }
            self.topic_records.push((topic, read));
        }
        Ok(())
    }

    fn read_dead(&mut self, bootstrap: &str, numbers: &HashMap<Uuid, u32>) -> anyhow::Result<()> {
        let topic = topics::dlq("webhook");
        let read = kafka::read_all(bootstrap, &topic, |message| {
            let reason = header(message, headers::FAILURE_REASON).unwrap_or(b"none");
            let reason = String::from_utf8_lossy(reason).into_owned();
            if let Some((pair, _)) = delivery(message, numbers) {
                let fate = if reason == "suspended" {
                    Fate::Suspended
                } else {
                    Fate::Dead
                };
                self.fates.insert(pair, fate);
            }
            *self.reasons.entry(reason).or_default() += 1;
        })?;
        self.topic_records.push((topic, read));
        Ok(())
    }

    fn read_audit(&mut self, bootstrap: &str) -> anyhow::Result<()> {
        let read = kafka::read_all(bootstrap, topics::AUDIT_ATTEMPTS, |message| {
            let attempt = message.payload().map(Attempt::parse);
            let Some(Ok(attempt)) = attempt else {
                return;
            };
            *self
                .outcomes
                .entry(attempt.outcome.as_str().to_owned())
                .or_default() += 1;
            let answered = attempt.code.is_none_or(|code| code.starts_with("http_"));
            if attempt.outcome != Outcome::Delivered
                && !answered
                && let Some(id) = attempt.delivery_id
            {
                *self.given_up.entry(id.as_u128()).or_default() += 1;
            }
        })?;
        self.topic_records
            .push((topics::AUDIT_ATTEMPTS.to_owned(), read));
        Ok(())
    }

    /// Deliveries beyond the first.
    pub fn repeated(&self) -> usize {
        self.delivered.values().map(|times| times.len() - 1).sum()
    }
}

/// Pairs of neighbours among the copies of one step. A hop between tiers keeps its due time and is no copy.
fn again(mut step: Step, spill: bool) -> Vec<(i64, i64)> {
    step.sort_unstable();
    let pairs = step
        .windows(2)
        .filter(|pair| !spill || pair[0].1 != pair[1].1);
    pairs.map(|pair| (pair[0].0, pair[1].0)).collect()
}

fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    message
        .headers()?
        .iter()
        .find(|header| header.key == name)?
        .value
}

fn delivery(
    message: &BorrowedMessage<'_>,
    numbers: &HashMap<Uuid, u32>,
) -> Option<(Pair, Delivery)> {
    let pairs = message
        .headers()?
        .iter()
        .filter_map(|header| Some((header.key, header.value?)));
    let delivery = Delivery::parse(pairs).ok()?;
    let number = *numbers.get(&delivery.destination_id)?;
    Some(((delivery.event_id.as_u128(), number), delivery))
}
