//! Deliveries and attempts: searched, counted, and one delivery from end to end.

use http::Method;
use pushrail_http::Problem;
use pushrail_store::destinations;
use pushrail_store::log::search;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::view::{self, AttemptView, Cursor, DetailView, PayloadView, names};
use super::{FILTERS, READERS, TAG, wanted};
use crate::api::Api;
use crate::call::Call;
use crate::operation::{CURSOR, LIMIT, Operation, Query, handler};
use crate::payload_keys::Opener;
use crate::reply::{self, Reply, not_found};
use crate::routes::List;

const SEARCH: &[Query] = &{
    let mut all = [LIMIT; FILTERS.len() + 2];
    let mut at = 0;
    while at < FILTERS.len() {
        all[at] = FILTERS[at];
        at += 1;
    }
    all[at] = CURSOR;
    all
};
const COUNT: &[Query] = &FILTERS;

pub(crate) fn operations() -> Vec<Operation> {
    let get = |path, id, summary, handler| {
        Operation::new(Method::GET, path, id, TAG, summary, handler).who(READERS)
    };
    vec![
        get(
            "/v1/deliveries",
            "listDeliveries",
            "Search deliveries, newest events first",
            handler!(list_deliveries),
        )
        .detail("A delivery is one event on its way to one destination; it is shown as its newest attempt stands. Also what no destination wanted is here, once for each event.")
        .query(SEARCH)
        .ok::<List<AttemptView>>(),
        get(
            "/v1/deliveries/counts",
            "countDeliveries",
            "Count deliveries by state",
            handler!(count_deliveries),
        )
        .detail("Takes what a search takes. Each state is counted up to 10,000.")
        .query(COUNT)
        .ok::<Counts>(),
        get(
            "/v1/deliveries/{deliveryId}",
            "getDelivery",
            "Show a delivery: every attempt, and what was sent",
            handler!(get_delivery),
        )
        .ok::<Delivery>(),
        get(
            "/v1/attempts",
            "listAttempts",
            "Search attempts, newest events first",
            handler!(list_attempts),
        )
        .detail("As the search of deliveries, but with every attempt.")
        .query(SEARCH)
        .ok::<List<AttemptView>>(),
    ]
}

/// Deliveries by state.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryCounts")]
struct Counts {
    items: Vec<Count>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryCount")]
struct Count {
    state: &'static str,
    count: i64,
    /// There are that many or more.
    at_least: bool,
}

/// A delivery from end to end.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Delivery")]
struct Delivery {
    delivery_id: Uuid,
    event_id: Uuid,
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_id: Option<Uuid>,
    state: String,
    /// Attempts made since the event, or its newest replay, came.
    attempt: i16,
    /// How many there are at most; absent where the destination is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<u32>,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// What was sent; absent where nothing was, or none of it may be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadView>,
    /// Oldest first.
    attempts: Vec<DetailView>,
}

async fn list_deliveries(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    list(call, true).await
}

async fn list_attempts(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    list(call, false).await
}

async fn list(call: &mut Call, latest: bool) -> Result<Reply, Problem> {
    let (wanted, limit) = (wanted(call, latest)?, call.limit());
    let after = call.decoded_cursor::<Cursor>()?;
    let after = after.map(|cursor| cursor.after());
    let tx = call.tx()?;
    let mut rows = search::list(tx, &wanted, after, limit + 1)
        .await
        .map_err(reply::store)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(Cursor::of);
    let names = names(tx, rows.iter().map(|row| row.customer_id)).await?;
    Reply::ok(&List {
        items: rows
            .into_iter()
            .map(|row| AttemptView::of(row, &names))
            .collect(),
        next_cursor: crate::call::encoded_cursor(next.as_ref()),
    })
}

async fn count_deliveries(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let wanted = wanted(call, true)?;
    let counts = search::counts(call.tx()?, &wanted)
        .await
        .map_err(reply::store)?;
    let items = counts.into_iter().map(|(outcome, count)| Count {
        state: outcome.as_str(),
        count,
        at_least: count >= search::COUNTED_MAX,
    });
    Reply::ok(&Counts {
        items: items.collect(),
    })
}

async fn get_delivery(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.id("deliveryId", "delivery")?;
    let tenant_id = call.tenant_id()?;
    let mut rows = search::timeline(call.tx()?, &tenant_id, id)
        .await
        .map_err(reply::store)?;
    if view::sealed(&rows) {
        let opener = Opener::of(&api.store, &api.ring, &tenant_id).await?;
        rows.iter_mut().for_each(|row| view::open(row, &opener));
    }
    let newest = rows.iter().rfind(|row| row.attempt.latest);
    let Some(newest) = newest.or(rows.last()).map(|row| row.attempt.clone()) else {
        return Err(not_found("delivery"));
    };
    let policy = match newest.destination_id {
        Some(destination) => {
            destinations::get(call.tx()?, &tenant_id, newest.customer_id, destination)
                .await
                .map_err(reply::store)?
        }
        None => None,
    };
    let names = names(call.tx()?, [newest.customer_id].into_iter()).await?;
    // A replay may have sent something else: what is shown is what was sent last.
    let payload = rows.iter().rev().find_map(PayloadView::of);
    let shown = AttemptView::of(newest, &names);
    Reply::ok(&Delivery {
        delivery_id: id,
        event_id: shown.event_id,
        event_type: shown.event_type,
        customer_external_id: shown.customer_external_id,
        destination_id: shown.destination_id,
        state: shown.state,
        attempt: shown.attempt,
        attempts_max: policy.map(|row| row.document.retry.max_attempts),
        received_at: shown.received_at,
        next_attempt_at: shown.next_attempt_at,
        payload,
        attempts: rows
            .into_iter()
            .map(|row| DetailView::of(row, &names))
            .collect(),
    })
}
