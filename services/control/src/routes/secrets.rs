//! Replacing a signing secret while events flow.

use pushrail_http::Problem;
use pushrail_store::{destinations::Aside, tenants};
use schemars::JsonSchema;
use serde::Deserialize;

use super::destinations::{Made_, lock, replace};
use crate::api::Api;
use crate::call::Call;
use crate::reply::{self, Reply};

/// How a secret is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old secret signs beside the new one; what the tenant has set when it is not given.
    #[schemars(range(min = 0, max = 2_592_000))]
    overlap_seconds: Option<i32>,
}

pub(crate) async fn rotate(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let rotation: Rotation = match call.body.is_empty() {
        true => Rotation {
            overlap_seconds: None,
        },
        false => call.body()?,
    };
    let before = lock(call).await?;
    let overlap_s = match rotation.overlap_seconds {
        Some(seconds) => match super::tenants::overlap_problem(seconds) {
            Some(message) => return Err(reply::field("overlapSeconds", message)),
            None => seconds,
        },
        None => {
            let tenant = tenants::get(call.tx()?, &before.document.tenant_id).await;
            let tenant = tenant.map_err(reply::store)?;
            tenant.ok_or_else(reply::internal)?.rotation_overlap_seconds
        }
    };
    let adapter = api
        .adapter(&before.document.kind)
        .ok_or_else(reply::internal)?;
    let built = pushrail_admin::rotate_signing_secret(
        &before.document,
        &**adapter,
        &api.context,
        &api.ring,
    );
    let built = built.map_err(reply::admin)?;
    let reason = before.state_reason.clone();
    let aside = Aside {
        state_reason: reason.as_deref(),
        rotation_ends_in: Some(overlap_s),
        keep_rotation: false,
    };
    let action = "destination.secret.rotate";
    let (destination, revision) =
        replace(api, call, action, before, &built.destination, aside).await?;
    let made = Made_ {
        destination,
        signing_secret: built.signing_secret.map(|secret| secret.to_string()),
    };
    Ok(Reply::ok(&made)?.revision(revision))
}

pub(crate) async fn finish(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let before = lock(call).await?;
    let adapter = api
        .adapter(&before.document.kind)
        .ok_or_else(reply::internal)?;
    let built =
        pushrail_admin::finish_rotation(&before.document, &**adapter, &api.context, &api.ring);
    let built = built.map_err(reply::admin)?;
    let reason = before.state_reason.clone();
    let aside = Aside {
        state_reason: reason.as_deref(),
        rotation_ends_in: None,
        keep_rotation: false,
    };
    let action = "destination.secret.finish_rotation";
    let (view, revision) = replace(api, call, action, before, &built.destination, aside).await?;
    Ok(Reply::ok(&view)?.revision(revision))
}
