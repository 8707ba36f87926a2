//! What arrives at a receiver.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;
use standardwebhooks::Webhook as Verifier;

use super::support::{SECRET, Seen, Server, TRACE, client_with, reply, send, serve, verdict};

const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A receiver that keeps the last request.
async fn keeping() -> (Server, Arc<Mutex<Option<Seen>>>) {
    let last = Arc::new(Mutex::new(None));
    let keep = last.clone();
    let server = serve(move |seen| {
        *keep.lock().unwrap() = Some(seen);
        async { reply(200) }
    })
    .await;
    (server, last)
}

#[tokio::test]
async fn one_event_is_one_post_that_a_stock_library_verifies() {
    let (server, last) = keeping().await;
    let config = json!({ "url": server.url("/hook?a=1"), "headers": { "X-Team": "blue" } });
    let secrets = json!({ "signingSecret": SECRET, "headers": { "X-Api-Key": "k-1" } });
    let client = client_with(config, secrets).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    let seen = last.lock().unwrap().take().unwrap();
    assert_eq!(
        (seen.method.clone(), seen.path.as_str()),
        (Method::POST, "/hook?a=1")
    );
    assert_eq!(seen.header("host"), server.address.to_string());
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("content-length"), seen.body.len().to_string());
    assert_eq!(
        seen.header("user-agent"),
        concat!("Pushrail/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(seen.header("traceparent"), TRACE);
    assert_eq!(seen.header("x-team"), "blue");
    assert_eq!(seen.header("x-api-key"), "k-1");
    assert_eq!(
        seen.header("webhook-id"),
        "01900000-0000-7000-8000-000000000001"
    );
    Verifier::new(SECRET)
        .unwrap()
        .verify(&seen.body, &seen.headers)
        .unwrap();
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "content-length",
        "content-type",
        "host",
        "traceparent",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-api-key",
        "x-pushrail-signature",
        "x-pushrail-timestamp",
        "x-team",
    ];
    assert_eq!(
        names, expected,
        "nothing that tells the tenant or the attempt"
    );
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body["eventType"], "order.completed");
    assert_eq!(body["occurredAt"], "2026-01-02T03:04:05.123456Z");
}

#[tokio::test]
async fn the_plain_signature_covers_timestamp_and_body() {
    let (server, last) = keeping().await;
    let client = client_with(
        json!({ "url": server.url("/") }),
        json!({ "signingSecret": SECRET }),
    )
    .await;
    send(&client).await;
    let seen = last.lock().unwrap().take().unwrap();
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [
        seen.header("x-pushrail-timestamp").as_bytes(),
        b".",
        &seen.body,
    ]
    .concat();
    let expected: String = hmac::sign(&key, &signed)
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(seen.header("x-pushrail-signature"), expected);
    assert_eq!(
        seen.header("x-pushrail-timestamp"),
        seen.header("webhook-timestamp")
    );
}

#[tokio::test]
async fn during_a_rotation_receivers_with_either_secret_accept() {
    let (server, last) = keeping().await;
    let secrets = json!({ "signingSecret": NEW, "previousSigningSecrets": [SECRET] });
    let client = client_with(json!({ "url": server.url("/") }), secrets).await;
    send(&client).await;
    let seen = last.lock().unwrap().take().unwrap();
    for known in [NEW, SECRET] {
        Verifier::new(known)
            .unwrap()
            .verify(&seen.body, &seen.headers)
            .unwrap();
    }
    let stranger = format!("whsec_{}", STANDARD.encode([7u8; 32]));
    assert!(
        Verifier::new(&stranger)
            .unwrap()
            .verify(&seen.body, &seen.headers)
            .is_err()
    );
    let plain: Vec<_> = seen.header("x-pushrail-signature").split(',').collect();
    assert_eq!(
        plain.iter().map(|hex| hex.len()).collect::<Vec<_>>(),
        [64, 64]
    );
}

#[tokio::test]
async fn basic_and_bearer_credentials_arrive() {
    let (server, last) = keeping().await;
    let table = [
        (
            json!({ "type": "basic", "username": "ann" }),
            json!({ "signingSecret": SECRET, "password": "pässword" }),
            format!("Basic {}", STANDARD.encode("ann:pässword")),
        ),
        (
            json!({ "type": "bearer" }),
            json!({ "signingSecret": SECRET, "bearerToken": "t-1" }),
            "Bearer t-1".to_owned(),
        ),
    ];
    for (authentication, secrets, expected) in table {
        let config = json!({ "url": server.url("/"), "authentication": authentication });
        let client = client_with(config, secrets).await;
        assert_eq!(verdict(&send(&client).await), "delivered");
        let seen = last.lock().unwrap().take().unwrap();
        assert_eq!(seen.header("authorization"), expected);
    }
}
