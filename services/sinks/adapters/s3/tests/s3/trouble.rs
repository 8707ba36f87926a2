//! Stores that refuse, throttle, hang, flood or are not there.

use std::time::Duration;

use pushrail_s3::S3;
use pushrail_sink_core::{Adapter as _, Context, Outcome, Verdict};
use pushrail_testkit::{Moto, Receiver, Reply, moto};
use serde_json::json;
use tokio::time::Instant;

use super::support::{SECRET, batch, bucket, client, config, connect, send, send_within, verdict};

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Reply::status(status)
        .header("content-type", "application/xml")
        .body(body)
}

async fn answered(reply: Reply) -> Outcome {
    let store = Receiver::start().await;
    store.on("*", [reply]);
    let client = client("bucket", &store.url(""), json!({})).await;
    let outcome = send(&client, &batch(2)).await;
    assert_eq!(store.requests().len(), 1, "one call: no retry");
    outcome
}

fn detail(outcome: &Outcome) -> &str {
    &outcome.verdicts[0].fault().unwrap().detail
}

#[tokio::test]
async fn a_bucket_that_is_not_there_suspends() {
    let moto = moto().await;
    let client = client("no-such-bucket-here", &moto.url(), json!({})).await;
    let outcome = send(&client, &batch(2)).await;
    assert_eq!(verdict(&outcome), "suspend no_such_bucket");
    assert_eq!(outcome.evidence.status_code, Some(404));
}

#[tokio::test]
async fn a_throttle_is_retried_when_it_says() {
    let outcome =
        answered(error(503, "SlowDown", "Reduce your request rate").header("retry-after", "7"))
            .await;
    assert_eq!(verdict(&outcome), "retry throttled");
    let seven = Some(Duration::from_secs(7));
    assert!(matches!(outcome.verdicts[0], Verdict::Retry { after, .. } if after == seven));
    assert_eq!(
        verdict(&answered(error(500, "InternalError", "oops")).await),
        "retry unavailable"
    );
    let page = Reply::status(502).body("<html>bad gateway</html>");
    assert_eq!(verdict(&answered(page).await), "retry unavailable");
}

#[tokio::test]
async fn a_denial_says_what_to_paste() {
    let outcome = answered(error(403, "AccessDenied", "no")).await;
    assert_eq!(verdict(&outcome), "suspend access_denied");
    let policy = r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"}"#;
    assert!(detail(&outcome).ends_with(policy), "{}", detail(&outcome));
}

#[tokio::test]
async fn no_credential_that_a_store_sends_back_is_kept() {
    let message = format!("you signed with {SECRET}, did you?");
    let outcome = answered(error(403, "SignatureDoesNotMatch", &message)).await;
    assert_eq!(verdict(&outcome), "suspend credentials_rejected");
    assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
    assert!(detail(&outcome).contains("***"), "{}", detail(&outcome));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Receiver::start().await;
    for status in [301, 302, 307, 308] {
        let outcome =
            answered(Reply::status(status).header("location", &elsewhere.url("/x"))).await;
        assert_ne!(verdict(&outcome), "delivered");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_store_that_hangs_drips_or_resets_is_cut() {
    for reply in [Reply::hang(), Reply::drip(Duration::from_millis(20))] {
        let store = Receiver::start().await;
        store.on("*", [reply]);
        let client = client("bucket", &store.url(""), json!({})).await;
        let (started, limit) = (Instant::now(), Duration::from_millis(300));
        let outcome = send_within(&client, &batch(1), limit).await;
        assert_eq!(verdict(&outcome), "retry timeout");
        assert!(started.elapsed() < limit * 10, "{:?}", started.elapsed());
    }
    assert_eq!(
        verdict(&answered(Reply::reset()).await),
        "retry connection_lost"
    );
}

#[tokio::test]
async fn a_huge_answer_is_read_to_its_cap() {
    // The head says that the object is written.
    let outcome = answered(Reply::huge(1 << 40)).await;
    assert_eq!(verdict(&outcome), "delivered");
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_client_as_it_was() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let client = client(&bucket, &moto.url(), json!({})).await;
    let events = batch(1);
    {
        use pushrail_sink_core::Client as _;
        let call = client.send(&events, Instant::now() + Duration::from_secs(60));
        let mut call = std::pin::pin!(call);
        // A few steps on its way, and dropped.
        for _ in 0..3 {
            let step = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())
            });
            assert!(!step.await);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(verdict(&send(&client, &events).await), "delivered");
}

#[tokio::test]
async fn a_store_that_comes_back_is_found_again() {
    let mut moto = Moto::private(None).await;
    let name = bucket(&moto).await;
    let client = client(&name, &moto.url(), json!({})).await;
    assert_eq!(verdict(&send(&client, &batch(1)).await), "delivered");
    moto.server().kill().await;
    assert_eq!(
        verdict(&send(&client, &batch(1)).await),
        "retry connection_refused"
    );
    moto.server().restart().await.unwrap();
    moto.boto3(&format!(r#"client("s3").create_bucket(Bucket="{name}")"#))
        .await;
    assert_eq!(verdict(&send(&client, &batch(1)).await), "delivered");
}

#[tokio::test]
async fn what_must_not_be_called_is_not_even_connected_to() {
    let store = Receiver::start().await;
    let port = store.address().port();
    let nothing = Context {
        allowed_networks: vec![],
        allow_plaintext: true,
    };
    let literal = config("bucket", &store.url(""), json!({}));
    let secrets = json!({"secretAccessKey": SECRET});
    let errors = S3::check(
        &serde_json::from_value(literal).unwrap(),
        &serde_json::from_value(secrets.clone()).unwrap(),
        &nothing,
    )
    .unwrap_err();
    assert_eq!(errors[0].field, "config.endpoint");
    // A name is judged when it is resolved.
    let named = config("bucket", &format!("http://localhost:{port}"), json!({}));
    let client = connect(&S3::new(&nothing), named, secrets).await;
    assert_eq!(
        verdict(&send(&client, &batch(1)).await),
        "suspend address_blocked"
    );
    assert!(store.requests().is_empty());
}
