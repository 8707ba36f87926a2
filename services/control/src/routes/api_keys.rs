//! API keys of a tenant.

use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::config;
use pushrail_store::{api_keys, tenants};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{List, name_problem, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Who;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "API keys";

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/v1/api-keys",
            "createApiKey",
            TAG,
            "Make an API key",
            handler!(create),
        )
        .detail("The key is in this answer and never again.")
        .body::<Draft>()
        .created::<Made>(),
        Operation::new(
            Method::GET,
            "/v1/api-keys",
            "listApiKeys",
            TAG,
            "List API keys",
            handler!(list),
        )
        .detail("Revoked ones too. None is shown itself.")
        .query(PAGED)
        .ok::<List<View>>(),
        Operation::new(
            Method::DELETE,
            "/v1/api-keys/{keyId}",
            "revokeApiKey",
            TAG,
            "Revoke an API key",
            handler!(revoke),
        )
        .detail("It counts no longer from the next request on; at ingest within a second.")
        .nothing(),
        Operation::new(
            Method::POST,
            "/v1/tenants/{tenantId}/api-keys",
            "createTenantApiKey",
            TAG,
            "Make an API key for a tenant",
            handler!(create_for),
        )
        .detail("For a tenant that has lost its own. The key is in this answer and never again.")
        .who(Who::OPERATOR)
        .body::<Draft>()
        .created::<Made>(),
        Operation::new(
            Method::GET,
            "/v1/tenants/{tenantId}/api-keys",
            "listTenantApiKeys",
            TAG,
            "List a tenant's API keys",
            handler!(list_for),
        )
        .who(Who::OPERATOR)
        .query(PAGED)
        .ok::<List<View>>(),
        Operation::new(
            Method::DELETE,
            "/v1/tenants/{tenantId}/api-keys/{keyId}",
            "revokeTenantApiKey",
            TAG,
            "Revoke a tenant's API key",
            handler!(revoke_for),
        )
        .who(Who::OPERATOR)
        .nothing(),
    ]
}

/// An API key to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ApiKeyDraft")]
struct Draft {
    /// For people: what the key is for.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: String,
}

/// An API key, without the key itself.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
pub(crate) struct View {
    pub(crate) key_id: String,
    name: String,
    /// What the key begins with.
    prefix: String,
    created_at: String,
    /// Some seconds late.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

/// An API key that has just been made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKeyMade")]
struct Made {
    #[serde(flatten)]
    view: View,
    /// The key, shown only now.
    key: String,
}

impl View {
    fn of(row: api_keys::ApiKey) -> Self {
        View {
            prefix: format!("psh_{}_", row.key_id),
            key_id: row.key_id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Makes a key for a tenant, and tells everyone.
pub(crate) async fn make(
    call: &mut Call,
    tenant_id: &str,
    name: &str,
) -> Result<(Zeroizing<String>, View), Problem> {
    if let Some(message) = name_problem(name) {
        return Err(reply::field("name", message));
    }
    let made = pushrail_admin::api_key(tenant_id).map_err(reply::admin)?;
    let row = api_keys::insert(call.tx()?, &made.record, name)
        .await
        .map_err(reply::store)?;
    let view = View::of(row);
    call.configure(&config::key::api_key(&view.key_id), Some(&made.record))
        .await?;
    call.audit(Done {
        action: "api_key.create",
        target_kind: "api_key",
        target_id: &view.key_id,
        chain: tenant_id,
        customer_id: None,
        before: None,
        after: shown(&view),
    })
    .await?;
    Ok((made.key, view))
}

async fn named(call: &mut Call) -> Result<String, Problem> {
    let id = call.parameter("tenantId")?.to_owned();
    match tenants::get(call.tx()?, &id).await.map_err(reply::store)? {
        Some(_) => Ok(id),
        None => Err(not_found("tenant")),
    }
}

async fn create(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = call.tenant_id()?;
    create_in(call, &tenant_id).await
}

async fn create_for(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = named(call).await?;
    create_in(call, &tenant_id).await
}

async fn create_in(call: &mut Call, tenant_id: &str) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let (key, view) = make(call, tenant_id, &draft.name).await?;
    let made = Made {
        view,
        key: key.to_string(),
    };
    Reply::created(&made)
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = call.tenant_id()?;
    list_in(call, &tenant_id).await
}

async fn list_for(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = named(call).await?;
    list_in(call, &tenant_id).await
}

async fn list_in(call: &mut Call, tenant_id: &str) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let page = api_keys::list(call.tx()?, tenant_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    Reply::ok(&List::of(page, View::of))
}

async fn revoke(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = call.tenant_id()?;
    revoke_in(call, &tenant_id).await
}

async fn revoke_for(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let tenant_id = named(call).await?;
    revoke_in(call, &tenant_id).await
}

async fn revoke_in(call: &mut Call, tenant_id: &str) -> Result<Reply, Problem> {
    let key_id = call.parameter("keyId")?.to_owned();
    let before = api_keys::get(call.tx()?, &key_id)
        .await
        .map_err(reply::store)?;
    let before = before.filter(|key| key.tenant_id == tenant_id);
    let before = before.ok_or_else(|| not_found("API key"))?;
    // Revoking once more changes nothing.
    let Some(after) = api_keys::revoke(call.tx()?, &key_id)
        .await
        .map_err(reply::store)?
    else {
        return Reply::nothing();
    };
    call.configure(&config::key::api_key(&key_id), None::<&()>)
        .await?;
    call.audit(Done {
        action: "api_key.revoke",
        target_kind: "api_key",
        target_id: &key_id,
        chain: tenant_id,
        customer_id: None,
        before: shown(&View::of(before)),
        after: shown(&View::of(after)),
    })
    .await?;
    Reply::nothing()
}
