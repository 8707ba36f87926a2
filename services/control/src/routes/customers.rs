//! A tenant's customers.

use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::config;
use pushrail_store::{customers, destinations, sessions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tenants::matches;
use super::{List, given, name_problem, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Caller;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Customers";
const EXTERNAL_ID_LEN_MAX: usize = 256;

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/customers", "createCustomer", TAG, "Make a customer", handler!(create))
            .detail("Not needed before anything else: a customer is made when it is first named. One that is there is shown as it is.")
            .body::<Draft>()
            .created::<View>()
            .revision(),
        Operation::new(Method::GET, "/v1/customers", "listCustomers", TAG, "List customers", handler!(list))
            .query(PAGED)
            .ok::<List<View>>(),
        Operation::new(Method::GET, "/v1/customers/{externalId}", "getCustomer", TAG, "Show a customer", handler!(get))
            .ok::<View>()
            .revision(),
        Operation::new(Method::PATCH, "/v1/customers/{externalId}", "updateCustomer", TAG, "Change a customer", handler!(update))
            .detail("A `payloadMode` counts at once for each of its destinations that has none of its own.")
            .body::<Patch>()
            .ok::<View>()
            .revision()
            .conditional(),
        Operation::new(Method::DELETE, "/v1/customers/{externalId}", "deleteCustomer", TAG, "Remove a customer with its destinations and sessions", handler!(remove))
            .detail("What is owed to its destinations is dead-lettered.")
            .nothing()
            .conditional(),
        Operation::new(Method::DELETE, "/v1/customers/{externalId}/sessions", "revokeCustomerSessions", TAG, "Revoke all sessions of a customer", handler!(revoke_sessions))
            .detail("None counts from the next request on.")
            .nothing(),
    ]
}

/// A customer to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "CustomerDraft")]
struct Draft {
    /// The vendor's own id of its customer.
    #[schemars(length(min = 1, max = 256))]
    external_id: String,
    /// For people.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: String,
}

/// What can be changed of a customer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "CustomerPatch")]
struct Patch {
    #[schemars(length(max = 200))]
    name: Option<String>,
    /// For its destinations that have none of their own; `null` takes it away, and they show payloads in full.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<config::PayloadMode>")]
    payload_mode: Option<Option<config::PayloadMode>>,
    /// Whether payloads of its events are sealed when they come in; `null` takes that back, and it is as the tenant says.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<config::Encryption>")]
    encryption: Option<Option<config::Encryption>>,
}

/// A customer.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Customer")]
struct View {
    customer_id: Uuid,
    external_id: String,
    name: String,
    /// What the audit shows of payloads, where a destination does not say so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_mode: Option<config::PayloadMode>,
    /// Whether payloads of its events are sealed when they come in; absent where it is as the tenant says.
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<config::Encryption>,
    created_at: String,
    updated_at: String,
}

impl View {
    fn of(row: customers::Customer) -> Self {
        View {
            customer_id: row.customer_id,
            external_id: row.external_id,
            name: row.name,
            payload_mode: row.payload_mode,
            encryption: row.encryption.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What is wrong with a vendor's id of its customer; the same rule that ingest has.
pub(crate) fn external_id_problem(id: &str) -> Option<String> {
    // No path can name the last two: every client takes them for steps.
    let good = (1..=EXTERNAL_ID_LEN_MAX).contains(&id.len())
        && !id.chars().any(char::is_control)
        && !matches!(id, "." | "..");
    (!good).then(|| {
        format!(
            "must have 1 to {EXTERNAL_ID_LEN_MAX} bytes, no control characters, and not be . or .."
        )
    })
}

/// The customer that is named, made if need be.
pub(crate) async fn ensure(
    call: &mut Call,
    field: &str,
    external_id: &str,
    name: &str,
) -> Result<customers::Customer, Problem> {
    if let Some(message) = external_id_problem(external_id) {
        return Err(reply::field(field, message));
    }
    let tenant_id = call.tenant_id()?;
    let (customer, made) = customers::ensure(call.tx()?, &tenant_id, external_id, name)
        .await
        .map_err(reply::store)?;
    if made {
        call.audit(Done {
            action: "customer.create",
            target_kind: "customer",
            target_id: &customer.external_id,
            chain: &tenant_id,
            customer_id: Some(customer.customer_id),
            before: None,
            after: shown(&View::of(customer.clone())),
        })
        .await?;
    }
    Ok(customer)
}

/// The customer of the path, or of the session.
pub(crate) async fn of(call: &mut Call) -> Result<customers::Customer, Problem> {
    let found = match call.caller.clone() {
        Caller::Operator => None,
        Caller::Tenant { tenant_id, .. } => {
            let external_id = call.parameter("externalId")?.to_owned();
            customers::get(call.tx()?, &tenant_id, &external_id)
                .await
                .map_err(reply::store)?
        }
        Caller::Customer {
            tenant_id,
            customer_id,
            ..
        } => customers::by_id(call.tx()?, &tenant_id, customer_id)
            .await
            .map_err(reply::store)?,
    };
    found.ok_or_else(|| not_found("customer"))
}

async fn create(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    if let Some(message) = name_problem(&draft.name) {
        return Err(reply::field("name", message));
    }
    let customer = ensure(call, "externalId", &draft.external_id, &draft.name).await?;
    let revision = customer.revision;
    Ok(Reply::created(&View::of(customer))?.revision(revision))
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let tenant_id = call.tenant_id()?;
    let page = customers::list(call.tx()?, &tenant_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    Reply::ok(&List::of(page, View::of))
}

async fn get(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let customer = of(call).await?;
    let revision = customer.revision;
    Ok(Reply::ok(&View::of(customer))?.revision(revision))
}

async fn update(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let patch: Patch = call.body()?;
    if let Some(message) = patch.name.as_deref().and_then(name_problem) {
        return Err(reply::field("name", message));
    }
    if let Some(Some(mode)) = &patch.payload_mode {
        pushrail_admin::check_payload_mode(mode).map_err(reply::admin)?;
    }
    let before = of(call).await?;
    matches(call.if_match, before.revision)?;
    let (tenant_id, customer_id) = (before.tenant_id.clone(), before.customer_id);
    let name = patch.name.unwrap_or_else(|| before.name.clone());
    let old = before.payload_mode.clone();
    let new = patch.payload_mode.unwrap_or_else(|| old.clone());
    let (mode, seen) = (new.as_ref(), Some(before.revision));
    let was_sealed = before.encryption.0;
    let sealed = patch.encryption.unwrap_or(was_sealed);
    let after = customers::update(
        call.tx()?,
        &tenant_id,
        customer_id,
        &name,
        mode,
        sealed,
        seen,
    );
    let after = after.await.map_err(reply::store)?;
    // Somebody was quicker.
    let after = after.ok_or_else(|| reply::store(pushrail_store::Error::Serialization))?;
    let revision = after.revision;
    let external_id = after.external_id.clone();
    let (before, after) = (View::of(before), View::of(after));
    call.audit(Done {
        action: "customer.update",
        target_kind: "customer",
        target_id: &external_id,
        chain: &tenant_id,
        customer_id: Some(customer_id),
        before: shown(&before),
        after: shown(&after),
    })
    .await?;
    if sealed != was_sealed {
        seal(api, call, &tenant_id, customer_id, sealed).await?;
    }
    if new != old {
        pass_on(api, call, &tenant_id, customer_id, new).await?;
    }
    Ok(Reply::ok(&after)?.revision(revision))
}

/// Tells ingest whether to seal a customer's events, and what it needs for that.
async fn seal(
    api: &Api,
    call: &mut Call,
    tenant_id: &str,
    customer_id: Uuid,
    encryption: Option<config::Encryption>,
) -> Result<(), Problem> {
    super::tenants::seal(api, call, tenant_id, encryption.unwrap_or_default()).await?;
    let told = encryption.map(|encryption| config::Customer {
        tenant_id: tenant_id.into(),
        customer_id,
        encryption,
    });
    let key = config::key::customer(tenant_id, customer_id);
    call.configure(&key, told.as_ref()).await
}

/// Gives a payload mode to the destinations that have none of their own, each with its entry on the audit trail.
async fn pass_on(
    api: &Api,
    call: &mut Call,
    tenant_id: &str,
    customer_id: Uuid,
    mode: Option<config::PayloadMode>,
) -> Result<(), Problem> {
    let heirs = destinations::lock_inheriting(call.tx()?, tenant_id, customer_id).await;
    for before in heirs.map_err(reply::store)? {
        let (mut document, reason) = (before.document.clone(), before.state_reason.clone());
        document.inherit_payload_mode(mode.clone());
        let aside = destinations::Aside {
            state_reason: reason.as_deref(),
            keep_rotation: true,
            ..Default::default()
        };
        super::destinations::replace(api, call, "destination.update", before, &document, aside)
            .await?;
    }
    Ok(())
}

async fn remove(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let customer = of(call).await?;
    matches(call.if_match, customer.revision)?;
    let (tenant_id, customer_id) = (customer.tenant_id.clone(), customer.customer_id);
    let ids = destinations::ids(call.tx()?, &tenant_id, Some(customer_id))
        .await
        .map_err(reply::store)?;
    for id in ids {
        let key = config::key::destination(id);
        call.configure(&key, None::<&()>).await?;
    }
    if customer.encryption.0.is_some() {
        let key = config::key::customer(&tenant_id, customer_id);
        call.configure(&key, None::<&()>).await?;
    }
    customers::delete(call.tx()?, &tenant_id, customer_id)
        .await
        .map_err(reply::store)?;
    let external_id = customer.external_id.clone();
    call.audit(Done {
        action: "customer.delete",
        target_kind: "customer",
        target_id: &external_id,
        chain: &tenant_id,
        customer_id: Some(customer_id),
        before: shown(&View::of(customer)),
        after: None,
    })
    .await?;
    Reply::nothing()
}

async fn revoke_sessions(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let customer = of(call).await?;
    let ended = sessions::revoke_all(call.tx()?, &customer.tenant_id, customer.customer_id)
        .await
        .map_err(reply::store)?;
    call.audit(Done {
        action: "session.revoke_all",
        target_kind: "customer",
        target_id: &customer.external_id,
        chain: &customer.tenant_id,
        customer_id: Some(customer.customer_id),
        before: None,
        after: Some(serde_json::json!({"revoked": ended})),
    })
    .await?;
    Reply::nothing()
}
