//! The operator's server: `/livez`, `/readyz` and `/metrics`. It has no authentication, so it listens where only the
//! operator reaches it.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Health, Metrics};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The three routes, to serve or to nest.
pub fn router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(
            Router::new()
                .route("/metrics", get(show))
                .with_state(metrics),
        )
}

/// Listens on `address` and serves until `shutdown`; gives the address that it got, which differs when port 0 was asked
/// for. Fails when the address is taken or not ours.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let app = router(metrics, health);
    tokio::spawn(async move {
        let served = axum::serve(listener, app)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "ops.stopped");
        }
    });
    tracing::info!(%address, "ops.listening");
    Ok(address)
}

async fn livez(State(health): State<Health>) -> Response {
    let stuck = health.stuck();
    answer(stuck.is_empty(), "stuck", &stuck)
}

async fn readyz(State(health): State<Health>) -> Response {
    let unmet: serde_json::Map<_, _> = health
        .unmet()
        .into_iter()
        .map(|(name, reason)| (name, reason.into()))
        .collect();
    answer(unmet.is_empty(), "unmet", &unmet)
}

async fn show(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.encode())
}

fn answer(ok: bool, what: &str, details: &impl serde::Serialize) -> Response {
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        axum::Json(serde_json::json!({ "ok": ok, what: details })),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(app: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let health = Health::new();
        let kafka = health.condition("kafka");
        let app = router(Metrics::new(), health);
        let (status, body) = ask(&app, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"ok":false,"unmet":{"kafka":"starting"}}"#);
        kafka.met();
        assert_eq!(ask(&app, "/readyz").await.0, 200);
        assert_eq!(ask(&app, "/livez").await.0, 200);
        let (status, body) = ask(&app, "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.ends_with("# EOF\n"), "{body}");
    }
}
