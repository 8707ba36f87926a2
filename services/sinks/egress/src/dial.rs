//! From a target to an open connection.
//!
//! A name is resolved once, every address is vetted, and the socket is opened to an address that passed: there is no
//! second look-up that could answer otherwise. When a name has public and blocked addresses, only the public ones are
//! tried. Several addresses are raced with a head start (RFC 8305). Proxies of the environment are not used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pushrail_http::Guard;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::Failure;
use crate::resolve::Names;
use crate::rules::Rules;
use crate::stream::Stream;
use crate::target::{Peer, Target};

/// Head start of an address before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Opens connections for one client.
#[derive(Clone)]
pub struct Dialer {
    pub rules: Arc<Rules>,
    pub names: Arc<Names>,
    pub tls: Arc<ClientConfig>,
}

impl Dialer {
    /// Opens a connection to `target`.
    pub async fn open(&self, target: &Target) -> Result<Stream, Failure> {
        let stream = self.tcp(&target.host, target.port).await?;
        // One write holds a whole request; waiting for more of it would only add latency.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::from_connect(&error))?;
        let Some(name) = target.server_name.clone() else {
            return Ok(Stream::Plain(stream));
        };
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| Failure::from_handshake(&error))
    }

    /// As [`Dialer::open`], without TLS: for protocols that ask for it on the connection.
    pub async fn tcp(&self, host: &Peer, port: u16) -> Result<TcpStream, Failure> {
        let vetted = self.vetted(host, port).await?;
        match vetted[..] {
            [] => Err(Failure::AddressBlocked),
            [only] => connect(only).await,
            _ => race(&vetted).await,
        }
    }

    /// Every address of `host` that may be called, perhaps none. Whoever connects by other means must connect to one of these
    /// and nowhere else.
    pub async fn vetted(&self, host: &Peer, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        Ok(match host {
            Peer::Address(address) => vet(&self.rules.guard, [address.ip()], port),
            Peer::Name(name) => vet(&self.rules.guard, self.names.addresses(name).await?, port),
        })
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
