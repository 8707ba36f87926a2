//! Certificates, and who the server is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pushrail_conformance::records;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::{Database, connect, connect_with, send, verdicts};

fn acceptor(certified: &CertifiedKey<KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pem = certified.signing_key.serialize_pem();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    // As PostgreSQL 17: who names another protocol is refused.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Puts TLS in front of the server as it would itself.
async fn with_tls(server: SocketAddr, certified: &CertifiedKey<KeyPair>) -> SocketAddr {
    let acceptor = acceptor(certified);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

#[tokio::test]
async fn the_certificate_must_be_trusted_and_for_the_host() {
    let database = Database::new().await;
    let local = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let table = [
        (&local, Some(&local), "delivered"),
        (&local, None, "retry tls_certificate"),
        (&other, Some(&other), "retry tls_certificate"),
        (&local, Some(&other), "retry tls_certificate"),
    ];
    for (shown, trusted, expected) in table {
        let at = with_tls(database.server(), shown).await;
        let mut config = database.config(at);
        config["host"] = json!("localhost");
        config["tls"] = json!("required");
        if let Some(trusted) = trusted {
            config["caCertificates"] = json!(trusted.cert.pem());
        }
        let client = connect(config).await;
        let outcome = send(&client, &records(2)).await;
        assert_eq!(verdicts(&outcome), [expected; 2], "{outcome:?}");
    }
}

/// Takes one connection with TLS, asks for a password in clear as RDS does for its tokens, refuses it, and gives it back.
async fn asking(
    certified: &CertifiedKey<KeyPair>,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let acceptor = acceptor(certified);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.read_exact(&mut [0; 8]).await.unwrap();
        client.write_all(b"S").await.unwrap();
        let mut client = acceptor.accept(client).await.unwrap();
        let startup = client.read_u32().await.unwrap() as usize;
        client.read_exact(&mut vec![0; startup - 4]).await.unwrap();
        client
            .write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3])
            .await
            .unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'p');
        let length = client.read_u32().await.unwrap() as usize;
        let mut password = vec![0; length - 4];
        client.read_exact(&mut password).await.unwrap();
        let fields = b"SFATAL\0C28000\0MPAM authentication failed for user\0\0";
        let head = [&b"E"[..], &(fields.len() as u32 + 4).to_be_bytes()].concat();
        client
            .write_all(&[&head, &fields[..]].concat())
            .await
            .unwrap();
        client.flush().await.unwrap();
        password.pop();
        String::from_utf8(password).unwrap()
    });
    (address, asked)
}

#[tokio::test]
async fn with_aws_iam_a_fresh_token_is_the_password() {
    let local = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (at, asked) = asking(&local).await;
    let config = json!({
        "host": "localhost", "port": at.port(), "database": "d", "user": "pushrail",
        "caCertificates": local.cert.pem(),
        "authentication": {
            "type": "aws_iam", "region": "eu-central-1",
            "access": {"type": "access_key", "accessKeyId": "AKIDEXAMPLE"},
        },
    });
    let secrets = json!({"secretAccessKey": "s3cret-access-key"});
    let client = connect_with(config, secrets).await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["suspend authentication_rejected"]);
    let token = asked.await.unwrap();
    let start = format!("localhost:{}/?Action=connect&DBUser=pushrail&", at.port());
    assert!(token.starts_with(&start), "{token}");
    assert!(token.contains("%2Feu-central-1%2Frds-db%2Faws4_request"));
    assert!(!token.contains("s3cret") && !format!("{outcome:?}").contains("X-Amz-Signature"));
}

#[test]
fn what_does_not_go_together_is_named() {
    use pushrail_sink_core::Adapter as _;
    let good = || json!({"host": "db.example.com", "database": "d", "user": "u"});
    let iam = |access: serde_json::Value| {
        let mut config = good();
        config["authentication"] = json!({"type": "aws_iam", "region": "eu", "access": access});
        config
    };
    let role = json!({"type": "assume_role", "roleArn": "arn:aws:iam::123456789012:role/pushrail"});
    let with = |field: &str, value: serde_json::Value| {
        let mut config = good();
        config[field] = value;
        config
    };
    let password = || json!({"password": "s3cret-word"});
    let table = [
        (good(), password(), None),
        (iam(role.clone()), json!({}), None),
        (good(), json!({}), Some("secrets.password")),
        (
            good(),
            json!({"password": "x", "secretAccessKey": "s3cret-key"}),
            Some("secrets.secretAccessKey"),
        ),
        (iam(role), password(), Some("secrets.password")),
        (
            iam(json!({"type": "assume_role", "roleArn": "arn:aws:s3:::a-bucket-of-mine"})),
            json!({}),
            Some("config.authentication.access.roleArn"),
        ),
        (
            iam(json!({"type": "access_key", "accessKeyId": "AKIDEXAMPLE"})),
            json!({}),
            Some("secrets.secretAccessKey"),
        ),
        (
            with("host", json!("https://db.example.com/x")),
            password(),
            Some("config.host"),
        ),
        (
            with("host", json!("127.0.0.1")),
            password(),
            Some("config.host"),
        ),
        (
            with("host", json!("localhost")),
            password(),
            Some("config.host"),
        ),
        (with("port", json!(0)), password(), Some("config.port")),
        (with("tls", json!("off")), password(), Some("config.tls")),
        (with("schema", json!("")), password(), Some("config.schema")),
        (
            with("user", json!("u".repeat(64))),
            password(),
            Some("config.user"),
        ),
        (
            with("caCertificates", json!("no PEM at all")),
            password(),
            Some("config.caCertificates"),
        ),
    ];
    for (config, secrets, field) in table {
        let checked = pushrail_postgres::Postgres::check(
            &serde_json::from_value(config.clone()).unwrap(),
            &serde_json::from_value(secrets).unwrap(),
            &Default::default(),
        );
        let found: Vec<_> = checked.err().into_iter().flatten().collect();
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
        let names: Vec<_> = found.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(names, field.into_iter().collect::<Vec<_>>(), "{config}");
    }
}
