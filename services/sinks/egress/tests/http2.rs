//! Connections for gRPC: shared, replaced when they are in doubt, and closed when nobody uses them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pushrail_egress::{Dialer, Failure, Http2, Lease, Resolvers, Rules, TLS, Target};
use pushrail_http::Guard;
use pushrail_sink_core::Context;
use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

/// A server that answers everything, and counts its connections.
struct Server {
    address: SocketAddr,
    open: watch::Receiver<usize>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counting, open) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, counting) = (tls.clone(), counting.clone());
                counting.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket).await;
                            }
                        }
                    }
                    counting.send_modify(|open| *open -= 1);
                });
            }
        });
        Server { address, open }
    }

    fn target(&self, scheme: &str, host: &str) -> Target {
        let guard = Guard::new(["127.0.0.0/8"]).unwrap();
        let url = format!("{scheme}://{host}:{}", self.address.port());
        Target::parse(&url, &guard, true).unwrap()
    }

    async fn has_open(&mut self, count: usize) {
        let reached = self.open.wait_for(|open| *open == count);
        let reached = timeout(Duration::from_secs(60), reached).await;
        let _ = reached.expect("the connections never got there").unwrap();
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"yes"))))
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

fn client(allowed: &str, tls: Arc<ClientConfig>) -> Http2<Full<Bytes>> {
    let context = Context {
        allowed_networks: vec![allowed.into()],
        allow_plaintext: true,
    };
    Http2::new(Dialer {
        rules: Arc::new(Rules::new(&context)),
        names: Resolvers::default().current(),
        tls,
    })
}

fn plain() -> Http2<Full<Bytes>> {
    client("127.0.0.0/8", TLS.http2())
}

async fn ask(lease: &Lease<Full<Bytes>>, target: &Target) -> Result<u16, Failure> {
    let host = target.host_header.to_str().unwrap();
    let request = Request::get(format!("http://{host}/"))
        .body(Full::default())
        .unwrap();
    let answer = lease.service().call(request).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn calls_share_a_connection_up_to_its_bound() {
    let mut server = Server::start(None).await;
    let (http2, target) = (plain(), server.target("http", "127.0.0.1"));
    let mut leases = Vec::new();
    for _ in 0..50 {
        let lease = http2.lease(&target).await.unwrap();
        assert_eq!(ask(&lease, &target).await, Ok(200));
        leases.push(lease);
    }
    server.has_open(1).await;
    let more = http2.lease(&target).await.unwrap();
    assert!(!more.was_open(), "one that is full leaves the others room");
    assert_eq!(ask(&more, &target).await, Ok(200));
    server.has_open(2).await;
    for lease in leases.into_iter().chain([more]) {
        lease.settled();
    }
    drop(http2);
    server.has_open(0).await;
}

#[tokio::test]
async fn a_call_that_was_given_up_takes_its_connection_out_of_use() {
    let mut server = Server::start(None).await;
    let (http2, target) = (plain(), server.target("http", "127.0.0.1"));
    let (given_up, other) = (
        http2.lease(&target).await.unwrap(),
        http2.lease(&target).await.unwrap(),
    );
    assert!(other.was_open());
    assert_eq!(ask(&given_up, &target).await, Ok(200));
    drop(given_up);
    assert!(!http2.lease(&target).await.unwrap().was_open());
    // Who was on it goes on.
    assert_eq!(ask(&other, &target).await, Ok(200));
    other.settled();
    server.has_open(0).await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_closes() {
    let mut server = Server::start(None).await;
    let (http2, target) = (plain(), server.target("http", "127.0.0.1"));
    let lease = http2.lease(&target).await.unwrap();
    assert_eq!(ask(&lease, &target).await, Ok(200));
    lease.settled();
    server.has_open(1).await;
    tokio::time::pause();
    server.has_open(0).await;
    tokio::time::resume();
    assert!(!http2.lease(&target).await.unwrap().was_open());
}

#[tokio::test]
async fn an_address_that_is_blocked_is_not_connected_to() {
    let refused = client("10.0.0.0/8", TLS.http2());
    let server = Server::start(None).await;
    let target = server.target("http", "127.0.0.1");
    let failure = refused.lease(&target).await.err().unwrap();
    assert_eq!(failure, Failure::AddressBlocked);
    assert_eq!(*server.open.borrow(), 0);
}

#[tokio::test]
async fn over_tls_nothing_but_http2_is_negotiated() {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let accepting = |signing: &KeyPair, protocol: &[u8]| {
        let key = PrivateKeyDer::from_pem_slice(signing.serialize_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    };
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut trusting = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    trusting.alpn_protocols = TLS.http2().alpn_protocols.clone();
    assert_eq!(trusting.alpn_protocols, [b"h2".to_vec()]);
    let trusting = client("127.0.0.0/8", Arc::new(trusting));
    let good = Server::start(Some(accepting(&signing_key, b"h2"))).await;
    let target = good.target("https", "localhost");
    let lease = trusting.lease(&target).await.unwrap();
    assert_eq!(ask(&lease, &target).await, Ok(200));
    let old = Server::start(Some(accepting(&signing_key, b"http/1.1"))).await;
    let failure = trusting.lease(&old.target("https", "localhost")).await;
    assert!(matches!(failure.err(), Some(Failure::Tls(_))));
    // Public authorities do not know this one.
    let failure = plain().lease(&target).await;
    assert!(matches!(failure.err(), Some(Failure::Certificate(_))));
}
