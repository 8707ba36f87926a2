//! The events of a time, as they are on `events`, routed to one destination as it is now.
//!
//! A time is one of acceptance, as the event itself and the log say it. Kafka finds offsets by the time at which a record
//! was written, which is a little later; so the stretch that is read begins and ends with a margin, and each event is
//! judged by its own time.
//!
//! **Repeats.** An event with an idempotency key that was accepted twice is on `events` twice, and the router lets the first
//! pass alone. So does this, by the router's rule and its window; whoever goes on with a job reads as much as the window
//! again, without copying, to know what was seen.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use pushrail_clock as clock;
use pushrail_kafka::rdkafka::Message as _;
use pushrail_kafka::rdkafka::error::KafkaResult;
use pushrail_kafka::rdkafka::message::{BorrowedMessage, Headers as _};
use pushrail_kafka::{Connection, Read, Reader};
use pushrail_payload_keys::PayloadKeys;
use pushrail_router::dedup::{Sight, Window};
use pushrail_router::{Accepted, Single, Skipped};
use pushrail_schemas::config::Destination;
use pushrail_schemas::identity;
use pushrail_store::log::Micros;
use pushrail_store::replays::{Replay, Selection, attempts};
use pushrail_store::{Scope, Store, erasures};
use pushrail_topology::topics::EVENTS;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::copies::Copy;
use crate::job::{Error, Round, Tally, of};
use crate::partitions;

/// How much sooner than its event was accepted a record may have been written: clocks differ.
const EARLY_MS: i64 = 60_000;
/// How much later: it waited for Kafka.
const LATE_MS: i64 = 10 * 60_000;
/// What is copied at once, in bytes, but for the last.
const ROUND_LEN_MAX: usize = 4 * 1024 * 1024;
/// Events with a key that are remembered, some 40 bytes each.
const SEEN_MAX: usize = 1_000_000;

/// Where a job stands, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    partition: i32,
    begin: i64,
    /// The offset that is next.
    next: i64,
    end: i64,
    /// When the record before `next` was written.
    at_ms: i64,
}

/// Which events, from the job's selection.
struct Wanted {
    since_us: i64,
    until_us: i64,
    types: Vec<String>,
    ids: HashSet<Uuid>,
    only: HashSet<String>,
}

/// See the module.
pub(crate) struct Events {
    reader: Reader,
    store: Store,
    replay: Replay,
    wanted: Wanted,
    key: Vec<u8>,
    single: Single,
    keys: Option<PayloadKeys>,
    stretches: Vec<Stretch>,
    /// The partition that is being read.
    at: Option<i32>,
    seen: Window,
    /// Of the ids that are wanted.
    found: HashSet<Uuid>,
}

/// An event that the destination would get.
struct Candidate {
    copy: Copy,
    received_us: i64,
    subject_id: Option<Uuid>,
}

impl Events {
    pub(crate) async fn open(
        connection: &Connection,
        client_id: &str,
        store: Store,
        replay: &Replay,
        destination: &Destination,
        keys: Option<PayloadKeys>,
    ) -> Result<Self, Error> {
        let reader = Reader::new(connection, client_id)?;
        let wanted = Wanted::of(&replay.selection)?;
        let external_id = &destination.customer_external_id;
        let key = identity::event_key(&destination.tenant_id, external_id);
        let stretches = match &replay.position {
            Some(position) => serde_json::from_str(position).map_err(|_| Error::Position)?,
            None => {
                let any = connection.properties.contains_key("partitioner");
                stretches(&reader, &key, &wanted, any).await?
            }
        };
        Ok(Events {
            reader,
            store,
            replay: replay.clone(),
            wanted,
            key,
            single: Single::new(destination, keys.clone()),
            keys,
            stretches,
            at: None,
            seen: window(),
            found: HashSet::new(),
        })
    }

    /// The destination has changed.
    pub(crate) fn change(&mut self, destination: &Destination) {
        self.single = Single::new(destination, self.keys.clone());
    }

    pub(crate) fn position(&self) -> String {
        serde_json::to_string(&self.stretches).unwrap_or_default()
    }

    /// Offsets passed, and all of them.
    pub(crate) fn passed(&self) -> (i64, i64) {
        let stretches = self.stretches.iter();
        stretches.fold((0, 0), |(passed, all), s| {
            let len = (s.end - s.begin).max(0);
            (passed + (s.next - s.begin).clamp(0, len), all + len)
        })
    }

    /// Up to `limit` copies, from at most `read_max` records and what comes until `until`.
    pub(crate) async fn next(
        &mut self,
        limit: usize,
        read_max: usize,
        until: Instant,
        tally: &mut Tally,
    ) -> Result<Round, Error> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let (mut read, mut len, mut done) = (0, 0, false);
        while candidates.len() < limit && read < read_max && len < ROUND_LEN_MAX {
            if self.has_found_all() {
                done = true;
                break;
            }
            let Some(current) = self.stretches.iter().position(|s| s.next < s.end) else {
                done = true;
                break;
            };
            let partition = self.stretches[current].partition;
            if self.at != Some(partition) {
                let from = self.from(current).await?;
                self.reader.go(EVENTS, partition, from)?;
                (self.at, self.seen) = (Some(partition), window());
            }
            let stretch = &mut self.stretches[current];
            match self.reader.next(until).await? {
                Read::Record(message) if message.partition() == partition => {
                    let offset = message.offset();
                    if offset >= stretch.end {
                        stretch.next = stretch.end;
                        continue;
                    }
                    read += 1;
                    let again = offset < stretch.next;
                    if !again {
                        stretch.next = offset + 1;
                        stretch.at_ms = message.timestamp().to_millis().unwrap_or(stretch.at_ms);
                    }
                    if message.key() != Some(&*self.key) {
                        continue;
                    }
                    let judging = Judging {
                        wanted: &self.wanted,
                        single: &mut self.single,
                        seen: &mut self.seen,
                        found: &mut self.found,
                        replay_id: self.replay.replay_id,
                    };
                    if let Some(candidate) = judging.judge(&message, again, tally) {
                        len += candidate.copy.value.len();
                        candidates.push(candidate);
                    }
                }
                // Of the partition before.
                Read::Record(_) => {}
                // It has no more than this, so the rest of the stretch is gone.
                Read::End => stretch.next = stretch.end,
                Read::Nothing => break,
            }
        }
        let copies = self.standing(candidates, tally).await?;
        Ok(Round { copies, read, done })
    }

    fn has_found_all(&self) -> bool {
        !self.wanted.ids.is_empty() && self.found.len() == self.wanted.ids.len()
    }

    /// Where reading begins: a window before what is next, so that repeats are known.
    async fn from(&self, current: usize) -> KafkaResult<i64> {
        let stretch = &self.stretches[current];
        if stretch.next == stretch.begin {
            return Ok(stretch.begin);
        }
        let at_ms = stretch.at_ms - window_ms();
        let from = self.reader.offset_at(EVENTS, stretch.partition, at_ms);
        let from = from.await?.unwrap_or(stretch.next);
        Ok(from.clamp(stretch.begin, stretch.next))
    }

    /// Leaves those whose delivery stands as the job asks for, and whose event has not been erased.
    async fn standing(
        &self,
        candidates: Vec<Candidate>,
        tally: &mut Tally,
    ) -> Result<Vec<Copy>, Error> {
        let ids: Vec<_> = candidates
            .iter()
            .map(|c| c.copy.delivery.delivery_id)
            .collect();
        let times = || candidates.iter().map(|c| c.received_us);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Ok(Vec::new());
        };
        let mut known: BTreeMap<Uuid, String> = BTreeMap::new();
        if !self.wanted.only.is_empty() {
            let mut tx = self.store.begin(Scope::System).await?;
            let found = attempts::outcomes(&mut tx, of(&self.replay), &ids, (first, last));
            known.extend(found.await?);
        }
        let mut tx = self.store.begin(Scope::System).await?;
        let of = candidates.iter().map(|candidate| erasures::Of {
            tenant_id: &candidate.copy.delivery.tenant_id,
            customer_id: candidate.copy.delivery.customer_id,
            event_id: candidate.copy.delivery.event_id,
            subject_id: candidate.subject_id,
            received_at: Micros(candidate.received_us),
        });
        let erased = erasures::covered(&mut tx, &of.collect::<Vec<_>>()).await?;
        drop(tx);
        let mut copies = Vec::with_capacity(candidates.len());
        for (Candidate { copy, .. }, erased) in candidates.into_iter().zip(erased) {
            if erased {
                tally.skip("erased");
                continue;
            }
            let state = known.get(&copy.delivery.delivery_id);
            let state = state.map_or("missing", String::as_str);
            match self.wanted.only.is_empty() || self.wanted.only.contains(state) {
                true => copies.push(copy),
                false => tally.skip("other_state"),
            }
        }
        Ok(copies)
    }
}

/// What judging an event needs of [`Events`], while the reader is lent to it.
struct Judging<'a> {
    wanted: &'a Wanted,
    single: &'a mut Single,
    seen: &'a mut Window,
    found: &'a mut HashSet<Uuid>,
    replay_id: Uuid,
}

impl Judging<'_> {
    /// `again`: it was judged before, and is read only to recognise repeats of it.
    fn judge(
        self,
        message: &BorrowedMessage<'_>,
        again: bool,
        tally: &mut Tally,
    ) -> Option<Candidate> {
        let headers = message.headers().into_iter().flat_map(|h| h.iter());
        let headers = headers.filter_map(|h| Some((h.key, h.value?)));
        let Ok(accepted) = Accepted::read(message.payload(), headers) else {
            // The router has put it on dlq.events.
            if !again {
                tally.skip("unreadable");
            }
            return None;
        };
        let (event_id, received_us) = (accepted.event.event_id(), accepted.event.received_at_us());
        let mut is_repeat = false;
        if accepted.deduplicate {
            let received_ms = received_us.div_euclid(1_000);
            let sight = self
                .seen
                .see(event_id, message.offset(), received_ms, clock::now_ms());
            is_repeat = matches!(sight, Sight::Duplicate { .. });
        }
        if again || !self.wanted.is_of_the_time(received_us) {
            return None;
        }
        tally.scanned += 1;
        if is_repeat {
            tally.skip("duplicate");
            return None;
        }
        if !self.wanted.names(event_id, accepted.event.event_type()) {
            tally.skip("not_selected");
            return None;
        }
        if !self.wanted.ids.is_empty() {
            self.found.insert(event_id);
        }
        match self.single.route(&accepted) {
            Ok((delivery, value)) => {
                let copy = Copy::new(delivery, value.to_vec(), self.replay_id);
                let subject_id = accepted.event.subject_id();
                Some(Candidate {
                    copy,
                    received_us,
                    subject_id,
                })
            }
            Err(skipped) => {
                tally.skip(match skipped {
                    Skipped::NoMatch => "no_match",
                    Skipped::Filtered => "filtered",
                    Skipped::Disabled => "disabled",
                    Skipped::Erased => "erased",
                });
                None
            }
        }
    }
}

impl Wanted {
    fn of(selection: &Selection) -> Result<Self, Error> {
        let time = |text: &Option<String>, default| match text {
            None => Ok(default),
            Some(text) => text
                .parse::<jiff::Timestamp>()
                .map(jiff::Timestamp::as_microsecond)
                .map_err(|_| Error::Position),
        };
        Ok(Wanted {
            since_us: time(&selection.since, 0)?,
            until_us: time(&selection.until, i64::MAX)?,
            types: selection.event_types.clone(),
            ids: selection.event_ids.iter().copied().collect(),
            only: selection.only.iter().cloned().collect(),
        })
    }

    fn is_of_the_time(&self, received_us: i64) -> bool {
        (self.since_us..self.until_us).contains(&received_us)
    }

    fn names(&self, event_id: Uuid, event_type: &str) -> bool {
        (self.ids.is_empty() || self.ids.contains(&event_id))
            && (self.types.is_empty() || self.types.iter().any(|p| matches(p, event_type)))
    }
}

/// Whether a pattern names an event type: exactly, everything below a name, or everything.
fn matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(above) if above.ends_with('.') => event_type.starts_with(above),
        _ => pattern == event_type,
    }
}

async fn stretches(
    reader: &Reader,
    key: &[u8],
    wanted: &Wanted,
    any: bool,
) -> Result<Vec<Stretch>, Error> {
    let since_ms = wanted.since_us.div_euclid(1_000).saturating_sub(EARLY_MS);
    let until_ms = wanted.until_us.div_euclid(1_000).saturating_add(LATE_MS);
    let mut stretches = Vec::new();
    for partition in partitions::of_key(reader, EVENTS, key, since_ms, any).await? {
        let begin = reader.offset_at(EVENTS, partition, since_ms).await?;
        let end = match wanted.until_us {
            i64::MAX => None,
            _ => reader.offset_at(EVENTS, partition, until_ms).await?,
        };
        let (oldest, next) = reader.range(EVENTS, partition).await?;
        let begin = begin.unwrap_or(next).max(oldest);
        stretches.push(Stretch {
            partition,
            begin,
            next: begin,
            end: end.unwrap_or(next),
            at_ms: 0,
        });
    }
    Ok(stretches)
}

fn window_ms() -> i64 {
    let window: Duration = pushrail_router::Settings::DEDUP_WINDOW;
    i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 4)
}

fn window() -> Window {
    Window::new(window_ms(), SEEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_what_it_names_for_a_destination() {
        for (pattern, event_type, does) in [
            ("*", "order.completed", true),
            ("order.*", "order.completed", true),
            ("order.*", "order.item.added", true),
            ("order.*", "order", false),
            ("order.*", "orders.completed", false),
            ("order.completed", "order.completed", true),
            ("order", "order.completed", false),
        ] {
            assert_eq!(matches(pattern, event_type), does, "{pattern} {event_type}");
        }
    }

    #[test]
    fn a_time_includes_its_beginning_and_not_its_end() {
        let wanted = Wanted::of(&Selection {
            since: Some("1970-01-01T00:00:01Z".into()),
            until: Some("1970-01-01T00:00:02Z".into()),
            ..Selection::default()
        })
        .unwrap();
        let of = |us| wanted.is_of_the_time(us);
        assert!(!of(999_999) && of(1_000_000) && of(1_999_999) && !of(2_000_000));
    }
}
