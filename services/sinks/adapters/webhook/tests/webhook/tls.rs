//! Certificates: theirs and ours.

use std::sync::Arc;

use pushrail_webhook::Client;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::support::{SECRET, Server, accepting, answer, client_with, raw, reply, send, verdict};

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose, expired: bool) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        if expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        Leaf {
            certificate: params.signed_by(&key, &self.0).unwrap(),
            key,
        }
    }

    fn server(&self, names: &[&str]) -> Leaf {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, false)
    }

    fn client(&self) -> Leaf {
        self.issue(&["pushrail"], ExtendedKeyUsagePurpose::ClientAuth, false)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

/// An HTTPS server; with `clients`, it insists on a certificate of that authority.
async fn serving(leaf: &Leaf, clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authority.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(leaf.key.serialize_pem().as_bytes()).unwrap();
    let mut config = builder
        .with_single_cert(vec![leaf.certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    raw(move |stream, requests| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                assert_eq!(
                    stream.get_ref().1.alpn_protocol(),
                    Some(b"http/1.1".as_slice())
                );
                answer(stream, requests, |_| async { reply(200) }).await;
            }
        }
    })
    .await
}

async fn trusting(server: &Server, authority: Option<&Authority>, own: Option<&Leaf>) -> Client {
    let mut config = json!({ "url": format!("https://localhost:{}/", server.address.port()) });
    let mut secrets = json!({ "signingSecret": SECRET });
    if let Some(authority) = authority {
        config["caCertificates"] = Value::String(authority.0.pem());
    }
    if let Some(leaf) = own {
        config["clientCertificate"] = Value::String(leaf.certificate.pem());
        secrets["clientKey"] = Value::String(leaf.key.serialize_pem());
    }
    client_with(config, secrets).await
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_where_it_was_given() {
    let authority = Authority::new("servers");
    let server = serving(&authority.server(&["localhost"]), None).await;
    let client = trusting(&server, Some(&authority), None).await;
    for _ in 0..3 {
        assert_eq!(verdict(&send(&client).await), "delivered");
    }
    assert_eq!(server.now().opened, 1, "TLS connections are kept as well");
    for stranger in [None, Some(&Authority::new("stranger"))] {
        let client = trusting(&server, stranger, None).await;
        let outcome = send(&client).await;
        assert_eq!(verdict(&outcome), "retry tls_certificate");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_or_time_is_refused() {
    let authority = Authority::new("servers");
    let expired = authority.issue(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth, true);
    for leaf in [authority.server(&["elsewhere.example"]), expired] {
        let server = serving(&leaf, None).await;
        let outcome = send(&trusting(&server, Some(&authority), None).await).await;
        assert_eq!(verdict(&outcome), "retry tls_certificate");
        assert_eq!(server.now().requests, 0);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let server = serving(&authority.server(&["localhost"]), Some(&clients)).await;
    let known = clients.client();
    let client = trusting(&server, Some(&authority), Some(&known)).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    let foreign = Authority::new("stranger").client();
    for own in [None, Some(&foreign)] {
        let client = trusting(&server, Some(&authority), own).await;
        let outcome = send(&client).await;
        assert_eq!(
            verdict(&outcome),
            "retry tls_client_certificate",
            "{outcome:?}"
        );
    }
    assert_eq!(server.now().requests, 1);
}

#[tokio::test]
async fn a_port_without_tls_is_said_to_be_one() {
    let server = accepting().await;
    let outcome = send(&trusting(&server, None, None).await).await;
    assert_eq!(verdict(&outcome), "retry tls_failed");
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_found_at_the_check() {
    use pushrail_sink_core::Adapter;
    let clients = Authority::new("clients");
    let (one, two) = (clients.client(), clients.client());
    let config =
        json!({ "url": "https://example.com/", "clientCertificate": one.certificate.pem() });
    let secrets = json!({ "signingSecret": SECRET, "clientKey": two.key.serialize_pem() });
    let errors = pushrail_webhook::Webhook::check(
        &serde_json::from_value(config).unwrap(),
        &serde_json::from_value(secrets).unwrap(),
        &Default::default(),
    )
    .unwrap_err();
    assert_eq!(errors[0].field, "secrets.clientKey");
    assert!(!errors[0].message.contains("PRIVATE"));
}
