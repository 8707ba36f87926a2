//! Replays of one destination: made, shown, started and stopped. They are carried out by `pushrail replay`.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use pushrail_http::Problem;
use pushrail_schemas::config;
use pushrail_sink_core::FieldError;
use pushrail_store::replays::{self, New, Of, Reads, Replay, Selection, State, attempts, letters};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::twice::{below, twice};
use super::{List, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Replays";
/// Jobs of one destination that are not over.
const OPEN_MAX: i64 = 20;
/// Ids, types, reasons or codes that one filter names.
const NAMED_MAX: usize = 1_000;
const RATE_DEFAULT: i32 = 100;
const RATE_MAX: i32 = 100_000;
/// What a delivery of a window may be in the log.
const STANDINGS: [&str; 7] = [
    "missing",
    "skipped",
    "dead",
    "suspended",
    "retrying",
    "queued",
    "delivered",
];

pub(crate) fn operations() -> Vec<Operation> {
    twice(
        TAG,
        vec![
            (
                Method::POST,
                below!("/replays"),
                ["createCustomerReplay", "createReplay"],
                "Make a replay",
                handler!(create),
                |o| {
                    o.detail("It says how many deliveries it would put on their way again, and waits to be started, unless `start` is true. `events` reads what was accepted in a time, for a destination that was made later too: everything that it would get now, also what was delivered, unless `filter.only` says otherwise; while `state` is `estimating` the estimate is being made. Copies have the ids and the idempotency key of the first delivery, and are marked as a replay.")
                        .body::<Draft>()
                        .created::<View>()
                        .problems(&[409])
                },
            ),
            (
                Method::GET,
                below!("/replays"),
                ["listCustomerReplays", "listReplays"],
                "List replays",
                handler!(list),
                |o| o.query(PAGED).ok::<List<View>>(),
            ),
            (
                Method::GET,
                below!("/replays/{replayId}"),
                ["getCustomerReplay", "getReplay"],
                "Show a replay and how far it is",
                handler!(get),
                |o| o.ok::<View>(),
            ),
            (
                Method::POST,
                below!("/replays/{replayId}/start"),
                ["startCustomerReplay", "startReplay"],
                "Start a replay",
                handler!(start),
                |o| {
                    o.detail("Replays of one destination run one after the other.")
                        .ok::<View>()
                        .problems(&[409])
                },
            ),
            (
                Method::POST,
                below!("/replays/{replayId}/pause"),
                ["pauseCustomerReplay", "pauseReplay"],
                "Pause a replay",
                handler!(pause),
                |o| {
                    o.detail("Within a second nothing more is put on its way. What is on its way is delivered.")
                        .ok::<View>()
                        .problems(&[409])
                },
            ),
            (
                Method::POST,
                below!("/replays/{replayId}/resume"),
                ["resumeCustomerReplay", "resumeReplay"],
                "Resume a replay",
                handler!(resume),
                |o| o.ok::<View>().problems(&[409]),
            ),
            (
                Method::POST,
                below!("/replays/{replayId}/cancel"),
                ["cancelCustomerReplay", "cancelReplay"],
                "Cancel a replay",
                handler!(cancel),
                |o| {
                    o.detail("For good. What is on its way is delivered.")
                        .ok::<View>()
                        .problems(&[409])
                },
            ),
        ],
    )
}

/// What is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReplaySource")]
enum From {
    /// Open dead letters: those that the filter names, or all.
    DeadLetters,
    /// Events that were accepted in a time.
    Events,
    /// One delivery, from its dead letter or from its event.
    Delivery,
}

/// A replay to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ReplayDraft")]
struct Draft {
    source: From,
    #[serde(default)]
    filter: Filter,
    /// Copies a second; 100 when it is not given. The operator may allow less, and a destination with a rate limit gets
    /// half of it at most.
    #[schemars(range(min = 1, max = 100_000))]
    rate_per_second: Option<i32>,
    /// Start it as soon as it is known how much it is.
    #[serde(default)]
    start: bool,
}

/// Which deliveries. What is not given narrows nothing.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ReplayFilter")]
struct Filter {
    #[serde(default)]
    since: Option<String>,
    /// Exclusive. Of `events`: now, when it is not given.
    #[serde(default)]
    until: Option<String>,
    /// Exact names, `order.*` or `*`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    event_types: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 1000))]
    event_ids: Vec<Uuid>,
    /// Of `deadLetters`; of `delivery`: the one.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    delivery_ids: Vec<Uuid>,
    /// Of `deadLetters`: `permanent`, `transient`, `suspended`, `disabled`, `removed`, `poison`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    reasons: Vec<String>,
    /// Of `deadLetters`: failures by name, such as `http_404`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    codes: Vec<String>,
    /// Of `events`: how the delivery stands in the log: `missing` (the log knows of none), `skipped`, `dead`, `suspended`,
    /// `retrying`, `queued`, `delivered`. Everything when it is not given.
    #[serde(default)]
    only: Vec<String>,
}

/// Which dead letters. What is not given narrows nothing.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DeadLetterFilter")]
pub(crate) struct LetterFilter {
    /// When it died, at the earliest.
    #[serde(default)]
    since: Option<String>,
    /// Exclusive.
    #[serde(default)]
    until: Option<String>,
    /// Exact names, `order.*` or `*`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    event_types: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 1000))]
    event_ids: Vec<Uuid>,
    #[serde(default)]
    #[schemars(length(max = 1000))]
    delivery_ids: Vec<Uuid>,
    /// `permanent`, `transient`, `suspended`, `disabled`, `removed` or `poison`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    reasons: Vec<String>,
    /// Failures by name, such as `http_404`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    codes: Vec<String>,
}

impl LetterFilter {
    pub(crate) fn judge(self) -> Result<Selection, Problem> {
        Filter {
            since: self.since,
            until: self.until,
            event_types: self.event_types,
            event_ids: self.event_ids,
            delivery_ids: self.delivery_ids,
            reasons: self.reasons,
            codes: self.codes,
            only: Vec::new(),
        }
        .judge(From::DeadLetters)
    }
}

impl Filter {
    /// Everything that is wrong with it, or what it selects.
    fn judge(self, from: From) -> Result<Selection, Problem> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: &str| {
            errors.push(FieldError::new(
                format!("filter.{field}"),
                message.to_owned(),
            ));
        };
        let foreign: [(&str, bool, &[From]); 8] = [
            (
                "since",
                self.since.is_some(),
                &[From::DeadLetters, From::Events],
            ),
            (
                "until",
                self.until.is_some(),
                &[From::DeadLetters, From::Events],
            ),
            (
                "eventTypes",
                !self.event_types.is_empty(),
                &[From::DeadLetters, From::Events],
            ),
            (
                "eventIds",
                !self.event_ids.is_empty(),
                &[From::DeadLetters, From::Events],
            ),
            (
                "deliveryIds",
                !self.delivery_ids.is_empty(),
                &[From::DeadLetters, From::Delivery],
            ),
            ("reasons", !self.reasons.is_empty(), &[From::DeadLetters]),
            ("codes", !self.codes.is_empty(), &[From::DeadLetters]),
            ("only", !self.only.is_empty(), &[From::Events]),
        ];
        for (field, is_given, of) in foreign {
            if is_given && !of.contains(&from) {
                wrong(field, "is not for this source; leave it out");
            }
        }
        match from {
            From::Events if self.since.is_none() => {
                wrong(
                    "since",
                    "is needed: when the first of the events was accepted",
                );
            }
            From::Delivery if self.delivery_ids.len() != 1 => {
                wrong("deliveryIds", "must be the id of one delivery");
            }
            _ => {}
        }
        for (field, count) in [
            ("eventTypes", self.event_types.len()),
            ("eventIds", self.event_ids.len()),
            ("deliveryIds", self.delivery_ids.len()),
            ("reasons", self.reasons.len()),
            ("codes", self.codes.len()),
        ] {
            if count > NAMED_MAX {
                wrong(field, "must name at most 1000");
            }
        }
        let texts = [&self.event_types, &self.reasons, &self.codes];
        for (field, texts) in ["eventTypes", "reasons", "codes"].into_iter().zip(texts) {
            if texts
                .iter()
                .any(|text| text.len() > 255 || text.contains('\0'))
            {
                wrong(field, "must be names of at most 255 bytes");
            }
        }
        if self
            .only
            .iter()
            .any(|one| !STANDINGS.contains(&one.as_str()))
        {
            wrong(
                "only",
                "must be some of missing, skipped, dead, suspended, retrying, queued, delivered",
            );
        }
        let mut time = |field: &str, text: &Option<String>| {
            let text = text.as_ref()?;
            // As the database writes times itself, whatever offset they came with.
            let time = text.parse::<jiff::Timestamp>().ok();
            let time = time.filter(|time| time.as_second() >= 0);
            if time.is_none() {
                wrong(field, "must be a time such as 2026-01-31T23:59:59Z");
            }
            time
        };
        let since = time("since", &self.since);
        let until = time("until", &self.until);
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            wrong("until", "must be later than since");
        }
        if !errors.is_empty() {
            return Err(reply::invalid(errors));
        }
        Ok(Selection {
            since: since.map(|time| time.to_string()),
            until: until.map(|time| time.to_string()),
            event_types: self.event_types,
            event_ids: self.event_ids,
            delivery_ids: self.delivery_ids,
            reasons: self.reasons,
            codes: self.codes,
            only: self.only,
        })
    }
}

/// A replay, and how far it is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Replay")]
struct View {
    replay_id: Uuid,
    source: String,
    #[schemars(with = "serde_json::Map<String, Value>")]
    filter: Selection,
    /// `estimating`, `estimated`, `running`, `paused`, `cancelled`, `finished` or `failed`.
    #[schemars(with = "String")]
    state: State,
    rate_per_second: i32,
    /// How many deliveries it is; absent while that is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<i64>,
    /// `exact` as things stood when it was made, or `approximate`: from a part of the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate_kind: Option<&'static str>,
    /// The customer's records that were looked at.
    scanned: i64,
    /// Deliveries that were put on their way again.
    sent: i64,
    /// How many were not, by reason.
    skipped: BTreeMap<String, i64>,
    percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_seconds: Option<i64>,
    /// Why it failed, or why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// `operator`, `api_key` or `session`; the audit trail says which.
    created_by: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
}

impl View {
    fn of(replay: Replay) -> View {
        let estimate_kind = match replay.estimate_exact {
            true => "exact",
            false => "approximate",
        };
        View {
            replay_id: replay.replay_id,
            source: replay.source,
            filter: replay.selection,
            state: replay.state,
            rate_per_second: replay.rate_per_second,
            estimate_kind: replay.estimate.map(|_| estimate_kind),
            estimate: replay.estimate,
            scanned: replay.scanned,
            sent: replay.sent,
            skipped: replay.skipped,
            percent: (replay.progress * 1_000.0).floor() / 10.0,
            eta_seconds: replay.eta_seconds,
            error: replay.error,
            created_by: replay.actor_kind,
            created_at: replay.created_at,
            started_at: replay.started_at,
            updated_at: replay.updated_at,
            finished_at: replay.finished_at,
        }
    }
}

/// The destination of the path.
pub(crate) struct Destination {
    pub(crate) document: config::Destination,
}

impl Destination {
    pub(crate) async fn find(call: &mut Call) -> Result<Self, Problem> {
        let row = super::destinations::read(call).await?;
        Ok(Destination {
            document: row.document,
        })
    }

    pub(crate) fn of(&self) -> Of<'_> {
        Of {
            tenant_id: &self.document.tenant_id,
            customer_id: self.document.customer_id,
            destination_id: self.document.destination_id,
        }
    }

    /// A disabled destination's deliveries would only be dead-lettered again. A paused one's are owed until it is resumed.
    fn takes_replays(&self) -> Result<(), Problem> {
        match self.document.state {
            config::State::Disabled => Err(refused(
                "destination-disabled",
                "The destination is disabled",
                "enable it first (`pause` keeps what is replayed until it is resumed), then start the replay".to_owned(),
            )),
            config::State::Active | config::State::Paused => Ok(()),
        }
    }
}

fn refused(kind: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, kind, title).detail(detail)
}

async fn create(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let rate = draft.rate_per_second.unwrap_or(RATE_DEFAULT);
    if !(1..=RATE_MAX).contains(&rate) {
        let message = format!("must be a whole number from 1 to {RATE_MAX}");
        return Err(reply::field("ratePerSecond", message));
    }
    let mut selection = draft.filter.judge(draft.source)?;
    let to = Destination::find(call).await?;
    if draft.start {
        to.takes_replays()?;
    }
    let tx = call.tx()?;
    let open = replays::unfinished(tx, to.of()).await;
    if open.map_err(reply::store)? >= OPEN_MAX {
        let detail = format!("there are {OPEN_MAX} that are not over: cancel some, or wait");
        return Err(refused(
            "too-many-replays",
            "There are too many replays",
            detail,
        ));
    }
    let reads = match draft.source {
        From::DeadLetters => Reads::DeadLetters,
        From::Events => {
            let now = || pushrail_clock::rfc3339(pushrail_clock::now_us()).unwrap_or_default();
            selection.until.get_or_insert_with(now);
            Reads::Events
        }
        From::Delivery => find(call, &to, &mut selection).await?,
    };
    let tx = call.tx()?;
    let estimate = match (draft.source, reads) {
        (From::Events, _) => None,
        (_, Reads::Events) => Some(1),
        (_, Reads::DeadLetters) => {
            let count = letters::count(tx, to.of(), &selection).await;
            Some(count.map_err(reply::store)?)
        }
    };
    let state = match (estimate, draft.start) {
        (None, _) => State::Estimating,
        (Some(_), true) => State::Running,
        (Some(_), false) => State::Estimated,
    };
    let (actor_kind, actor_id) = call.caller.actor();
    let source = serde_json::to_value(draft.source).map_err(|_| reply::internal())?;
    let new = New {
        replay_id: Uuid::now_v7(),
        tenant_id: &to.document.tenant_id,
        customer_id: to.document.customer_id,
        destination_id: to.document.destination_id,
        source: source.as_str().unwrap_or_default(),
        reads,
        selection: &selection,
        state,
        start_at_once: draft.start,
        rate_per_second: rate,
        estimate,
        actor_kind,
        actor_id: &actor_id,
    };
    let made = replays::insert(call.tx()?, &new).await;
    let view = View::of(made.map_err(reply::store)?);
    record(call, &to, "replay.create", None, &view).await?;
    if draft.start {
        record(call, &to, "replay.start", None, &view).await?;
    }
    Reply::created(&view)
}

/// Where one delivery is replayed from: its open dead letter, else its event, which the log knows.
async fn find(
    call: &mut Call,
    to: &Destination,
    selection: &mut Selection,
) -> Result<Reads, Problem> {
    let tx = call.tx()?;
    let dead = letters::count(tx, to.of(), selection).await;
    if dead.map_err(reply::store)? > 0 {
        return Ok(Reads::DeadLetters);
    }
    let delivery_id = selection.delivery_ids.first().copied().unwrap_or_default();
    let known = attempts::of_delivery(tx, to.of(), delivery_id).await;
    let Some((event_id, received_at)) = known.map_err(reply::store)? else {
        return Err(reply::field(
            "filter.deliveryIds",
            "is no delivery to this destination that the log knows",
        ));
    };
    let at: jiff::Timestamp = received_at.parse().map_err(|_| reply::internal())?;
    selection.event_ids = vec![event_id];
    selection.since = Some(at.to_string());
    let end = at.checked_add(jiff::SignedDuration::from_millis(1));
    selection.until = end.ok().map(|end| end.to_string());
    Ok(Reads::Events)
}

async fn record(
    call: &mut Call,
    to: &Destination,
    action: &'static str,
    before: Option<&View>,
    after: &View,
) -> Result<(), Problem> {
    call.audit(Done {
        action,
        target_kind: "replay",
        target_id: &after.replay_id.to_string(),
        chain: &to.document.tenant_id,
        customer_id: Some(to.document.customer_id),
        before: before.and_then(shown),
        after: Some(json!({
            "destinationId": to.document.destination_id,
            "replay": shown(after),
        })),
    })
    .await
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let to = Destination::find(call).await?;
    let page = replays::list(call.tx()?, to.of(), cursor.as_ref(), limit).await;
    Reply::ok(&List::of(page.map_err(reply::store)?, View::of))
}

async fn get(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.id("replayId", "replay")?;
    let to = Destination::find(call).await?;
    let found = replays::get(call.tx()?, to.of(), id).await;
    let found = found.map_err(reply::store)?;
    Reply::ok(&View::of(found.ok_or_else(|| not_found("replay"))?))
}

async fn start(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let from = [State::Estimating, State::Estimated];
    become_(call, "replay.start", &from, State::Running).await
}

async fn pause(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    become_(call, "replay.pause", &[State::Running], State::Paused).await
}

async fn resume(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    become_(call, "replay.resume", &[State::Paused], State::Running).await
}

async fn cancel(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let from = [
        State::Estimating,
        State::Estimated,
        State::Running,
        State::Paused,
    ];
    become_(call, "replay.cancel", &from, State::Cancelled).await
}

async fn become_(
    call: &mut Call,
    action: &'static str,
    from: &[State],
    state: State,
) -> Result<Reply, Problem> {
    let id = call.id("replayId", "replay")?;
    let to = Destination::find(call).await?;
    let before = replays::lock(call.tx()?, to.of(), id).await;
    let before = before.map_err(reply::store)?;
    let before = before.ok_or_else(|| not_found("replay"))?;
    let is_asked_for = before.state == State::Estimating && before.start_at_once;
    // Asked for twice is done once.
    if before.state == state || state == State::Running && is_asked_for {
        return Reply::ok(&View::of(before));
    }
    if !from.contains(&before.state) {
        let detail = format!("it is {}", before.state.as_str());
        return Err(refused(
            "replay-state",
            "The replay can't do that now",
            detail,
        ));
    }
    if state == State::Running {
        to.takes_replays()?;
    }
    let after = match (before.state, state) {
        // It runs when it is known how much it is.
        (State::Estimating, State::Running) => replays::start_at_once(call.tx()?, id).await,
        _ => replays::set_state(call.tx()?, id, state).await,
    };
    let (before, after) = (View::of(before), View::of(after.map_err(reply::store)?));
    record(call, &to, action, Some(&before), &after).await?;
    Reply::ok(&after)
}
