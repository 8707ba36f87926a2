//! TLS settings: one for everybody, and one of its own only for a destination that asks for it.
//!
//! The shared settings trust the public authorities and show no certificate, so their session cache may be shared as
//! well: a resumed session carries nobody's identity. A destination with a private authority or a client certificate
//! gets settings of its own, with its own cache.

use std::sync::{Arc, LazyLock};

use pushrail_sink_core::{FieldError, Secret};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Sessions that can be resumed, over all destinations with the shared settings.
const SESSIONS_SHARED: usize = 4096;
const SESSIONS_OWN: usize = 8;
/// gRPC goes to few hosts.
const SESSIONS_HTTP2: usize = 64;

pub struct Tls {
    provider: Arc<CryptoProvider>,
    shared: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What a destination adds to the shared settings.
#[derive(Clone, Copy)]
pub struct Extra<'a> {
    pub ca_certificates: Option<&'a str>,
    pub client_certificate: Option<&'a str>,
    pub client_key: Option<&'a Secret>,
}

impl Extra<'_> {
    pub fn is_empty(&self) -> bool {
        self.ca_certificates.is_none()
            && self.client_certificate.is_none()
            && self.client_key.is_none()
    }
}

/// Made on first use, once a process.
pub static SHARED: LazyLock<Tls> = LazyLock::new(Tls::new);

impl Tls {
    fn new() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = builder(&provider, public_authorities());
        let shared = finish(builder.with_no_client_auth(), SESSIONS_SHARED);
        // Their sessions are apart: one that was begun with another protocol is not resumed.
        let mut http2 = ClientConfig::clone(&shared);
        http2.alpn_protocols = vec![b"h2".to_vec()];
        http2.resumption = Resumption::in_memory_sessions(SESSIONS_HTTP2);
        Tls {
            provider,
            shared,
            http2: Arc::new(http2),
        }
    }

    /// The settings of those who add nothing.
    pub fn shared(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared)
    }

    /// As [`Tls::shared`], for HTTP/2 and nothing else: what gRPC speaks.
    pub fn http2(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http2)
    }

    /// The settings for one destination: the shared ones when nothing is added. Pure; the errors name the fields.
    pub fn settings(&self, extra: Extra<'_>) -> Result<Arc<ClientConfig>, Vec<FieldError>> {
        if extra.is_empty() {
            return Ok(self.shared());
        }
        let (roots, identity) = match (roots(extra.ca_certificates), identity(extra)) {
            (Ok(roots), Ok(identity)) => (roots, identity),
            (roots, identity) => {
                return Err([roots.err(), identity.err()]
                    .into_iter()
                    .flatten()
                    .collect());
            }
        };
        let builder = builder(&self.provider, roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|_| {
                vec![FieldError::new(
                    "secrets.clientKey",
                    "does not belong to the certificate in `config.clientCertificate`",
                )]
            })?,
        };
        Ok(finish(config, SESSIONS_OWN))
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(provider: &Arc<CryptoProvider>, roots: RootCertStore) -> Builder {
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("aws-lc offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
}

fn finish(mut config: ClientConfig, sessions: usize) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(sessions);
    Arc::new(config)
}

fn public_authorities() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

fn roots(ca_certificates: Option<&str>) -> Result<RootCertStore, FieldError> {
    let mut roots = public_authorities();
    let Some(pem) = ca_certificates else {
        return Ok(roots);
    };
    let wrong = |message| FieldError::new("config.caCertificates", message);
    for certificate in certificates(pem).map_err(wrong)? {
        let added = roots.add(certificate);
        added
            .map_err(|_| wrong("holds a certificate that cannot be read as an X.509 authority"))?;
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(extra: Extra<'_>) -> Result<Option<Identity>, FieldError> {
    let (pem, key) = match (extra.client_certificate, extra.client_key) {
        (None, None) => return Ok(None),
        (Some(pem), Some(key)) => (pem, key),
        (Some(_), None) => {
            let message = "is needed with `config.clientCertificate`: its private key in PEM";
            return Err(FieldError::new("secrets.clientKey", message));
        }
        (None, Some(_)) => {
            let message =
                "is needed with `secrets.clientKey`: the certificate and its chain in PEM";
            return Err(FieldError::new("config.clientCertificate", message));
        }
    };
    let chain = certificates(pem).map_err(|m| FieldError::new("config.clientCertificate", m))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| {
        FieldError::new(
            "secrets.clientKey",
            "must be one unencrypted private key in PEM",
        )
    })?;
    Ok(Some((chain, key)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----)"),
    }
}
