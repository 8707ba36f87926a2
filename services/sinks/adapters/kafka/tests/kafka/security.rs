//! Who is let in, and where nobody is sent.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pushrail_conformance::{Given, records};
use pushrail_kafka_destination::Kafka;
use pushrail_sink_core::{Adapter as _, Context};
use pushrail_testkit::{Receiver, Reply};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::bed::{PASSWORD, bed, connect, connect_with, loopback, send, verdicts};

async fn outcome(given: &Given) -> String {
    let client = connect(given).await;
    verdicts(&send(&client, &records(1)).await).remove(0)
}

/// A token that nobody signed, for `subject`, good for so many seconds.
fn token(subject: &str, seconds: i64) -> String {
    let now_s = std::process::Command::new("date")
        .arg("+%s")
        .output()
        .unwrap()
        .stdout;
    let now_s: i64 = String::from_utf8(now_s).unwrap().trim().parse().unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (head, claims) = (
        part(json!({"alg": "none"})),
        part(json!({"sub": subject, "iat": now_s - 5, "exp": now_s + seconds})),
    );
    format!("{head}.{claims}.")
}

fn with_token(at: &Receiver, topic: &str, bed: &super::bed::Bed) -> Given {
    let mut given = bed.with_tls(bed.secure, topic);
    given.config["authentication"] = json!({
        "type": "oauthbearer",
        "tokenUrl": format!("http://{}/token", at.address()),
        "clientId": "pushrail",
        "scope": "kafka",
        "extensions": {"logicalCluster": "lkc-1"},
    });
    given.secrets["clientSecret"] = json!("s3cret-of-a-client");
    given
}

#[tokio::test]
async fn each_way_of_being_let_in_delivers() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let mutual = || {
        let mut given = bed.with_tls(bed.mutual, &topic);
        let (certificate, key) = bed.authority.sign("mutual");
        given.config["clientCertificate"] = json!(certificate);
        given.secrets["clientKey"] = json!(key);
        given
    };
    let issuer = Receiver::start().await;
    let answer =
        json!({"access_token": token("oauth", 300), "token_type": "Bearer", "expires_in": 300});
    issuer.on("/token", vec![Reply::ok().body(answer.to_string())]);
    let table = [
        ("in clear", bed.clear(&topic)),
        ("TLS alone", bed.with_tls(bed.tls, &topic)),
        ("mTLS", mutual()),
        ("PLAIN", bed.as_user("plain", "plain", &topic)),
        (
            "SCRAM-SHA-256",
            bed.as_user("scram_sha_256", "scram", &topic),
        ),
        (
            "SCRAM-SHA-512",
            bed.as_user("scram_sha_512", "scram", &topic),
        ),
        ("OAUTHBEARER", with_token(&issuer, &topic, bed)),
    ];
    let count = table.len();
    for (name, given) in table {
        assert_eq!(outcome(&given).await, "delivered", "{name}");
    }
    assert_eq!(bed.read(&topic).await.len(), count);
    let asked = issuer.requests_to("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        &asked[0].body[..],
        b"grant_type=client_credentials&scope=kafka"
    );
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_for_the_host_and_ours_where_it_is_wanted() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let mut public_only = bed.with_tls(bed.tls, &topic);
    public_only
        .config
        .as_object_mut()
        .unwrap()
        .remove("caCertificates");
    let mut other = bed.with_tls(bed.tls, &topic);
    other.config["caCertificates"] = json!(bed.other_authority.pem);
    let mut foreign = bed.with_tls(bed.mutual, &topic);
    let (certificate, key) = bed.other_authority.sign("mutual");
    foreign.config["clientCertificate"] = json!(certificate);
    foreign.secrets["clientKey"] = json!(key);
    let table = [
        (
            "of a private authority",
            public_only,
            "retry tls_certificate",
        ),
        ("of another authority", other, "retry tls_certificate"),
        (
            "for another name",
            bed.with_tls(bed.misnamed, &topic),
            "retry tls_certificate",
        ),
        (
            "none of ours",
            bed.with_tls(bed.mutual, &topic),
            "retry tls_client_certificate",
        ),
        (
            "ours by a stranger",
            foreign,
            "retry tls_client_certificate",
        ),
    ];
    for (name, given, expected) in table {
        assert_eq!(outcome(&given).await, expected, "{name}");
    }
    assert_eq!(bed.read(&topic).await.len(), 0);
}

#[tokio::test]
async fn a_broker_that_names_a_forbidden_address_is_suspended_and_the_address_never_called() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let lure = TcpListener::bind(bed.lure).await.unwrap();
    // The broker itself may be called, and tells us to go next door.
    let context = Context {
        allowed_networks: vec!["127.0.0.1/32".into()],
        allow_plaintext: true,
    };
    let mut given = bed.clear(&topic);
    given.config["bootstrapServers"] = json!(bed.astray.to_string());
    let client = connect_with(&given, &context).await;
    let outcome = send(&client, &records(2)).await;
    assert_eq!(verdicts(&outcome), ["suspend address_blocked"; 2]);
    let detail = outcome.verdicts[0].fault().unwrap().detail.to_string();
    assert!(!detail.contains("127.0.0"), "{detail}");
    let called = tokio::time::timeout(Duration::ZERO, lure.accept()).await;
    assert!(called.is_err(), "somebody connected");
    // Where the operator allows it, it is called: the guard is what kept us away.
    let client = connect(&given).await;
    let (call, _) = tokio::join!(
        super::bed::send_within(&client, &[], Duration::ZERO),
        async {
            let records = records(1);
            tokio::select! {
                _ = send(&client, &records) => panic!("nobody answers there"),
                called = lure.accept() => called.unwrap(),
            }
        }
    );
    assert!(call.verdicts.is_empty());
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_called() {
    let bed = bed().await;
    let mut given = bed.clear("any");
    given.config["bootstrapServers"] = json!(format!("localhost:{}", bed.proxied.port()));
    let context = Context {
        allow_plaintext: true,
        ..Context::default()
    };
    let client = connect_with(&given, &context).await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["suspend address_blocked"]);
    let issuer = Receiver::start().await;
    let mut given = with_token(&issuer, "any", bed);
    let url = format!("http://localhost:{}/token", issuer.address().port());
    given.config["authentication"]["tokenUrl"] = json!(url);
    let client = connect_with(&given, &context).await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["suspend address_blocked"]);
    assert!(issuer.requests_to("/token").is_empty());
}

#[tokio::test]
async fn what_the_message_says_is_what_mends_a_missing_right() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let given = bed.as_user("plain", "poor", &topic);
    let client = connect(&given).await;
    let refused = send(&client, &records(2)).await;
    assert_eq!(verdicts(&refused), ["suspend topic_denied"; 2]);
    let detail = refused.verdicts[0].fault().unwrap().detail.to_string();
    let (_, command) = detail
        .split_once("; run: kafka-acls --bootstrap-server <broker> ")
        .unwrap();
    let arguments: Vec<_> = command
        .split(' ')
        .map(|word| word.trim_matches('\''))
        .collect();
    bed.acls(&arguments).await;
    // The same client, as after the destination was resumed.
    let outcome = send(&client, &records(2)).await;
    assert_eq!(verdicts(&outcome), ["delivered"; 2]);
}

#[tokio::test]
async fn a_password_is_rotated_and_the_old_one_is_refused() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    bed.set_password("SCRAM-SHA-512", "rotating", PASSWORD)
        .await;
    bed.acls(&[
        "--add",
        "--allow-principal",
        "User:rotating",
        "--operation",
        "Write",
        "--topic",
        &topic,
    ])
    .await;
    let old = bed.as_user("scram_sha_512", "rotating", &topic);
    let under_way = connect(&old).await;
    assert_eq!(
        verdicts(&send(&under_way, &records(1)).await),
        ["delivered"]
    );
    bed.set_password("SCRAM-SHA-512", "rotating", "a-new-s3cret")
        .await;
    let mut new = old.clone();
    new.secrets["password"] = json!("a-new-s3cret");
    assert_eq!(outcome(&new).await, "delivered");
    assert_eq!(outcome(&old).await, "suspend authentication_rejected");
    // What is connected stays so until the broker asks again.
    assert_eq!(
        verdicts(&send(&under_way, &records(1)).await),
        ["delivered"]
    );
}

#[tokio::test]
async fn a_token_endpoint_that_does_not_help_is_named() {
    let bed = bed().await;
    let issuer = Receiver::start().await;
    let given = with_token(&issuer, "any", bed);
    let expired = json!({"access_token": token("oauth", -60), "expires_in": 300});
    let table = [
        (
            Reply::status(401).body(r#"{"error": "invalid_client"}"#),
            "suspend token_refused",
        ),
        (Reply::status(503), "retry token_unavailable"),
        (Reply::reset(), "retry token_unavailable"),
        (Reply::ok().body("hello"), "retry token_invalid"),
        (
            Reply::ok().body(expired.to_string()),
            "suspend authentication_rejected",
        ),
    ];
    for (reply, expected) in table {
        issuer.on("/token", vec![reply]);
        assert_eq!(outcome(&given).await, expected);
    }
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_when_it_is_old() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let issuer = Receiver::start().await;
    let answer = |seconds| {
        let answer = json!({"access_token": token("oauth", 300), "expires_in": seconds});
        Reply::ok().body(answer.to_string())
    };
    issuer.on("/token", vec![answer(1), answer(300)]);
    let client = connect(&with_token(&issuer, &topic, bed)).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    pushrail_testkit::wait_for("a second token", async || {
        assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
        (issuer.requests_to("/token").len() == 2).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    }
    assert_eq!(issuer.requests_to("/token").len(), 2);
}

#[test]
fn what_does_not_go_together_is_named() {
    let good = || json!({"bootstrapServers": "b.example.com:9093", "topic": "events"});
    let with = |field: &str, value: Value| {
        let mut config = good();
        config[field] = value;
        config
    };
    let oauth = |url: &str, extensions: Value| {
        with(
            "authentication",
            json!({"type": "oauthbearer", "tokenUrl": url, "clientId": "c", "extensions": extensions}),
        )
    };
    let plain = || with("authentication", json!({"type": "plain", "username": "u"}));
    let password = || json!({"password": "s3cret-word"});
    let client = || json!({"clientSecret": "s3cret-word"});
    let servers = |text: &str| with("bootstrapServers", json!(text));
    let table = [
        (good(), json!({}), None),
        (plain(), password(), None),
        (
            oauth("https://id.example.com/t", json!({"logicalCluster": "lkc"})),
            client(),
            None,
        ),
        (
            servers("a.example.com:9093, [2606:4700::1]:9094,198.41.0.4:1"),
            json!({}),
            None,
        ),
        (plain(), json!({}), Some("secrets.password")),
        (
            plain(),
            json!({"password": "a\0b"}),
            Some("secrets.password"),
        ),
        (good(), password(), Some("secrets.password")),
        (good(), client(), Some("secrets.clientSecret")),
        (
            oauth("https://id.example.com/t", json!({})),
            json!({}),
            Some("secrets.clientSecret"),
        ),
        (
            oauth("http://id.example.com/t", json!({})),
            client(),
            Some("config.authentication.tokenUrl"),
        ),
        (
            oauth("https://localhost/t", json!({})),
            client(),
            Some("config.authentication.tokenUrl"),
        ),
        (
            oauth("https://id.example.com/t", json!({"auth": "x"})),
            client(),
            Some("config.authentication.extensions"),
        ),
        (
            oauth("https://id.example.com/t", json!({"a": "x\u{1}y"})),
            client(),
            Some("config.authentication.extensions"),
        ),
        (
            with("authentication", json!({"type": "plain", "username": ""})),
            password(),
            Some("config.authentication.username"),
        ),
        (servers(""), json!({}), Some("config.bootstrapServers")),
        (
            servers("b.example.com"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("b.example.com:0"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("SASL_SSL://b.example.com:9093"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("b.example.com:9093,10.0.0.1:9093"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("0x7f.1:9093"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("localhost:9093"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("user@b.example.com:9093"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            servers("b.example.com:9093/x"),
            json!({}),
            Some("config.bootstrapServers"),
        ),
        (
            with("topic", json!("my topic")),
            json!({}),
            Some("config.topic"),
        ),
        (with("topic", json!("..")), json!({}), Some("config.topic")),
        (
            with("key", json!({"type": "payload", "path": "order.id"})),
            json!({}),
            Some("config.key.path"),
        ),
        (with("tls", json!("off")), json!({}), Some("config.tls")),
        (
            with("caCertificates", json!("no PEM at all")),
            json!({}),
            Some("config.caCertificates"),
        ),
        (
            with("clientCertificate", json!("no PEM at all")),
            json!({}),
            Some("secrets.clientKey"),
        ),
    ];
    for (config, secrets, field) in table {
        let checked = Kafka::check(
            &serde_json::from_value(config.clone()).unwrap(),
            &serde_json::from_value(secrets).unwrap(),
            &Context::default(),
        );
        let found: Vec<_> = checked.err().into_iter().flatten().collect();
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
        let names: Vec<_> = found.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(names, field.into_iter().collect::<Vec<_>>(), "{config}");
    }
    let mut off = with("tls", json!("off"));
    off["caCertificates"] = json!("-");
    let checked = Kafka::check(
        &serde_json::from_value(off).unwrap(),
        &serde_json::from_value(json!({})).unwrap(),
        &loopback(),
    );
    assert_eq!(checked.unwrap_err()[0].field, "config.caCertificates");
}
