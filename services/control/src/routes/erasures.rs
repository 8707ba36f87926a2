//! Erasures: an event, a subject or a customer is forgotten.

use http::Method;
use pushrail_clock as clock;
use pushrail_http::Problem;
use pushrail_schemas::identity;
use pushrail_store::erasures::{self, Erasure, What};
use pushrail_store::log::Micros;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{List, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::{Caller, Who};
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Erasures";
const WHO: Who = Who::TENANT.or(Who::CUSTOMER);

/// How far the clock that an event was accepted by may be ahead of ours. An event that is named was there already.
const CLOCKS_DIFFER_US: i64 = 60_000_000;

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/erasures", "createErasure", TAG, "Erase an event, a subject or a customer", handler!(create))
            .detail("Of what was accepted until now, payloads, answers and error texts go from the delivery log, and dead letters can be neither looked into nor replayed any more. Where payloads are sealed (`encryption`), the keys are destroyed: what is still on topics can be read by nobody, and what is still owed ends as a dead letter with the reason `erased`. Where they are not, topics keep them until `topics.keptUntil`. Ids, types, times and outcomes stay. What comes later of the same customer or subject is not concerned.")
            .who(WHO)
            .body::<Draft>()
            .accepted::<View>()
            .problems(&[404]),
        Operation::new(Method::GET, "/v1/erasures", "listErasures", TAG, "List erasures", handler!(list))
            .who(WHO)
            .query(PAGED)
            .ok::<List<View>>(),
        Operation::new(Method::GET, "/v1/erasures/{erasureId}", "getErasure", TAG, "Show an erasure", handler!(get))
            .who(WHO)
            .ok::<View>(),
    ]
}

/// What to erase: an event, a customer, or a subject of a customer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ErasureDraft")]
struct Draft {
    /// An event. Alone.
    event_id: Option<Uuid>,
    /// A customer; with `subject`, whose subject.
    #[schemars(length(min = 1, max = 256))]
    customer_external_id: Option<String>,
    /// Whom events are about, as they said it themselves. With `customerExternalId`.
    #[schemars(length(min = 1, max = 256))]
    subject: Option<String>,
}

/// An erasure.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Erasure")]
struct View {
    erasure_id: Uuid,
    /// `event`, `subject` or `customer`.
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<Uuid>,
    /// `running` or `finished`.
    state: &'static str,
    /// It is about what was accepted until then.
    accepted_until: String,
    /// What was removed from the log so far.
    removed: Removed,
    topics: Topics,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
}

/// Of how much in the log the content is gone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ErasureRemoved")]
struct Removed {
    deliveries: i64,
    attempts: i64,
    dead_letters: i64,
}

/// What is on topics.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ErasureTopics")]
struct Topics {
    /// Whether keys were destroyed: what was sealed is unreadable. `null` until that is done.
    shredded: Option<bool>,
    /// Until then topics keep what was never sealed. Absent where all that the log knows of it was sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_until: Option<String>,
}

impl View {
    fn of(row: Erasure) -> Self {
        let (event_id, customer_id) = match row.what {
            What::Event {
                event_id,
                customer_id,
            } => (Some(event_id), customer_id),
            What::Subject { customer_id, .. } | What::Customer(customer_id) => {
                (None, Some(customer_id))
            }
        };
        View {
            erasure_id: row.erasure_id,
            what: row.what.as_str(),
            event_id,
            customer_id,
            state: if row.is_finished {
                "finished"
            } else {
                "running"
            },
            accepted_until: super::log::rfc3339(row.until),
            removed: Removed {
                deliveries: row.removed.deliveries,
                attempts: row.removed.attempts,
                dead_letters: row.removed.dead_letters,
            },
            topics: Topics {
                shredded: row.shredded,
                kept_until: row.kept_until,
            },
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

async fn create(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let (what, until) = judge(api, call, draft).await?;
    let tenant_id = call.tenant_id()?;
    let erasure = erasures::insert(call.tx()?, Uuid::now_v7(), &tenant_id, what, until)
        .await
        .map_err(reply::store)?;
    let customer_id = crate::erase::customer_of(&erasure);
    let id = erasure.erasure_id.to_string();
    let view = View::of(erasure);
    call.audit(Done {
        action: "erasure.create",
        target_kind: "erasure",
        target_id: &id,
        chain: &tenant_id,
        customer_id,
        before: None,
        // Without the subject: the trail is for ever.
        after: shown(&view),
    })
    .await?;
    api.erase.notify_one();
    Reply::accepted(&view)
}

/// What is to be erased, of the caller's own, and until when it was accepted.
async fn judge(api: &Api, call: &mut Call, draft: Draft) -> Result<(What, Micros), Problem> {
    let tenant_id = call.tenant_id()?;
    let now_us = clock::now_us();
    match (draft.event_id, draft.customer_external_id, draft.subject) {
        (Some(event_id), None, None) => {
            let known = erasures::customer_of_event(call.tx()?, &tenant_id, event_id)
                .await
                .map_err(reply::store)?;
            let customer_id = match &call.caller {
                // Nobody else's event may be erased with a guess.
                Caller::Customer { .. } => Some(known.ok_or_else(|| not_found("event"))?),
                // The log may not know it yet, or any more.
                Caller::Tenant { .. } | Caller::Operator => known,
            };
            let what = What::Event {
                event_id,
                customer_id,
            };
            Ok((what, Micros(now_us + CLOCKS_DIFFER_US)))
        }
        (None, Some(external_id), subject) => {
            if let Some(problem) = super::customers::external_id_problem(&external_id) {
                return Err(reply::field("customerExternalId", problem));
            }
            // One that was removed, or never made, may have events all the same.
            let customer_id = identity::customer_id(&tenant_id, &external_id);
            if let Caller::Customer {
                customer_id: own, ..
            } = &call.caller
                && *own != customer_id
            {
                return Err(not_found("customer"));
            }
            let Some(subject) = subject else {
                return Ok((What::Customer(customer_id), Micros(now_us)));
            };
            if !(1..=256).contains(&subject.len()) {
                return Err(reply::field("subject", "must have 1 to 256 bytes"));
            }
            let subject_id = crate::payload_keys::subject_id(
                &api.store,
                &api.ring,
                &tenant_id,
                customer_id,
                &subject,
            );
            let what = What::Subject {
                customer_id,
                subject_id: subject_id.await?,
            };
            Ok((what, Micros(now_us)))
        }
        (None, None, Some(_)) => Err(reply::field(
            "customerExternalId",
            "is required with `subject`: whose subject it is",
        )),
        (None, None, None) => Err(reply::field(
            "eventId",
            "is required, or `customerExternalId`, or that with `subject`",
        )),
        (Some(_), _, _) => Err(reply::field(
            "eventId",
            "must stand alone: an erasure is of an event, of a customer, or of a subject of a customer",
        )),
    }
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let tenant_id = call.tenant_id()?;
    let page = erasures::list(call.tx()?, &tenant_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    Reply::ok(&List::of(page, View::of))
}

async fn get(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.id("erasureId", "erasure")?;
    let tenant_id = call.tenant_id()?;
    let erasure = erasures::get(call.tx()?, &tenant_id, id)
        .await
        .map_err(reply::store)?;
    let erasure = erasure.ok_or_else(|| not_found("erasure"))?;
    Reply::ok(&View::of(erasure))
}
