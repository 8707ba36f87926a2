//! From a target to an open HTTP/1 connection.
//!
//! A name is resolved once, every address is vetted, and the socket is opened to an address that passed: there is no
//! second look-up that could answer otherwise. When a name has public and blocked addresses, only the public ones are
//! tried. Several addresses are raced with a head start (RFC 8305). Proxies of the environment are not used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pushrail_http::Guard;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::check::Rules;
use crate::failure::Failure;
use crate::pool::Keeper;
use crate::resolve::Names;
use crate::target::{Peer, Target};

/// Head start of an address before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Largest response head, and most that is buffered of anything, in bytes.
const BUFFER_LEN_MAX: usize = 64 * 1024;

pub(crate) type Sender = http1::SendRequest<Full<Bytes>>;

/// Opens connections for one client.
pub(crate) struct Dialer {
    pub(crate) rules: Arc<Rules>,
    pub(crate) names: Arc<Names>,
    pub(crate) tls: Arc<ClientConfig>,
}

/// A connection that a task drives. Aborting the task closes it at once; dropping the sender closes it in order.
pub(crate) struct Opened {
    pub(crate) sender: Sender,
    pub(crate) driver: AbortHandle,
}

impl Dialer {
    /// Opens a connection to `target`. `keeper` watches it while it is idle.
    pub(crate) async fn open(
        &self,
        target: &Target,
        keeper: Option<Keeper>,
    ) -> Result<Opened, Failure> {
        let stream = self.tcp(target).await?;
        // One write holds a whole request; waiting for more of it would only add latency.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::from_connect(&error))?;
        let Some(name) = target.server_name.clone() else {
            return start(stream, keeper).await;
        };
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await;
        start(
            stream.map_err(|error| Failure::from_handshake(&error))?,
            keeper,
        )
        .await
    }

    async fn tcp(&self, target: &Target) -> Result<TcpStream, Failure> {
        let vetted = match &target.host {
            Peer::Address(address) => vet(&self.rules.guard, [address.ip()], target.port),
            Peer::Name(name) => {
                let found = self.names.addresses(name).await?;
                vet(&self.rules.guard, found, target.port)
            }
        };
        match vetted[..] {
            [] => Err(Failure::AddressBlocked),
            [only] => connect(only).await,
            _ => race(&vetted).await,
        }
    }
}

/// The addresses that may be called.
fn vet(guard: &Guard, found: impl IntoIterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let allowed = found
        .into_iter()
        .filter(|address| guard.check(*address).is_ok());
    allowed
        .map(|address| SocketAddr::new(address, port))
        .take(ADDRESSES_MAX)
        .collect()
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address)
        .await
        .map_err(|error| Failure::from_connect(&error))
}

/// Tries the addresses one after the other, the next one when the last failed or its head start is over.
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut running = FuturesUnordered::new();
    let mut waiting = addresses.iter().copied();
    let mut failure = Failure::AddressBlocked;
    loop {
        let more = waiting
            .next()
            .map(|address| running.push(connect(address)))
            .is_some();
        if !more && running.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

async fn start<IO>(io: IO, keeper: Option<Keeper>) -> Result<Opened, Failure>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_LEN_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Failure::from_exchange(&error))?;
    let driver = tokio::spawn(async move {
        // Its error, if any, reaches whoever waits for the response.
        match keeper {
            None => drop(connection.await),
            Some(keeper) => keeper.watch(connection).await,
        }
    });
    Ok(Opened {
        sender,
        driver: driver.abort_handle(),
    })
}
