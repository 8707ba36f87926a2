//! Dead letters of a destination: listed, and counted by reason.

use http::Method;
use pushrail_http::Problem;
use pushrail_store::log::Micros;
use pushrail_store::log::dead_letters::{self as kept, DeadLetter, Wanted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CODE, EVENT, EVENT_TYPE, TAG, rfc3339, time};
use crate::api::Api;
use crate::call::Call;
use crate::operation::{CURSOR, LIMIT, Operation, Query, QueryKind, handler};
use crate::reply::{self, Reply};
use crate::routes::List;
use crate::routes::twice::{below, twice};

const STATE: Query = Query {
    name: "state",
    about: "open when it is not given.",
    kind: QueryKind::One(&["open", "replayed", "discarded", "any"]),
};
const REASON: Query = Query {
    name: "reason",
    about: "permanent, transient, suspended, disabled, removed or poison.",
    kind: QueryKind::Text,
};
const SINCE: Query = Query {
    name: "since",
    about: "Died then or later.",
    kind: QueryKind::Time,
};
const UNTIL: Query = Query {
    name: "until",
    about: "Died before.",
    kind: QueryKind::Time,
};

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
    /// `open`, `replayed` or `discarded`.
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
