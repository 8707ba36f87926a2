//! Attempts and deliveries as the API shows them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pushrail_http::Problem;
use pushrail_shred::{Lookup, Owner, form, part};
use pushrail_store::log::search::{self, Attempt, Detail};
use pushrail_store::{Tx, customers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::rfc3339;
use crate::payload_keys::Opener;
use crate::reply;

/// In place of a form, where there is nothing any more.
pub(crate) const ERASED: &str = "erased";

/// An attempt, or the reason why none was made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Attempt")]
pub(crate) struct AttemptView {
    pub(crate) attempt_id: Uuid,
    pub(crate) delivery_id: Uuid,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    /// Absent where the customer is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_external_id: Option<String>,
    /// Absent where no destination was concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// `queued`, `retrying`, `delivered`, `dead`, `suspended`, `skipped` or `duplicate`.
    pub(crate) state: String,
    /// 1 for the first; 0 where none was made.
    pub(crate) attempt: i16,
    /// Of a failure: transient, permanent or suspended. Of what was not tried: why.
    pub(crate) class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_code: Option<i16>,
    pub(crate) latency_ms: f64,
    /// When the event was accepted.
    pub(crate) received_at: String,
    pub(crate) started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_attempt_at: Option<String>,
    /// `live`, `replay` or `test`.
    pub(crate) origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay_id: Option<Uuid>,
    /// What it said of its event has been erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) erased: bool,
}

/// An attempt with the answer to it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AttemptDetail")]
pub(crate) struct DetailView {
    #[serde(flatten)]
    pub(crate) attempt: AttemptView,
    /// Lines of `name: value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_headers: Option<String>,
    /// The start of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_excerpt: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

/// What was sent.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SentPayload")]
pub(crate) struct PayloadView {
    /// `json`, `redacted`, `sealed`, `omitted`, or `erased`.
    pub(crate) form: String,
    /// Of all of it, in bytes.
    pub(crate) bytes: i32,
    /// Only its start is kept.
    pub(crate) cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) json: Option<Box<RawValue>>,
    /// Where it is text and not JSON: sealed, or cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Where it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

impl PayloadView {
    pub(crate) fn of(row: &Detail) -> Option<Self> {
        if row.attempt.erased {
            return Some(PayloadView {
                form: ERASED.to_owned(),
                bytes: 0,
                cut: false,
                json: None,
                text: None,
                base64: None,
            });
        }
        let bytes = row.payload.as_deref()?;
        let mut view = PayloadView {
            form: row.payload_form.clone(),
            bytes: row.payload_len.unwrap_or_default(),
            cut: row.payload_cut,
            json: None,
            text: None,
            base64: None,
        };
        let text = std::str::from_utf8(bytes).ok();
        view.json = text.and_then(|text| serde_json::from_str(text).ok());
        match text {
            _ if view.json.is_some() => {}
            Some(text) => view.text = Some(text.to_owned()),
            None => view.base64 = Some(STANDARD.encode(bytes)),
        }
        Some(view)
    }
}

/// Opens what is sealed of a row, as far as its key is there: what was erased has none.
pub(crate) fn open(row: &mut Detail, opener: &Opener) {
    let Some(sealing) = row.sealing.take() else {
        return;
    };
    let owner = Owner {
        customer_id: row.attempt.customer_id,
        event_id: row.attempt.event_id,
        subject_id: row.subject_id,
    };
    let sealed = (
        row.payload.take(),
        row.response_excerpt.take(),
        row.response_headers.take(),
    );
    match opener.key(&owner, &sealing) {
        Lookup::Key(key) => {
            let open = |name: &str, bytes: Option<Vec<u8>>| key.open(name, &bytes?).ok();
            row.payload = open(part::PAYLOAD, sealed.0);
            row.response_excerpt = open(part::RESPONSE_EXCERPT, sealed.1);
            let headers = sealed.2.and_then(|text| STANDARD.decode(text).ok());
            let headers = open(part::RESPONSE_HEADERS, headers);
            row.response_headers = headers.and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(form) = form::opened(&row.payload_form) {
                form.clone_into(&mut row.payload_form);
            }
            row.payload_len = row.payload.as_ref().map(|payload| payload.len() as i32);
        }
        Lookup::Erased => row.attempt.erased = true,
        Lookup::Unknown => "omitted".clone_into(&mut row.payload_form),
    }
}

/// Whether any of these is sealed.
pub(crate) fn sealed(rows: &[Detail]) -> bool {
    rows.iter().any(|row| row.sealing.is_some())
}

/// Names of customers, by id.
pub(crate) type Names = HashMap<Uuid, String>;

/// The vendor's own ids of the customers of these rows.
pub(crate) async fn names(tx: &mut Tx, ids: impl Iterator<Item = Uuid>) -> Result<Names, Problem> {
    let mut ids: Vec<Uuid> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let names = customers::external_ids(tx, &ids).await;
    Ok(names.map_err(reply::store)?.into_iter().collect())
}

impl AttemptView {
    pub(crate) fn of(row: Attempt, names: &Names) -> Self {
        AttemptView {
            attempt_id: row.attempt_id,
            delivery_id: row.delivery_id,
            event_id: row.event_id,
            event_type: row.event_type,
            customer_external_id: names.get(&row.customer_id).cloned(),
            destination_id: row.destination_id,
            kind: row.kind,
            state: row.outcome,
            attempt: row.attempt,
            class: row.class,
            code: row.code,
            error: row.error,
            status_code: row.status_code,
            latency_ms: f64::from(row.latency_us) / 1e3,
            received_at: rfc3339(row.received_at),
            started_at: rfc3339(row.started_at),
            next_attempt_at: row.next_attempt_at.map(rfc3339),
            origin: row.origin,
            replay_id: row.replay_id,
            erased: row.erased,
        }
    }
}

impl DetailView {
    pub(crate) fn of(row: Detail, names: &Names) -> Self {
        let excerpt = row.response_excerpt.as_deref().map(String::from_utf8_lossy);
        DetailView {
            response_excerpt: excerpt.map(std::borrow::Cow::into_owned),
            response_headers: row.response_headers,
            traceparent: row.traceparent,
            attempt: AttemptView::of(row.attempt, names),
        }
    }
}

/// Where a page begins; what the caller sees of it is opaque.
#[derive(Serialize, Deserialize)]
pub(crate) struct Cursor(i64, i64, Uuid);

impl Cursor {
    pub(crate) fn of(row: &Attempt) -> Self {
        Cursor(row.received_at.0, row.started_at.0, row.attempt_id)
    }

    pub(crate) fn after(&self) -> search::After {
        search::After {
            received_at: pushrail_store::log::Micros(self.0),
            started_at: pushrail_store::log::Micros(self.1),
            attempt_id: self.2,
        }
    }
}
