//! A receiver to point a first webhook at, which can be told to fail: by the path that the webhook is configured with.
//!
//! | request | answer |
//! |---|---|
//! | `POST /`, `/ok`, any other path | `200` |
//! | `POST /fail/503` | that status |
//! | `POST /flaky/2` | `503` twice for each `webhook-id`, then `200` |
//! | `POST /slow/500ms` | `200` after that time |
//! | `POST /hang` | never |
//! | `GET /` | the last requests, newest first, as JSON |
//! | `DELETE /` | forgets them |

mod behaviour;
mod received;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use behaviour::{Behaviour, Flaky};
use received::Received;

/// More than any event may have.
const BODY_LEN_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Default)]
struct Echo {
    received: Received,
    flaky: Flaky,
}

/// The receiver's routes, with nothing received yet.
pub(crate) fn router() -> Router {
    Router::new()
        .fallback(any(answer))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(Arc::default())
}

async fn answer(
    State(echo): State<Arc<Echo>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match (&method, uri.path()) {
        (&Method::GET, "/") => return received::shown(&echo.received),
        (&Method::DELETE, "/") => {
            echo.received.forget();
            return StatusCode::NO_CONTENT.into_response();
        }
        _ => {}
    }
    let behaviour = match Behaviour::of(uri.path()) {
        Ok(behaviour) => behaviour,
        Err(problem) => return (StatusCode::NOT_FOUND, format!("{problem}\n")).into_response(),
    };
    let id = headers
        .get("webhook-id")
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    let status = match behaviour {
        Behaviour::Answer(status) => status,
        Behaviour::Flaky(failures) => echo.flaky.next(id, failures),
        Behaviour::Slow(_) => StatusCode::OK,
        // Recorded before it is answered: a request that hangs is one that arrived.
        Behaviour::Hang => StatusCode::REQUEST_TIMEOUT,
    };
    echo.received.push(
        &method,
        &uri,
        &headers,
        &body,
        (behaviour != Behaviour::Hang).then_some(status),
    );
    match behaviour {
        Behaviour::Slow(time) => tokio::time::sleep(time).await,
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Answer(_) | Behaviour::Flaky(_) => {}
    }
    (
        status,
        format!(
            "{}\n",
            status.canonical_reason().unwrap_or_default().to_lowercase()
        ),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
