//! What became of events: the delivery log, as `pushrail log` keeps it.

pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod export;
pub(crate) mod health;
pub(crate) mod tail;
mod view;

use pushrail_http::Problem;
use pushrail_schemas::attempt::Outcome;
use pushrail_schemas::identity;
use pushrail_store::log::Micros;
use pushrail_store::log::search::Wanted;

use crate::call::Call;
use crate::caller::{Caller, Who};
use crate::operation::{Operation, Query, QueryKind};
use crate::reply;

const TAG: &str = "Delivery log";
const READERS: Who = Who::TENANT.or(Who::CUSTOMER);

pub(crate) fn operations() -> Vec<Operation> {
    [
        deliveries::operations(),
        tail::operations(),
        export::operations(),
        health::operations(),
        dead_letters::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const STATES: &[&str] = &[
    "queued",
    "retrying",
    "delivered",
    "dead",
    "suspended",
    "skipped",
    "duplicate",
];

macro_rules! query {
    ($name:ident, $text:literal, $kind:expr, $about:literal) => {
        const $name: Query = Query {
            name: $text,
            about: $about,
            kind: $kind,
        };
    };
}
pub(crate) use query;

query!(
    CUSTOMER,
    "customerExternalId",
    QueryKind::Text,
    "Of one customer."
);
query!(
    DESTINATION,
    "destinationId",
    QueryKind::Id,
    "To one destination."
);
query!(EVENT, "eventId", QueryKind::Id, "Of one event.");
query!(REPLAY, "replayId", QueryKind::Id, "Of one replay.");
query!(
    EVENT_TYPE,
    "eventType",
    QueryKind::Text,
    "Of one type, or of all that begin alike: order.*"
);
query!(
    STATE,
    "state",
    QueryKind::One(STATES),
    "How it stands, or what came of the attempt."
);
query!(
    CLASS,
    "class",
    QueryKind::Text,
    "The failure class, such as transient; of a skip, why."
);
query!(
    CODE,
    "code",
    QueryKind::Text,
    "The failure code, such as timeout or http_503."
);
query!(
    STATUS,
    "statusCode",
    QueryKind::Number(100, 599),
    "The HTTP status of the answer."
);
query!(
    LATENCY_MIN,
    "latencyMsMin",
    QueryKind::Number(0, 2_000_000),
    "Took at least so many milliseconds."
);
query!(
    LATENCY_MAX,
    "latencyMsMax",
    QueryKind::Number(0, 2_000_000),
    "Took at most so many milliseconds."
);
query!(
    SINCE,
    "since",
    QueryKind::Time,
    "Of events that were accepted then or later."
);
query!(
    UNTIL,
    "until",
    QueryKind::Time,
    "Of events that were accepted before."
);
query!(
    TEXT,
    "text",
    QueryKind::Text,
    "Is in the error, in whatever case."
);
query!(
    ORIGIN,
    "origin",
    QueryKind::One(&["live", "replay", "test"]),
    "Where the delivery came from."
);

/// What a search can ask for.
const FILTERS: [Query; 15] = [
    CUSTOMER,
    DESTINATION,
    EVENT,
    REPLAY,
    EVENT_TYPE,
    STATE,
    CLASS,
    CODE,
    STATUS,
    LATENCY_MIN,
    LATENCY_MAX,
    SINCE,
    UNTIL,
    TEXT,
    ORIGIN,
];

/// What the query asks for, of what the caller may see.
fn wanted(call: &Call, latest: bool) -> Result<Wanted, Problem> {
    let tenant_id = call.tenant_id()?;
    let text = |name: &str| call.query.get(name).cloned();
    let named = text("customerExternalId").map(|id| identity::customer_id(&tenant_id, &id));
    let own = match &call.caller {
        Caller::Customer { customer_id, .. } => Some(*customer_id),
        _ => None,
    };
    if named.is_some() && own.is_some() && named != own {
        return Err(reply::not_found("customer"));
    }
    let id = |name: &str| call.query.get(name).and_then(|id| id.parse().ok());
    let number = |name: &str| call.query.get(name).and_then(|n| n.parse::<i32>().ok());
    let milliseconds = |name: &str| number(name).map(|ms| ms.saturating_mul(1_000));
    Ok(Wanted {
        customer_id: own.or(named),
        destination_id: id("destinationId"),
        event_id: id("eventId"),
        delivery_id: None,
        event_type: text("eventType"),
        outcome: text("state").and_then(|state| Outcome::parse(&state)),
        class: text("class"),
        code: text("code"),
        status_code: number("statusCode").and_then(|code| code.try_into().ok()),
        latency_us_min: milliseconds("latencyMsMin"),
        latency_us_max: milliseconds("latencyMsMax"),
        since: time(call, "since"),
        until: time(call, "until"),
        text: text("text"),
        origin: text("origin"),
        replay_id: id("replayId"),
        latest,
        tenant_id,
    })
}

/// A time of the query, which has been judged.
fn time(call: &Call, name: &str) -> Option<Micros> {
    let time = call.query.get(name)?.parse::<jiff::Timestamp>().ok()?;
    Some(Micros(time.as_microsecond()))
}

/// As the API shows every time.
pub(crate) fn rfc3339(at: Micros) -> String {
    let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
    // Microseconds, as the database writes times elsewhere.
    format!("{at:.6}")
}
