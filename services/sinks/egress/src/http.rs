//! HTTP by a library, over connections to vetted addresses.
//!
//! hyper's client keeps one pool of connections for all destinations of a worker. It opens them through a [`Dialer`], follows
//! no redirect, knows no proxy, and reads an answer up to a bound. Deadlines are the caller's: dropping the call closes its
//! connection.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::Limited;
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::dial::Dialer;
use crate::failure::Failure;
use crate::stream::Stream;
use crate::target::Target;

/// Services close idle connections after some 20 s or more; one that is found closed is replaced before anything is sent.
const IDLE: Duration = Duration::from_secs(15);
/// Idle connections to one host that are kept.
const IDLE_PER_HOST_MAX: usize = 32;

/// An HTTP client for one worker. Cheap to clone.
pub struct Http<B>(Client<Connect, B>);

impl<B> Clone for Http<B> {
    fn clone(&self) -> Self {
        Http(self.0.clone())
    }
}

impl<B> Http<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub fn new(dialer: Dialer) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(Connect(dialer));
        Http(client)
    }

    /// One request; reading more of the answer's body than `answer_len_max` fails.
    pub fn call(
        &self,
        request: Request<B>,
        answer_len_max: usize,
    ) -> impl Future<Output = Result<Response<Limited<Incoming>>, Failure>> + Send + use<B> {
        let call = self.0.request(request);
        async move {
            let (head, body) = call.await.map_err(|error| why(&error))?.into_parts();
            Ok(Response::from_parts(
                head,
                Limited::new(body, answer_len_max),
            ))
        }
    }
}

/// The failure in what hyper says, however deep.
pub fn why(error: &(dyn Error + 'static)) -> Failure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Failure::from_io(error);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_parse()
        {
            return Failure::InvalidResponse;
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return Failure::InvalidResponse;
        }
        next = error.source();
    }
    Failure::ConnectionLost
}

#[derive(Clone)]
struct Connect(Dialer);

impl tower::Service<Uri> for Connect {
    type Response = Wire;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            let rules = &dialer.rules;
            // A host that the SDK put together is judged like one that was entered.
            let target = Target::parse(&uri.to_string(), &rules.guard, rules.allow_plaintext)
                .map_err(|_| Failure::AddressBlocked)?;
            Ok(Wire(TokioIo::new(dialer.open(&target).await?)))
        })
    }
}

/// A connection as hyper wants it.
struct Wire(TokioIo<Stream>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }
}
