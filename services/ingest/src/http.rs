//! The HTTP edge: `POST /v1/events`, `POST /v1/events/batch`; the rest of the API where it is known ([`forward`]).
//!
//! | answer | when |
//! | --- | --- |
//! | `202` | every event of the request is on `events`, acknowledged by all in-sync replicas |
//! | `207` | a batch of which some were accepted: `results` says which, and what is wrong with the others |
//! | `422` | nothing was accepted, and `errors` (or a batch's `results`) names each field |
//! | `400`, `401`, `404`, `405`, `408`, `413`, `415`, `431` | nothing was accepted; the problem names the limit or the fix |
//! | `429` | too much is under way; nothing was accepted; `Retry-After` says when to come back |
//! | `503` | Kafka did not confirm in time: it may or may not be accepted, and an idempotency key makes the retry safe |
//!
//! Every error is `application/problem+json`. A rejected record never fails its neighbours.

mod answer;
mod body;
pub mod forward;
mod handle;
mod media;
mod parse;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode};
use pushrail_clock::Clock;
use pushrail_http::Problem;

use crate::budget::Budget;
use crate::catalogue::Catalogue;
use crate::keys::Keys;
use crate::metrics::{Metrics, Route};
use crate::publish::Publish;
use crate::seals::Seals;
use crate::settings::Settings;

/// What handlers need; one per worker, because of its publisher.
pub struct App {
    pub settings: Arc<Settings>,
    pub keys: Arc<dyn Keys>,
    pub catalogue: Arc<Catalogue>,
    pub seals: Arc<Seals>,
    pub publisher: Arc<dyn Publish>,
    pub budget: Budget,
    pub metrics: Metrics,
    /// Id of `Event.avsc` in the registry.
    pub schema_id: u32,
    pub clock: Clock,
    /// Whoever answers what is not about sending events.
    pub control: Option<forward::Forward>,
}

/// What a newcomer with a browser sees.
const POINTER: &str = r#"{"service":"pushrail-ingest","endpoints":["POST /v1/events","POST /v1/events/batch"],"authorization":"Bearer <API key>"}
"#;
const POINTER_WITH_CONTROL: &str = r#"{"service":"pushrail-ingest","endpoints":["POST /v1/events","POST /v1/events/batch"],"authorization":"Bearer <API key>","documentation":"/docs","openapi":"/openapi.json"}
"#;

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    let pointer = match app.control {
        Some(_) => POINTER_WITH_CONTROL,
        None => POINTER,
    };
    Router::new()
        .route("/v1/events", post(handle::event))
        .route("/v1/events/batch", post(handle::batch))
        .route(
            "/",
            get(move || async move {
                ([(http::header::CONTENT_TYPE, "application/json")], pointer)
            }),
        )
        .fallback(rest)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// What no route of ours takes.
async fn rest(State(app): State<Arc<App>>, request: Request) -> Response {
    let is_forwarded = forward::is_forwarded(request.uri().path());
    let elsewhere = match &app.control {
        Some(control) if is_forwarded => {
            let response = forward::pass(control, request).await;
            app.metrics.request(Route::Other, response.status());
            return response;
        }
        Some(_) => "; the rest of the API is documented at /docs",
        None if is_forwarded => {
            "; the rest of the API is the control plane's, which this process was not told the address of (--control)"
        }
        None => "",
    };
    let problem =
        Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here").detail(format!(
            "events are posted to /v1/events, and several at once to /v1/events/batch{elsewhere}"
        ));
    refuse(&app, problem, request).await
}

async fn wrong_method(State(app): State<Arc<App>>, request: Request) -> Response {
    let allowed = match request.uri().path() {
        "/" => "GET",
        _ => "POST",
    };
    let detail = match (allowed, request.method()) {
        (_, &Method::OPTIONS) => {
            "API keys belong on servers, so browsers get no CORS answer".into()
        }
        _ => format!("this path takes {allowed}"),
    };
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method is not allowed here",
    )
    .detail(detail);
    refuse(&app, problem, request).await
}

async fn refuse(app: &App, problem: Problem, request: Request) -> Response {
    app.metrics.request(Route::Other, problem.status());
    pushrail_http::body::discard(request.into_body()).await;
    problem.into_response()
}
