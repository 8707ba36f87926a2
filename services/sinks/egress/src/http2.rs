//! HTTP/2 for gRPC, over connections to vetted addresses.
//!
//! A call borrows a connection ([`Http2::lease`]) and is one stream on it, so the destinations of a worker that call one host
//! share its connections: however many there are, the idle ones cost none. A connection takes so many calls at a time and no
//! more, so that destinations whose calls hang leave the others room; the next call opens another.
//!
//! What a call that was given up leaves behind is unknown, and a network that swallows everything looks like a server that
//! thinks. So a lease that ends without [`Lease::settled`] takes its connection out of use: who is on it may finish, and nobody
//! else begins there. Connections close when nobody has used them for a while.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::dial::Dialer;
use crate::failure::Failure;
use crate::http::why;
use crate::target::{Peer, Target};

/// Calls on one connection at a time. Servers allow some hundred.
const CALLS_MAX: usize = 50;
/// How long a connection stays that nobody uses.
const IDLE: Duration = Duration::from_secs(15);
/// How long a connection is used: a name may lead elsewhere by then.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Longest headers of an answer that are taken.
const HEADERS_LEN_MAX: u32 = 16 * 1024;

/// The connections of one worker; they close with it.
pub struct Http2<B>(Arc<Shared<B>>);

struct Shared<B> {
    dialer: Dialer,
    open: Mutex<Vec<Arc<Connection<B>>>>,
}

struct Connection<B> {
    peer: Peer,
    port: u16,
    server_name: Option<ServerName<'static>>,
    sender: SendRequest<B>,
    opened: Instant,
    usage: Arc<Usage>,
    driver: AbortHandle,
}

struct Usage {
    calls: AtomicUsize,
    used: Mutex<Instant>,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection, for one call.
pub struct Lease<B> {
    shared: Weak<Shared<B>>,
    connection: Arc<Connection<B>>,
    was_open: bool,
    settled: bool,
}

impl<B> Http2<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The dialer's TLS settings must name `h2`: see [`crate::Tls::http2`].
    pub fn new(dialer: Dialer) -> Self {
        Http2(Arc::new(Shared {
            dialer,
            open: Mutex::default(),
        }))
    }

    /// A connection to `target`, new or not.
    pub async fn lease(&self, target: &Target) -> Result<Lease<B>, Failure> {
        let found = self.0.free(target);
        let was_open = found.is_some();
        let connection = match found {
            Some(connection) => connection,
            None => self.open(target).await?,
        };
        Ok(Lease {
            shared: Arc::downgrade(&self.0),
            connection,
            was_open,
            settled: false,
        })
    }

    async fn open(&self, target: &Target) -> Result<Arc<Connection<B>>, Failure> {
        let stream = self.0.dialer.open(target).await?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(HEADERS_LEN_MAX);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|error| why(&error))?;
        let usage = Arc::new(Usage {
            calls: AtomicUsize::new(1),
            used: Mutex::new(Instant::now()),
        });
        let (shared, watched) = (Arc::downgrade(&self.0), Arc::clone(&usage));
        let driver = tokio::spawn(async move {
            tokio::select! {
                _ = driver => {}
                () = watched.idle() => {}
            }
            if let Some(shared) = shared.upgrade() {
                shared.retire(&watched);
            }
        });
        let connection = Arc::new(Connection {
            peer: target.host.clone(),
            port: target.port,
            server_name: target.server_name.clone(),
            sender,
            opened: Instant::now(),
            usage,
            driver: driver.abort_handle(),
        });
        self.0.open().push(Arc::clone(&connection));
        Ok(connection)
    }
}

impl<B> Shared<B> {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection<B>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection with room for a call, which has begun with that.
    fn free(&self, target: &Target) -> Option<Arc<Connection<B>>> {
        let mut open = self.open();
        open.retain(|connection| {
            !connection.sender.is_closed() && connection.opened.elapsed() < AGE_MAX
        });
        let found = open.iter().find(|connection| {
            connection.peer == target.host
                && connection.port == target.port
                && connection.server_name == target.server_name
                && connection.usage.calls.load(Ordering::Relaxed) < CALLS_MAX
        })?;
        found.usage.calls.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(found))
    }

    /// Nobody begins there any more; who is there may finish.
    fn retire(&self, usage: &Arc<Usage>) {
        self.open()
            .retain(|connection| !Arc::ptr_eq(&connection.usage, usage));
    }
}

impl Usage {
    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when nobody has used it for a while.
    async fn idle(&self) {
        loop {
            let unused = self.used().elapsed();
            if self.calls.load(Ordering::Relaxed) == 0 && unused >= IDLE {
                return;
            }
            sleep(IDLE.saturating_sub(unused).max(IDLE / 4)).await;
        }
    }
}

impl<B> Lease<B> {
    /// Whether it had been used before: it may turn out to be dead, and a fresh one not.
    pub fn was_open(&self) -> bool {
        self.was_open
    }

    /// The call has had an answer, so the connection is one to keep.
    pub fn settled(mut self) {
        self.settled = true;
    }

    /// For a library that wants a service.
    pub fn service(&self) -> Service<B> {
        Service(self.connection.sender.clone())
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        let usage = &self.connection.usage;
        *usage.used() = Instant::now();
        usage.calls.fetch_sub(1, Ordering::Relaxed);
        if !self.settled
            && let Some(shared) = self.shared.upgrade()
        {
            shared.retire(usage);
        }
    }
}

/// One connection, as `tower` has it. Requests must have an absolute URI.
pub struct Service<B>(SendRequest<B>);

impl<B> Clone for Service<B> {
    fn clone(&self) -> Self {
        Service(self.0.clone())
    }
}

impl<B> tower::Service<Request<B>> for Service<B>
where
    B: Body + Send + 'static,
{
    type Response = Response<Incoming>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx).map_err(|error| why(&error))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move { answer.await.map_err(|error| why(&error)) })
    }
}
