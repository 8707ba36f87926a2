//! Connections: opened to a vetted address, with TLS for the host's name, and bounded in what they may bring.
//!
//! PostgreSQL begins TLS on the open connection, so the socket comes from the way out that all adapters use, and TLS is put
//! on it here. Only the one byte of the server's answer is read before that: whatever else came in clear is not believed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use pushrail_egress::{Dialer, Peer, Stream, Target};
use pushrail_schemas::headers::Delivery;
use pushrail_sink_core::Secret;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_rustls::TlsConnector;

use crate::failure::Failure;
use crate::iam::Iam;

/// Most bytes that a server may send in one call; what it says of one is some hundred.
const REPLY_LEN_MAX: usize = 1024 * 1024;
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// One server, and who we are there.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) dialer: Dialer,
    pub(crate) user: Box<str>,
    pub(crate) database: Box<str>,
    pub(crate) proof: Proof,
}

/// What the user proves itself with.
pub(crate) enum Proof {
    Password(Secret),
    Iam(Iam),
}

/// An open connection. Dropped in the middle of a call it breaks, and what was not committed never was; at rest it takes its
/// leave.
pub(crate) struct Connection {
    pub(crate) client: tokio_postgres::Client,
    pub(crate) opened: Instant,
    driver: AbortHandle,
    left: Arc<AtomicUsize>,
    at_rest: bool,
}

impl Server {
    /// A new connection, for a call with `delivery` in it.
    pub(crate) async fn open(&self, delivery: &Delivery) -> Result<Connection, Failure> {
        let Target { host, port, .. } = &self.target;
        let password = match &self.proof {
            Proof::Password(password) => password.clone(),
            Proof::Iam(iam) => iam.token(delivery, &self.name(), *port, &self.user).await?,
        };
        let stream = self.dialer.tcp(host, *port).await;
        let stream = stream.map_err(Failure::Network)?;
        stream.set_nodelay(true).map_err(|error| lost(&error))?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => self.secure(stream, tls).await?,
        };
        let left = Arc::new(AtomicUsize::new(REPLY_LEN_MAX));
        let bounded = Bounded {
            stream,
            left: Arc::clone(&left),
        };
        let mut config = tokio_postgres::Config::new();
        config
            .user(&*self.user)
            .dbname(&*self.database)
            .password(password.expose())
            .application_name("pushrail")
            // TLS is on the stream already, or not wanted.
            .ssl_mode(SslMode::Disable);
        let opened = config.connect_raw(bounded, NoTls).await;
        let opened = opened.map_err(|error| Failure::of(&error));
        if let (Err(Failure::Server(answer)), Proof::Iam(iam)) = (&opened, &self.proof)
            && answer.state.starts_with("28")
        {
            iam.forget();
        }
        let (client, connection) = opened?;
        // It ends with the client, or when the connection breaks, which the client then says.
        let driver = tokio::spawn(async move { _ = connection.await }).abort_handle();
        Ok(Connection {
            client,
            opened: Instant::now(),
            driver,
            left,
            at_rest: false,
        })
    }

    /// The host as the customer gave it, which is what a token is for.
    fn name(&self) -> String {
        match &self.target.host {
            Peer::Name(name) => name.trim_end_matches('.').to_owned(),
            Peer::Address(address) => address.ip().to_string(),
        }
    }

    async fn secure(
        &self,
        mut stream: TcpStream,
        tls: &Arc<ClientConfig>,
    ) -> Result<Stream, Failure> {
        let Some(name) = self.target.server_name.clone() else {
            return Err(Failure::NoTls);
        };
        let mut answer = [0];
        let asked = async {
            stream.write_all(&SSL_REQUEST).await?;
            stream.read_exact(&mut answer).await
        };
        asked.await.map_err(|error| lost(&error))?;
        match answer {
            [b'S'] => {}
            [b'N'] => return Err(Failure::NoTls),
            _ => return Err(Failure::Protocol),
        }
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| lost(&error))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::Network(pushrail_egress::Failure::from_io(error))
}

impl Connection {
    /// A call begins.
    pub(crate) fn take_up(&mut self) {
        self.at_rest = false;
        self.left.store(REPLY_LEN_MAX, Ordering::Relaxed);
    }

    /// A call has ended, and left nothing behind.
    pub(crate) fn lay_down(&mut self) {
        self.at_rest = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.at_rest {
            self.driver.abort();
        }
    }
}

/// A stream that brings no more than a call may.
struct Bounded {
    stream: Stream,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let read = into.filled().len() - before;
        let left = self.left.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(read) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        self.left.store(left, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
