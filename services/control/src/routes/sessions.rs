//! Portal sessions: a token for one customer.

use http::Method;
use pushrail_http::Problem;
use pushrail_store::sessions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::Api;
use crate::call::{Call, Done};
use crate::operation::{Operation, handler};
use crate::reply::{self, Reply, internal, not_found};

const TAG: &str = "Sessions";
const TTL_DEFAULT_S: i32 = 15 * 60;
const TTL_MAX_S: i32 = 24 * 3_600;

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/sessions", "createSession", TAG, "Open a session for one customer", handler!(create))
            .detail("The token is for the browser of that customer: it reaches what is that customer's, and nothing else.")
            .body::<Draft>()
            .created::<Made>(),
        Operation::new(Method::DELETE, "/v1/sessions/{sessionId}", "revokeSession", TAG, "Revoke a session", handler!(revoke))
            .detail("Its token counts no longer from the next request on.")
            .nothing(),
    ]
}

/// A session to be opened.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SessionDraft")]
struct Draft {
    /// The vendor's own id of its customer, who is made when it is not there.
    #[schemars(length(min = 1, max = 256))]
    customer_external_id: String,
    /// How long it lasts; 15 minutes when it is not given.
    #[schemars(range(min = 1, max = 86_400))]
    ttl_seconds: Option<i32>,
}

/// A session that has just been opened.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SessionMade")]
struct Made {
    session_id: Uuid,
    /// For `Authorization: Bearer …`, shown only now.
    token: String,
    expires_at: String,
}

async fn create(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let ttl_s = draft.ttl_seconds.unwrap_or(TTL_DEFAULT_S);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        let message = format!("must be from 1 to {TTL_MAX_S}");
        return Err(reply::field("ttlSeconds", message));
    }
    let id = &draft.customer_external_id;
    let customer = super::customers::ensure(call, "customerExternalId", id, "").await?;
    let (tenant_id, customer_id) = (customer.tenant_id, customer.customer_id);
    let session = sessions::insert(call.tx()?, Uuid::now_v7(), &tenant_id, customer_id, ttl_s)
        .await
        .map_err(reply::store)?;
    let issued_at_s = session.expires_at_s - i64::from(ttl_s);
    let token = api
        .tokens
        .issue(
            session.session_id,
            customer_id,
            issued_at_s,
            session.expires_at_s,
        )
        .ok_or_else(internal)?;
    call.audit(Done {
        action: "session.create",
        target_kind: "session",
        target_id: &session.session_id.to_string(),
        chain: &tenant_id,
        customer_id: Some(customer_id),
        before: None,
        after: Some(serde_json::json!({
            "customerExternalId": customer.external_id, "expiresAt": session.expires_at,
        })),
    })
    .await?;
    let made = Made {
        session_id: session.session_id,
        token,
        expires_at: session.expires_at,
    };
    Reply::created(&made)
}

async fn revoke(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.id("sessionId", "session")?;
    let session = sessions::revoke(call.tx()?, id)
        .await
        .map_err(reply::store)?;
    let session = session.ok_or_else(|| not_found("session"))?;
    call.audit(Done {
        action: "session.revoke",
        target_kind: "session",
        target_id: &id.to_string(),
        chain: &session.tenant_id,
        customer_id: Some(session.customer_id),
        before: None,
        after: None,
    })
    .await?;
    Reply::nothing()
}
