//! Dead letters of a destination: listed, counted, looked into, and discarded. What replays them is `replays`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::config::PayloadMode;
use pushrail_schemas::event::Event;
use pushrail_schemas::headers;
use pushrail_shred::{Lookup, Owner};
use pushrail_store::log::Micros;
use pushrail_store::log::dead_letters::{self as kept, DeadLetter, Wanted};
use pushrail_store::replays::letters;
use pushrail_topology::topics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::view::ERASED;
use super::{CODE, EVENT, EVENT_TYPE, query, rfc3339, time};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::operation::{CURSOR, LIMIT, Operation, Query, QueryKind, handler};
use crate::payload_keys::Opener;
use crate::reply::{self, Reply, not_found};
use crate::routes::List;
use crate::routes::replays::{Destination, LetterFilter};
use crate::routes::twice::{below, twice};

const TAG: &str = "Dead letters";

query!(
    STATE,
    "state",
    QueryKind::One(&["open", "replayed", "discarded", "erased", "any"]),
    "open when it is not given."
);
query!(
    REASON,
    "reason",
    QueryKind::Text,
    "permanent, transient, suspended, disabled, removed, erased or poison."
);
query!(SINCE, "since", QueryKind::Time, "Died then or later.");
query!(UNTIL, "until", QueryKind::Time, "Died before.");

pub(crate) fn operations() -> Vec<Operation> {
    twice(
        TAG,
        vec![
            (
                Method::GET,
                below!("/dead-letters"),
                ["listCustomerDeadLetters", "listDeadLetters"],
                "List dead letters, newest first",
                handler!(list),
                |o| {
                    o.detail("Deliveries that ended without success. They can be replayed or discarded, and expire after 30 days.")
                    .query(&[LIMIT, CURSOR, STATE, REASON, CODE, EVENT_TYPE, EVENT, SINCE, UNTIL])
                    .ok::<List<View>>()
                },
            ),
            (
                Method::GET,
                below!("/dead-letters/counts"),
                ["countCustomerDeadLetters", "countDeadLetters"],
                "Count dead letters by state, reason and code",
                handler!(counts),
                |o| {
                    o.query(&[STATE, REASON, CODE, EVENT_TYPE, EVENT, SINCE, UNTIL])
                        .ok::<Counts>()
                },
            ),
            (
                Method::GET,
                below!("/dead-letters/{deadLetterId}"),
                ["getCustomerDeadLetter", "getDeadLetter"],
                "Look into a dead letter",
                handler!(get),
                |o| {
                    o.detail("With its payload as it was accepted or transformed, byte by byte; not where the destination's `payloadMode` is `off`. `deadLetterId` is partition and offset, such as `3-1207`.")
                        .ok::<Detail>()
                },
            ),
            (
                Method::POST,
                below!("/dead-letters/discard"),
                ["discardCustomerDeadLetters", "discardDeadLetters"],
                "Discard dead letters",
                handler!(discard),
                |o| {
                    o.detail("Those that are open and that `filter` names; an empty filter names all. They are kept as discarded until they expire, and are not replayed.")
                        .body::<Discard>()
                        .ok::<Discarded>()
                },
            ),
        ],
    )
}

/// A delivery that ended without success.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetter")]
pub(crate) struct View {
    /// Its place on the topic of dead letters.
    dead_letter_id: String,
    delivery_id: Uuid,
    event_id: Uuid,
    event_type: String,
    /// `open`, `replayed`, `discarded` or `erased`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_id: Option<Uuid>,
    reason: String,
    code: String,
    /// What went wrong, for people.
    detail: String,
    attempts: i16,
    /// Of the event, in bytes.
    bytes: i32,
    received_at: String,
    dead_at: String,
}

impl View {
    pub(crate) fn of(row: DeadLetter) -> Self {
        View {
            dead_letter_id: format!("{}-{}", row.partition, row.offset),
            delivery_id: row.delivery_id,
            event_id: row.event_id,
            event_type: row.event_type,
            state: row.state,
            state_at: row.state_at.map(rfc3339),
            replay_id: row.replay_id,
            reason: row.reason,
            code: row.code,
            detail: row.detail,
            attempts: row.attempts,
            bytes: row.value_len,
            received_at: rfc3339(row.received_at),
            dead_at: rfc3339(row.dead_at),
        }
    }
}

/// A dead letter, and what lies on its topic.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetterDetail")]
struct Detail {
    #[serde(flatten)]
    letter: View,
    /// What the record carries beside its value.
    headers: BTreeMap<String, String>,
    /// As it was accepted or transformed; absent where it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    payload: Option<Box<RawValue>>,
    /// `json`, `omitted` where the destination's payloads are not shown, or `erased`.
    payload_form: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    metadata: Option<Box<RawValue>>,
}

/// Which dead letters to discard.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Discard {
    filter: LetterFilter,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Discarded {
    /// How many.
    discarded: u64,
}

/// Dead letters by state, reason and code; the most frequent first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetterCounts")]
struct Counts {
    total: i64,
    items: Vec<Count>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetterCount")]
struct Count {
    state: String,
    reason: String,
    code: String,
    count: i64,
}

#[derive(Serialize, Deserialize)]
struct Cursor(i64, i32, i64);

/// What the query asks for of the destination of the path.
async fn wanted(call: &mut Call) -> Result<Wanted, Problem> {
    let destination = crate::routes::destinations::read(call).await?;
    let text = |name: &str| call.query.get(name).cloned();
    let state = text("state").unwrap_or_else(|| "open".to_owned());
    Ok(Wanted {
        destination_id: destination.document.destination_id,
        state: Some(state).filter(|state| state != "any"),
        reason: text("reason"),
        code: text("code"),
        event_type: text("eventType"),
        event_id: text("eventId").and_then(|id| id.parse().ok()),
        since: time(call, "since"),
        until: time(call, "until"),
    })
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (wanted, limit) = (wanted(call).await?, call.limit());
    let after = call.decoded_cursor::<Cursor>()?;
    let after = after.map(|Cursor(dead_at, partition, offset)| kept::After {
        dead_at: Micros(dead_at),
        partition,
        offset,
    });
    let mut rows = kept::list(call.tx()?, &wanted, after, limit + 1)
        .await
        .map_err(reply::store)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| Cursor(row.dead_at.0, row.partition, row.offset));
    Reply::ok(&List {
        items: rows.into_iter().map(View::of).collect(),
        next_cursor: crate::call::encoded_cursor(next.as_ref()),
    })
}

async fn counts(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let wanted = wanted(call).await?;
    let rows = kept::counts(call.tx()?, &wanted)
        .await
        .map_err(reply::store)?;
    Reply::ok(&Counts {
        total: rows.iter().map(|row| row.3).sum(),
        items: rows
            .into_iter()
            .map(|(state, reason, code, count)| Count {
                state,
                reason,
                code,
                count,
            })
            .collect(),
    })
}

/// Partition and offset from `3-1207`.
fn place(id: &str) -> Option<(i32, i64)> {
    let (partition, offset) = id.split_once('-')?;
    let place: (i32, i64) = (partition.parse().ok()?, offset.parse().ok()?);
    // No other spelling of the same.
    (format!("{}-{}", place.0, place.1) == id && place.0 >= 0 && place.1 >= 0).then_some(place)
}

async fn get(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let to = Destination::find(call).await?;
    let none = || not_found("dead letter");
    let (partition, offset) = place(call.parameter("deadLetterId")?).ok_or_else(none)?;
    let letter = letters::get(call.tx()?, to.of(), partition, offset).await;
    let letter = letter.map_err(reply::store)?.ok_or_else(none)?;
    // Nothing of the database is held while Kafka takes its time.
    call.commit().await?;
    let topic = topics::dlq(&letter.kind);
    let found = api.records.at(&topic, partition, offset).await?;
    call.begin(api).await?;
    let found = found.ok_or_else(none)?;
    let header = |name: &str| {
        let found = found.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    // The index is read from the topic; what lies there now must be the same letter.
    if header("delivery_id") != Some(letter.delivery_id.to_string()) {
        return Err(none());
    }
    let event = Event::parse(Bytes::from(found.value)).ok();
    let is_shown = to.document.payload_mode == PayloadMode::Full;
    let event = event.filter(|_| is_shown && letter.state != ERASED);
    let (event, form) = match event {
        Some(event) => in_clear(api, &to, event).await?,
        None if letter.state == ERASED => (None, ERASED),
        None if is_shown => (None, "json"),
        None => (None, "omitted"),
    };
    let raw = |bytes: &[u8]| serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    let headers = found.headers.iter();
    let erased = form == ERASED;
    let headers = headers
        .filter(|(name, _)| !["tenant_id", "customer_id"].contains(&name.as_str()))
        // It may quote what is gone.
        .filter(|(name, _)| !(erased && name == headers::FAILURE_DETAIL))
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()));
    Reply::ok(&Detail {
        headers: headers.collect(),
        payload_form: form,
        payload: event.as_ref().and_then(|event| raw(event.payload())),
        metadata: event.as_ref().and_then(|event| raw(event.metadata())),
        letter: View::of(letter),
    })
}

/// The event of a dead letter, opened where it is sealed; and in which form it is shown.
async fn in_clear(
    api: &Api,
    to: &Destination,
    event: Event,
) -> Result<(Option<Event>, &'static str), Problem> {
    let Some(sealing) = event.sealing() else {
        return Ok((Some(event), "json"));
    };
    let opener = Opener::of(&api.store, &api.ring, &to.document.tenant_id).await?;
    let owner = Owner {
        customer_id: to.document.customer_id,
        event_id: event.event_id(),
        subject_id: event.subject_id(),
    };
    Ok(match opener.key(&owner, sealing) {
        Lookup::Key(key) => (
            event.opened(|name, bytes| key.open(name, bytes).ok()),
            "json",
        ),
        Lookup::Erased => (None, ERASED),
        Lookup::Unknown => (None, "omitted"),
    })
}

async fn discard(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let Discard { filter } = call.body()?;
    let selection = filter.judge()?;
    let to = Destination::find(call).await?;
    let discarded = letters::discard(call.tx()?, to.of(), &selection)
        .await
        .map_err(reply::store)?;
    call.audit(Done {
        action: "dead_letters.discard",
        target_kind: "destination",
        target_id: &to.document.destination_id.to_string(),
        chain: &to.document.tenant_id,
        customer_id: Some(to.document.customer_id),
        before: None,
        after: Some(json!({"filter": selection, "discarded": discarded})),
    })
    .await?;
    Reply::ok(&Discarded { discarded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_spelling() {
        assert_eq!(place("3-1207"), Some((3, 1207)));
        for wrong in [
            "", "3", "3-", "-3-1", "03-1", "3-+1", "3-1-2", "a-b", "3--1",
        ] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
