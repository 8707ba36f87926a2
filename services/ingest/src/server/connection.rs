//! One connection: HTTP/1.1, with bounds on everything that a client decides.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::patient::Patient;

/// A connection's read buffer, and so the most that a head may have.
const BUFFER_LEN_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;
/// How long a client may leave its answer unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Serves until the client or `shutdown` ends it; a request under way is finished.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    head_timeout: Duration,
    shutdown: CancellationToken,
) {
    let peer = stream.peer_addr().ok();
    let stream = Patient::new(stream, WRITE_PATIENCE);
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Events are answered alike wherever they come from.
        if let Some(peer) = peer.filter(|_| !is_events(request.uri().path())) {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection.broken");
    }
}

fn is_events(path: &str) -> bool {
    matches!(path, "/v1/events" | "/v1/events/batch")
}
