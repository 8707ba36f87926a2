//! Dead letters: what the index says is open, by where it lies, and the bytes from there.
//!
//! What was dead when the job began is replayed, by offset and not by clock: a destination that is still broken makes new
//! letters of the copies, and those are for another job. A letter whose record is gone, or is not what the index says it is,
//! is skipped.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pushrail_kafka::rdkafka::Message as _;
use pushrail_kafka::rdkafka::message::{BorrowedMessage, Headers as _};
use pushrail_kafka::{Connection, Read, Reader};
use pushrail_schemas::headers::Delivery;
use pushrail_store::log::dead_letters::DeadLetter;
use pushrail_store::replays::Replay;
use pushrail_store::replays::letters;
use pushrail_store::{Scope, Store};
use pushrail_topology::topics;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::copies::Copy;
use crate::job::{Error, Round, Tally, of};

/// Records that are read over on the way to a letter; what is further away is gone to.
const OVER_MAX: i64 = 500;
/// How long Kafka may take to show a letter.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// What is copied at once, in bytes, but for the last.
const ROUND_LEN_MAX: usize = 4 * 1024 * 1024;

/// Where a job stands, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// The letter that was handled last.
    partition: i32,
    offset: i64,
    /// What was next to be written when the job began, by partition.
    ends: BTreeMap<i32, i64>,
}

/// See the module.
pub(crate) struct Letters {
    reader: Reader,
    store: Store,
    replay: Replay,
    topic: String,
    position: Position,
    page: VecDeque<DeadLetter>,
    /// Where the reader is: the partition, and the offset that comes next.
    at: Option<(i32, i64)>,
}

impl Letters {
    pub(crate) async fn open(
        connection: &Connection,
        client_id: &str,
        store: Store,
        replay: &Replay,
        kind: &str,
    ) -> Result<Self, Error> {
        let (reader, topic) = (Reader::new(connection, client_id)?, topics::dlq(kind));
        let position = match &replay.position {
            Some(position) => serde_json::from_str(position).map_err(|_| Error::Position)?,
            None => {
                let mut ends = BTreeMap::new();
                for partition in 0..reader.partitions(&topic).await? {
                    ends.insert(partition, reader.range(&topic, partition).await?.1);
                }
                Position {
                    partition: -1,
                    offset: -1,
                    ends,
                }
            }
        };
        Ok(Letters {
            reader,
            store,
            replay: replay.clone(),
            topic,
            position,
            page: VecDeque::new(),
            at: None,
        })
    }

    pub(crate) fn position(&self) -> String {
        serde_json::to_string(&self.position).unwrap_or_default()
    }

    /// Up to `limit` copies.
    pub(crate) async fn next(&mut self, limit: usize, tally: &mut Tally) -> Result<Round, Error> {
        let (mut copies, mut read, mut len) = (Vec::new(), 0, 0);
        while copies.len() < limit && read < limit && len < ROUND_LEN_MAX {
            let Some(letter) = self.letter(limit).await? else {
                return Ok(Round {
                    copies,
                    read,
                    done: true,
                });
            };
            let end = self.position.ends.get(&letter.partition);
            if end.is_some_and(|end| letter.offset < *end) {
                tally.scanned += 1;
                read += 1;
                match self.fetch(&letter).await? {
                    Some(copy) => {
                        len += copy.value.len();
                        copies.push(copy);
                    }
                    None => tally.skip("expired"),
                }
            }
            (self.position.partition, self.position.offset) = (letter.partition, letter.offset);
        }
        Ok(Round {
            copies,
            read,
            done: false,
        })
    }

    /// The next letter. No more are looked up than are copied now: what waits here could be discarded meanwhile.
    async fn letter(&mut self, limit: usize) -> Result<Option<DeadLetter>, Error> {
        if self.page.is_empty() {
            let after = (self.position.partition, self.position.offset);
            let mut tx = self.store.begin(Scope::System).await?;
            let (selection, limit) = (&self.replay.selection, limit.clamp(1, 1_000) as i64);
            let page = letters::page(&mut tx, of(&self.replay), selection, after, limit).await?;
            self.page = page.into();
        }
        Ok(self.page.pop_front())
    }

    /// The copy of a letter; `None` when its record is not there any more.
    async fn fetch(&mut self, letter: &DeadLetter) -> Result<Option<Copy>, Error> {
        let (partition, offset) = (letter.partition, letter.offset);
        let is_near = self
            .at
            .is_some_and(|(at, next)| at == partition && (0..=OVER_MAX).contains(&(offset - next)));
        if !is_near {
            self.reader.go(&self.topic, partition, offset)?;
            self.at = Some((partition, offset));
        }
        let until = Instant::now() + SHOWN_WITHIN;
        loop {
            match self.reader.next(until).await? {
                Read::Record(message) if message.partition() != partition => {}
                Read::Record(message) => {
                    let found = message.offset();
                    self.at = Some((partition, found + 1));
                    if found < offset {
                        continue;
                    }
                    if found > offset {
                        // Read past a letter that is still to come: gone to, when its turn is.
                        self.at = None;
                        return Ok(None);
                    }
                    return Ok(self.copy(letter, &message));
                }
                Read::End => {
                    self.at = None;
                    return Ok(None);
                }
                Read::Nothing => {
                    self.at = None;
                    return Err(Error::Silent);
                }
            }
        }
    }

    /// A record says itself whose it is: what is not this destination's letter is not copied, whatever the index says.
    fn copy(&self, letter: &DeadLetter, message: &BorrowedMessage<'_>) -> Option<Copy> {
        let headers = message.headers().into_iter().flat_map(|h| h.iter());
        let headers = headers.filter_map(|h| Some((h.key, h.value?)));
        let delivery = Delivery::parse(headers).ok()?;
        let replay = &self.replay;
        let is_its = delivery.delivery_id == letter.delivery_id
            && *delivery.tenant_id == *replay.tenant_id
            && delivery.customer_id == replay.customer_id
            && delivery.destination_id == replay.destination_id;
        let value = message.payload().filter(|_| is_its)?;
        let mut copy = Copy::new(delivery, value.to_vec(), replay.replay_id);
        copy.place = Some((letter.partition, letter.offset));
        Some(copy)
    }
}
