//! Dead letters of a destination: looked into, and discarded. What replays them is `replays`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::config::PayloadMode;
use pushrail_schemas::event::Event;
use pushrail_store::replays::letters::{self, Letter};
use pushrail_topology::topics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::replays::{Destination, LetterFilter};
use super::twice::{below, twice};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::operation::{Operation, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Dead letters";

pub(crate) fn operations() -> Vec<Operation> {
    twice(
        TAG,
        vec![
            (
                Method::GET,
                below!("/dead-letters/{deadLetterId}"),
                ["getCustomerDeadLetter", "getDeadLetter"],
                "Look into a dead letter",
                handler!(get),
                |o| {
                    o.detail("With its payload as it was accepted or transformed, byte by byte; not where the destination's `payloadMode` is `off`. `deadLetterId` is partition and offset, such as `3-1207`.")
                        .ok::<View>()
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

/// A dead letter.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetter")]
struct View {
    dead_letter_id: String,
    delivery_id: Uuid,
    event_id: Uuid,
    event_type: String,
    received_at: String,
    dead_at: String,
    /// Attempts that were made.
    attempts: i16,
    /// `permanent`, `transient`, `suspended`, `disabled`, `removed` or `poison`.
    reason: String,
    /// What went wrong, by name.
    code: String,
    /// What went wrong, for people.
    detail: String,
    /// `open`, `replayed` or `discarded`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_at: Option<String>,
    /// The replay that took it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_id: Option<Uuid>,
    /// What the record carries beside its value.
    headers: BTreeMap<String, String>,
    /// As it was accepted or transformed; absent where it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    payload: Option<Box<RawValue>>,
    /// `json`, or `omitted` where the destination's payloads are not shown.
    payload_form: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    metadata: Option<Box<RawValue>>,
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
    let event = event.filter(|_| is_shown);
    let raw = |bytes: &[u8]| serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    let headers = found.headers.iter();
    let headers = headers
        .filter(|(name, _)| !["tenant_id", "customer_id"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()));
    Reply::ok(&View {
        headers: headers.collect(),
        payload_form: if is_shown { "json" } else { "omitted" },
        payload: event.as_ref().and_then(|event| raw(event.payload())),
        metadata: event.as_ref().and_then(|event| raw(event.metadata())),
        ..View::of(letter)
    })
}

impl View {
    fn of(letter: Letter) -> View {
        View {
            dead_letter_id: format!("{}-{}", letter.partition, letter.offset),
            delivery_id: letter.delivery_id,
            event_id: letter.event_id,
            event_type: letter.event_type,
            received_at: letter.received_at,
            dead_at: letter.dead_at,
            attempts: letter.attempts,
            reason: letter.reason,
            code: letter.code,
            detail: letter.detail,
            state: letter.state,
            state_at: letter.state_at,
            replay_id: letter.replay_id,
            headers: BTreeMap::new(),
            payload: None,
            payload_form: "omitted",
            metadata: None,
        }
    }
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
