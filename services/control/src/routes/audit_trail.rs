//! Who did what: newest first, exported, and verified.

use futures::future::BoxFuture;
use http::Method;
use pushrail_http::Problem;
use pushrail_store::{Error, Tx, audit};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::List;
use crate::api::Api;
use crate::call::Call;
use crate::caller::{Caller, Who};
use crate::export::{self, Cell, Kind, Line, Pages};
use crate::operation::{LIMIT, LIMIT_MAX, Operation, Query, QueryKind, handler};
use crate::reply::{self, Reply};

const TAG: &str = "Audit trail";
const READERS: Who = Who::OPERATOR.or(Who::TENANT);

const BEFORE: Query = Query {
    name: "cursor",
    about: "Rows before this one: `nextCursor` of the page before.",
    kind: QueryKind::Number(1, u32::MAX),
};
const TENANT: Query = Query {
    name: "tenantId",
    about: "Whose trail, with the operator's key; the operator's own when it is not given.",
    kind: QueryKind::Text,
};
const SINCE: Query = Query {
    name: "since",
    about: "Not older than this.",
    kind: QueryKind::Time,
};
const UNTIL: Query = Query {
    name: "until",
    about: "Older than this.",
    kind: QueryKind::Time,
};
const ACTION: Query = Query {
    name: "action",
    about: "One action, such as destination.create.",
    kind: QueryKind::Text,
};
const CUSTOMER: Query = Query {
    name: "customerExternalId",
    about: "What concerns one customer.",
    kind: QueryKind::Text,
};
/// Rows that an export reads at a time.
const EXPORT_PAGE: u32 = 1_000;

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/v1/audit-trail",
            "listAuditTrail",
            TAG,
            "List what was done, newest first",
            handler!(list),
        )
        .who(READERS)
        .query(&[LIMIT, BEFORE, TENANT, SINCE, UNTIL, ACTION, CUSTOMER])
        .ok::<List<View>>()
        .problems(&[404]),
        Operation::new(
            Method::GET,
            "/v1/audit-trail/export",
            "exportAuditTrail",
            TAG,
            "Export what was done, oldest first",
            handler!(export),
        )
        .detail("Streamed; an answer that ends early is not whole: ask again with `since`.")
        .who(READERS)
        .query(&[export::FORMAT, TENANT, SINCE, UNTIL, ACTION, CUSTOMER])
        .media(export::MEDIA)
        .problems(&[404]),
        Operation::new(
            Method::GET,
            "/v1/audit-trail/verify",
            "verifyAuditTrail",
            TAG,
            "Check that nothing was changed or removed",
            handler!(verify),
        )
        .detail("Reads the whole chain and computes every hash anew.")
        .who(READERS)
        .query(&[TENANT])
        .ok::<Verdict>()
        .problems(&[404]),
    ]
}

/// Something that was done.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuditEntry")]
pub(crate) struct View {
    /// Whose trail it is on; absent on the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    /// Its place in the chain.
    seq: i64,
    at: String,
    actor: Actor,
    action: String,
    target: Target,
    customer_id: Option<Uuid>,
    /// As it was, without secrets.
    #[schemars(with = "Option<Value>")]
    before: Option<Box<RawValue>>,
    /// As it became, without secrets.
    #[schemars(with = "Option<Value>")]
    after: Option<Box<RawValue>>,
    /// The caller's address.
    source: String,
    /// Hash of the row before, in hex.
    previous_hash: String,
    /// SHA-256 over this row and the hash before, in hex.
    hash: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct Actor {
    /// `operator`, `api_key`, `session` or `system`.
    kind: String,
    id: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditTarget")]
struct Target {
    kind: String,
    id: String,
}

/// What reading a chain says.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuditVerdict")]
struct Verdict {
    /// Whether every row is there, as it was written.
    whole: bool,
    /// Rows that were read, where it is whole.
    rows: Option<i64>,
    /// Hash of the newest row: kept elsewhere, it shows later that nothing before it was changed.
    head: Option<String>,
    /// The first row that is not what was written.
    broken_at: Option<i64>,
    problem: Option<String>,
}

impl View {
    pub(crate) fn of(row: audit::Row) -> Self {
        let raw = |text: Option<String>| RawValue::from_string(text?).ok();
        View {
            tenant_id: Some(row.chain).filter(|chain| chain != audit::OPERATOR),
            seq: row.seq,
            at: row.at,
            actor: Actor {
                kind: row.actor_kind,
                id: row.actor_id,
            },
            action: row.action,
            target: Target {
                kind: row.target_kind,
                id: row.target_id,
            },
            customer_id: row.customer_id,
            before: raw(row.before),
            after: raw(row.after),
            source: row.source,
            previous_hash: row.previous_hash,
            hash: row.hash,
        }
    }
}

/// Whose trail the caller asks for.
fn chain(call: &Call) -> Result<String, Problem> {
    match (&call.caller, call.query.get("tenantId")) {
        (Caller::Operator, tenant) => Ok(tenant.cloned().unwrap_or_default()),
        (caller, None) => {
            let own = caller.tenant_id().ok_or_else(reply::internal)?;
            Ok(own.to_owned())
        }
        (caller, Some(tenant)) if caller.tenant_id() == Some(tenant) => Ok(tenant.clone()),
        (_, Some(_)) => Err(reply::not_found("tenant")),
    }
}

/// What the query asks for; owned, so that the transaction can be used meanwhile.
struct Asked {
    chain: String,
    customer_id: Option<Uuid>,
    since: Option<String>,
    until: Option<String>,
    action: Option<String>,
}

impl Asked {
    fn of(call: &Call) -> Result<Self, Problem> {
        let chain = chain(call)?;
        let customer = call.query.get("customerExternalId");
        Ok(Asked {
            customer_id: customer.map(|id| pushrail_schemas::identity::customer_id(&chain, id)),
            chain,
            since: call.query.get("since").cloned(),
            until: call.query.get("until").cloned(),
            action: call.query.get("action").cloned(),
        })
    }

    fn wanted(&self) -> audit::Wanted<'_> {
        audit::Wanted {
            customer_id: self.customer_id,
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            action: self.action.as_deref(),
            ..Default::default()
        }
    }
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (asked, limit) = (Asked::of(call)?, call.limit());
    let before = call.query.get("cursor").and_then(|text| text.parse().ok());
    let wanted = audit::Wanted {
        before,
        ..asked.wanted()
    };
    let rows = audit::newest(call.tx()?, &asked.chain, &wanted, limit + 1)
        .await
        .map_err(reply::store)?;
    let more = rows.len() > limit.min(LIMIT_MAX) as usize;
    let mut items: Vec<_> = rows.into_iter().map(View::of).collect();
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|row| row.seq.to_string());
    Reply::ok(&List { items, next_cursor })
}

async fn export(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let entries = Entries {
        asked: Asked::of(call)?,
        after: 0,
    };
    export::export(api, call, entries)
}

/// Entries of a chain, oldest first.
struct Entries {
    asked: Asked,
    after: i64,
}

impl Pages for Entries {
    type Line = View;

    fn next<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<Vec<View>, Error>> {
        Box::pin(async move {
            let wanted = audit::Wanted {
                after: Some(self.after),
                ..self.asked.wanted()
            };
            let rows = audit::rows(tx, &self.asked.chain, &wanted, EXPORT_PAGE).await?;
            self.after = rows.last().map_or(self.after, |row| row.seq);
            Ok(rows.into_iter().map(View::of).collect())
        })
    }
}

impl Line for View {
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("seq", Kind::Number),
        ("at", Kind::Time),
        ("actor_kind", Kind::Text),
        ("actor_id", Kind::Text),
        ("action", Kind::Text),
        ("target_kind", Kind::Text),
        ("target_id", Kind::Text),
        ("customer_id", Kind::Text),
        ("before", Kind::Text),
        ("after", Kind::Text),
        ("source", Kind::Text),
        ("previous_hash", Kind::Text),
        ("hash", Kind::Text),
    ];

    fn cells(self) -> Vec<Cell> {
        let at = self.at.parse::<jiff::Timestamp>().ok();
        let json = |json: Option<Box<RawValue>>| json.map(|json| json.get().to_owned());
        vec![
            Cell::Number(self.seq),
            at.map_or(Cell::Nothing, |at| Cell::Time(at.as_microsecond())),
            self.actor.kind.into(),
            self.actor.id.into(),
            self.action.into(),
            self.target.kind.into(),
            self.target.id.into(),
            self.customer_id.into(),
            json(self.before).into(),
            json(self.after).into(),
            self.source.into(),
            self.previous_hash.into(),
            self.hash.into(),
        ]
    }
}

async fn verify(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let chain = chain(call)?;
    let verdict = audit::verify(call.tx()?, &chain)
        .await
        .map_err(reply::store)?;
    Reply::ok(&match verdict {
        audit::Verdict::Whole { rows, head } => Verdict {
            whole: true,
            rows: Some(rows),
            head: Some(head),
            broken_at: None,
            problem: None,
        },
        audit::Verdict::Broken { seq, problem } => Verdict {
            whole: false,
            rows: None,
            head: None,
            broken_at: Some(seq),
            problem: Some(problem.to_owned()),
        },
    })
}
