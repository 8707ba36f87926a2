//! OAuth 2.0 client credentials against a token endpoint that counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use pushrail_sink_core::Client as _;
use pushrail_webhook::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::support::{
    SECRET, Server, client_with, record, reply, scripted, send, send_within, serve, verdict,
};

fn answered(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

/// Gives out `t-0`, `t-1`, ... that live for `seconds`.
async fn issuing(seconds: i64) -> Server {
    serve(move |seen| async move {
        let token = json!({
            "access_token": format!("t-{}", seen.nth), "token_type": "Bearer", "expires_in": seconds,
        });
        answered(200, &token.to_string())
    })
    .await
}

/// Accepts every token except those it is told to refuse, and keeps what it saw.
async fn receiver(refused: &'static [&'static str]) -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen_tokens = Arc::new(Mutex::new(Vec::new()));
    let keep = seen_tokens.clone();
    let server = serve(move |seen| {
        let token = seen.header("authorization").to_owned();
        let status = if refused.contains(&token.as_str()) {
            401
        } else {
            200
        };
        keep.lock().unwrap().push(token);
        async move { reply(status) }
    })
    .await;
    (server, seen_tokens)
}

async fn client(receiver: &Server, issuer: &str, extra: Value) -> Client {
    let mut authentication =
        json!({ "type": "oauth2", "tokenUrl": issuer, "clientId": "the client" });
    for (name, value) in extra.as_object().unwrap() {
        authentication[name] = value.clone();
    }
    let config = json!({ "url": receiver.url("/"), "authentication": authentication });
    client_with(
        config,
        json!({ "signingSecret": SECRET, "clientSecret": "s3cret/&" }),
    )
    .await
}

#[tokio::test]
async fn a_token_is_got_once_and_used_many_times() {
    let (receiver, tokens) = receiver(&[]).await;
    let issuer = issuing(3600).await;
    let client = client(&receiver, &issuer.url("/token"), json!({})).await;
    let outcomes = futures::future::join_all((0..50).map(|_| send(&client))).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| verdict(outcome) == "delivered")
    );
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(issuer.now().requests, 1, "one fetch however many wait");
    assert!(
        tokens
            .lock()
            .unwrap()
            .iter()
            .all(|token| token == "Bearer t-0")
    );
    issuer.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn the_token_endpoint_is_asked_as_the_standard_says() {
    let (receiver, _) = receiver(&[]).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = asked.clone();
    let issuer = serve(move |seen| {
        assert_eq!(
            (&seen.method, seen.path.as_str()),
            (&Method::POST, "/token?x=1")
        );
        assert_eq!(
            seen.header("content-type"),
            "application/x-www-form-urlencoded"
        );
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        keep.lock()
            .unwrap()
            .push((seen.header("authorization").to_owned(), body));
        async { answered(200, r#"{"access_token":"t","expires_in":"60"}"#) }
    })
    .await;
    for extra in [
        json!({ "scope": "a b", "audience": "https://api.example/" }),
        json!({ "clientAuthentication": "post" }),
    ] {
        let client = client(&receiver, &issuer.url("/token?x=1"), extra).await;
        assert_eq!(verdict(&send(&client).await), "delivered");
    }
    let asked = asked.lock().unwrap();
    // base64 of the form-encoded pair, "the+client:s3cret%2F%26".
    assert_eq!(asked[0].0, "Basic dGhlK2NsaWVudDpzM2NyZXQlMkYlMjY=");
    assert_eq!(
        asked[0].1,
        "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fapi.example%2F"
    );
    assert_eq!(asked[1].0, "");
    assert_eq!(
        asked[1].1,
        "grant_type=client_credentials&client_id=the+client&client_secret=s3cret%2F%26"
    );
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_before_it_is_used() {
    let (receiver, tokens) = receiver(&[]).await;
    let issuer = issuing(0).await;
    let client = client(&receiver, &issuer.url("/"), json!({})).await;
    for _ in 0..3 {
        assert_eq!(verdict(&send(&client).await), "delivered");
    }
    assert_eq!(
        *tokens.lock().unwrap(),
        ["Bearer t-0", "Bearer t-1", "Bearer t-2"]
    );
}

#[tokio::test]
async fn a_token_that_was_revoked_is_dropped_and_the_event_is_not_lost() {
    // The receiver takes t-0 once and then never again.
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let keep = tokens.clone();
    let receiver = serve(move |seen| {
        let token = seen.header("authorization").to_owned();
        let revoked = token == "Bearer t-0" && seen.nth > 0;
        keep.lock().unwrap().push(token);
        async move { reply(if revoked { 401 } else { 200 }) }
    })
    .await;
    let issuer = issuing(3600).await;
    let client = client(&receiver, &issuer.url("/"), json!({})).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(verdict(&send(&client).await), "retry oauth2_token_rejected");
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(
        *tokens.lock().unwrap(),
        ["Bearer t-0", "Bearer t-0", "Bearer t-1"]
    );
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_the_customers_to_mend() {
    let (receiver, _) = receiver(&["Bearer t-0"]).await;
    let issuer = issuing(3600).await;
    let client = client(&receiver, &issuer.url("/"), json!({})).await;
    assert_eq!(verdict(&send(&client).await), "reject http_401");
    assert_eq!(verdict(&send(&client).await), "delivered");
}

#[tokio::test]
async fn what_the_token_endpoint_says_decides() {
    let table = [
        (
            401,
            r#"{"error":"invalid_client","error_description":"s3cret"}"#,
            "suspend oauth2_refused",
        ),
        (
            400,
            r#"{"error":"invalid_scope"}"#,
            "suspend oauth2_refused",
        ),
        (404, "not here", "suspend oauth2_refused"),
        (302, "", "suspend oauth2_refused"),
        (
            400,
            r#"{"error":"temporarily_unavailable"}"#,
            "retry oauth2_unavailable",
        ),
        (429, "slow down", "retry oauth2_unavailable"),
        (503, "", "retry oauth2_unavailable"),
        (200, "<html>", "retry oauth2_invalid_response"),
        (200, r#"{"token":"t"}"#, "retry oauth2_invalid_response"),
        (
            200,
            r#"{"access_token":"t","token_type":"mac"}"#,
            "retry oauth2_invalid_response",
        ),
        (
            200,
            r#"{"access_token":"a\nb"}"#,
            "retry oauth2_invalid_response",
        ),
    ];
    for (status, body, expected) in table {
        let (receiver, _) = receiver(&[]).await;
        let issuer = serve(move |_| async move { answered(status, body) }).await;
        let client = client(&receiver, &issuer.url("/"), json!({})).await;
        let reply = client
            .send(
                &[record("{}").into()],
                Instant::now() + Duration::from_secs(10),
            )
            .await;
        assert!(!format!("{reply:?}").contains("s3cret"), "{reply:?}");
        let outcome = Client::classify(reply, 1);
        assert_eq!(verdict(&outcome), expected, "{status} {body}");
        assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
        assert_eq!(
            receiver.now().requests,
            0,
            "nothing is sent without a token"
        );
    }
}

#[tokio::test]
async fn calls_that_waited_for_a_failed_fetch_share_its_failure() {
    let (receiver, _) = receiver(&[]).await;
    let issuer = serve(|_| async { answered(503, "") }).await;
    let client = client(&receiver, &issuer.url("/"), json!({})).await;
    let outcomes = futures::future::join_all((0..50).map(|_| send(&client))).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| verdict(outcome) == "retry oauth2_unavailable")
    );
    assert_eq!(issuer.now().requests, 1);
    send(&client).await;
    assert_eq!(issuer.now().requests, 2, "but a later call asks again");
}

#[tokio::test]
async fn a_hanging_or_huge_token_endpoint_is_bounded() {
    let (receiver, _) = receiver(&[]).await;
    let hanging = scripted("").await;
    let client_hanging = client(&receiver, &hanging.url("/"), json!({})).await;
    let outcome = send_within(&client_hanging, Duration::from_millis(300)).await;
    assert_eq!(verdict(&outcome), "retry timeout");
    hanging.until(|counts| counts.open == 0).await;
    let huge = serve(|_| async { answered(200, &" ".repeat(1 << 20)) }).await;
    let client_huge = client(&receiver, &huge.url("/"), json!({})).await;
    assert_eq!(
        verdict(&send(&client_huge).await),
        "retry oauth2_invalid_response"
    );
    huge.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn the_token_endpoint_is_under_the_same_guard() {
    let context = pushrail_sink_core::Context {
        allowed_networks: vec!["127.0.0.1".into()],
        allow_plaintext: true,
    };
    let (receiver, _) = receiver(&[]).await;
    let config = json!({
        "url": receiver.url("/"),
        "authentication": { "type": "oauth2", "tokenUrl": "http://[::1]/", "clientId": "c" },
    });
    let errors = <pushrail_webhook::Webhook as pushrail_sink_core::Adapter>::check(
        &serde_json::from_value(config).unwrap(),
        &serde_json::from_value(json!({ "signingSecret": SECRET, "clientSecret": "s" })).unwrap(),
        &context,
    )
    .unwrap_err();
    assert_eq!(errors[0].field, "config.authentication.tokenUrl");
}
