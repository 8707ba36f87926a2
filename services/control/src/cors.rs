//! Browsers: which origins may call, by tenant.
//!
//! A preflight carries no credential, so it is answered where any tenant has named its origin; the answer to the request
//! itself names the origin only where the caller's own tenant has.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pushrail_store::{Scope, tenants};

use crate::api::Api;
use crate::caller::Caller;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-match, idempotency-key");
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after");
const AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers preflights before anything else sees them.
pub(crate) async fn preflight(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = request
        .headers()
        .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let (Some(origin), true, true) = (origin, asked, request.method() == Method::OPTIONS) else {
        return next.run(request).await;
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if named(&api, None, &origin).await {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, AGE);
    }
    response
}

/// Names the origin in an answer, where the caller's tenant allows it.
pub(crate) async fn answer(
    api: &Api,
    caller: &Caller,
    origin: &HeaderValue,
    headers: &mut HeaderMap,
) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    // The operator's key has no business in a browser.
    let Some(tenant_id) = caller.tenant_id() else {
        return;
    };
    if named(api, Some(tenant_id), origin).await {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

async fn named(api: &Api, tenant_id: Option<&str>, origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let asked = async {
        let mut tx = api.store.begin(Scope::System).await?;
        tenants::names_origin(&mut tx, tenant_id, origin).await
    };
    asked.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "control.origin_not_asked");
        false
    })
}

/// What is wrong with an origin that a tenant names.
pub(crate) fn origin_problem(origin: &str) -> Option<&'static str> {
    let parsed = url::Url::parse(origin).ok();
    let exact = parsed.is_some_and(|url| {
        matches!(url.scheme(), "https" | "http") && url.origin().ascii_serialization() == origin
    });
    (!exact)
        .then_some("must be an origin such as https://app.example.com: scheme, host and port only")
}
