//! Attempts of a window, with all that is known of them.

use futures::future::BoxFuture;
use http::Method;
use pushrail_http::Problem;
use pushrail_store::log::search::{self, After, Detail, Wanted};
use pushrail_store::{Error, Tx, customers};
use serde::Serialize;
use uuid::Uuid;

use super::view::{AttemptView, DetailView, Names, PayloadView, open};
use super::{FILTERS, READERS, TAG, wanted};
use crate::api::Api;
use crate::call::Call;
use crate::export::{self, Cell, Kind, Line, Pages};
use crate::operation::{Operation, Query, handler};
use crate::payload_keys::Opener;
use crate::reply::Reply;

/// Rows that are read at a time: each may have a payload of 256 KiB.
const PAGE: u32 = 200;

const EXPORT: &[Query] = &{
    let mut all = [export::FORMAT; FILTERS.len() + 1];
    let mut at = 0;
    while at < FILTERS.len() {
        all[at + 1] = FILTERS[at];
        at += 1;
    }
    all
};

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/v1/attempts/export",
            "exportAttempts",
            TAG,
            "Export attempts, oldest events first",
            handler!(run),
        )
        .detail("All that a search would find, with payloads and answers, streamed. An answer that ends early is not whole: ask again with `since`.")
        .who(READERS)
        .query(EXPORT)
        .media(export::MEDIA),
    ]
}

async fn run(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let wanted = wanted(call, false)?;
    let opener = Opener::of(&api.store, &api.ring, &wanted.tenant_id).await?;
    let attempts = Attempts {
        wanted,
        opener,
        after: None,
        names: Names::new(),
    };
    export::export(api, call, attempts)
}

struct Attempts {
    wanted: Wanted,
    opener: Opener,
    after: Option<After>,
    names: Names,
}

impl Pages for Attempts {
    type Line = Exported;

    fn next<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<Vec<Exported>, Error>> {
        Box::pin(async move {
            let mut rows = search::details(tx, &self.wanted, self.after, PAGE).await?;
            rows.iter_mut().for_each(|row| open(row, &self.opener));
            self.after = rows.last().map(|row| After {
                received_at: row.attempt.received_at,
                started_at: row.attempt.started_at,
                attempt_id: row.attempt.attempt_id,
            });
            let unknown = rows.iter().map(|row| row.attempt.customer_id);
            let mut unknown: Vec<Uuid> =
                unknown.filter(|id| !self.names.contains_key(id)).collect();
            unknown.dedup();
            if !unknown.is_empty() {
                let found = customers::external_ids(tx, &unknown).await?;
                self.names.extend(found);
            }
            let exported = |row| Exported::of(row, &self.names);
            Ok(rows.into_iter().map(exported).collect())
        })
    }
}

/// A line of the export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exported {
    #[serde(flatten)]
    detail: DetailView,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadView>,
    /// Accepted, started, next; in microseconds.
    #[serde(skip)]
    times: [Option<i64>; 3],
    #[serde(skip)]
    latency_us: i32,
}

impl Exported {
    fn of(row: Detail, names: &Names) -> Self {
        let attempt = &row.attempt;
        Exported {
            payload: PayloadView::of(&row),
            times: [
                Some(attempt.received_at.0),
                Some(attempt.started_at.0),
                attempt.next_attempt_at.map(|at| at.0),
            ],
            latency_us: attempt.latency_us,
            detail: DetailView::of(row, names),
        }
    }
}

impl Line for Exported {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("received_at", Kind::Time),
        ("started_at", Kind::Time),
        ("next_attempt_at", Kind::Time),
        ("event_id", Kind::Text),
        ("event_type", Kind::Text),
        ("customer_external_id", Kind::Text),
        ("destination_id", Kind::Text),
        ("kind", Kind::Text),
        ("delivery_id", Kind::Text),
        ("attempt_id", Kind::Text),
        ("attempt", Kind::Number),
        ("state", Kind::Text),
        ("class", Kind::Text),
        ("code", Kind::Text),
        ("status_code", Kind::Number),
        ("latency_us", Kind::Number),
        ("error", Kind::Text),
        ("origin", Kind::Text),
        ("replay_id", Kind::Text),
        ("response_headers", Kind::Text),
        ("response_excerpt", Kind::Text),
        ("payload_form", Kind::Text),
        ("payload", Kind::Text),
        ("traceparent", Kind::Text),
    ];

    fn cells(self) -> Vec<Cell> {
        let DetailView {
            attempt,
            response_headers,
            response_excerpt,
            traceparent,
        } = self.detail;
        let AttemptView {
            attempt_id,
            delivery_id,
            event_id,
            event_type,
            customer_external_id,
            destination_id,
            kind,
            state,
            attempt: number,
            class,
            code,
            error,
            status_code,
            origin,
            replay_id,
            ..
        } = attempt;
        let [received_at, started_at, next_attempt_at] =
            self.times.map(|at| at.map_or(Cell::Nothing, Cell::Time));
        let form = self.payload.as_ref().map(|payload| payload.form.clone());
        let payload = self.payload.and_then(|payload| {
            let json = payload.json.map(|json| json.get().to_owned());
            json.or(payload.text).or(payload.base64)
        });
        vec![
            received_at,
            started_at,
            next_attempt_at,
            event_id.into(),
            event_type.into(),
            customer_external_id.into(),
            destination_id.into(),
            kind.into(),
            delivery_id.into(),
            attempt_id.into(),
            Cell::number(number),
            state.into(),
            class.into(),
            code.into(),
            status_code.map_or(Cell::Nothing, Cell::number),
            Cell::number(self.latency_us),
            error.into(),
            origin.into(),
            replay_id.into(),
            response_headers.into(),
            response_excerpt.into(),
            form.into(),
            payload.into(),
            traceparent.into(),
        ]
    }
}
