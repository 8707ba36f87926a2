//! The server's loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::body::{self, Body};
use super::reply::Kind;
use super::{Request, Shared};

/// Accepts until it is aborted; its connections go with it.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(connection(stream, number, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    let Ok(stream) = stream.into_std() else {
        return;
    };
    // A second handle on the socket, to make its end a reset.
    let Ok(handle) = stream.try_clone().map(Arc::new) else {
        return;
    };
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let service = service_fn(|request| answer(request, number, shared.clone(), handle.clone()));
    // A connection that the client gave up is no error here.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    connection: u64,
    shared: Arc<Shared>,
    socket: Arc<std::net::TcpStream>,
) -> io::Result<hyper::Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let at = Instant::now();
    let request = Request {
        method: parts.method,
        path,
        headers: parts.headers,
        body,
        at,
        connection,
    };
    let reply = shared.take(request);
    if !reply.after.is_zero() {
        tokio::time::sleep(reply.after).await;
    }
    match reply.kind {
        Kind::Hang => std::future::pending().await,
        Kind::Reset => {
            socket2::SockRef::from(&*socket).set_linger(Some(Duration::ZERO))?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Kind::Body(_) | Kind::Drip(_) | Kind::Huge(_) => {}
    }
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response
        .body(body::of(reply.kind))
        .map_err(io::Error::other)
}
