use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;

async fn call(
    router: &Router,
    method: &str,
    path: &str,
    id: &str,
    body: &str,
) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("webhook-id", id);
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(start_paused = true)]
async fn each_path_behaves_as_it_says() {
    let router = router();
    for (path, expected) in [
        ("/", 200),
        ("/ok", 200),
        ("/fail/503", 503),
        ("/fail/410", 410),
        ("/anything", 200),
    ] {
        assert_eq!(
            call(&router, "POST", path, "a", "{}").await.0.as_u16(),
            expected,
            "{path}"
        );
    }
    for wrong in [
        "/fail",
        "/fail/99",
        "/fail/abc",
        "/flaky/x",
        "/slow/5",
        "/slow/",
    ] {
        let (status, text) = call(&router, "POST", wrong, "a", "").await;
        assert!(
            status == StatusCode::NOT_FOUND && text.starts_with("use /"),
            "{wrong}: {text}"
        );
    }
    let from = Instant::now();
    assert_eq!(
        call(&router, "POST", "/slow/2s", "a", "").await.0,
        StatusCode::OK
    );
    assert_eq!(from.elapsed().as_secs(), 2);
    let hanging = tokio::time::timeout(
        std::time::Duration::from_secs(3600),
        call(&router, "POST", "/hang", "a", ""),
    );
    assert!(hanging.await.is_err());
}

#[tokio::test]
async fn a_flaky_path_counts_each_message_apart() {
    let router = router();
    for (id, expected) in [
        ("a", 503),
        ("a", 503),
        ("b", 503),
        ("a", 200),
        ("b", 503),
        ("b", 200),
        ("a", 200),
    ] {
        assert_eq!(
            call(&router, "POST", "/flaky/2", id, "").await.0.as_u16(),
            expected,
            "{id}"
        );
    }
}

#[tokio::test]
async fn what_was_received_is_shown_newest_first_and_never_grows_without_bound() {
    let router = router();
    for n in 0..150 {
        call(
            &router,
            "POST",
            "/ok?q=1",
            &format!("m{n}"),
            &json!({ "n": n }).to_string(),
        )
        .await;
    }
    call(&router, "POST", "/fail/500", "last", "not JSON").await;
    let (_, text) = call(&router, "GET", "/", "", "").await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["total"], 151);
    assert_eq!(shown["last"].as_array().unwrap().len(), 100);
    assert_eq!(shown["last"][0]["body"], "not JSON");
    assert_eq!(shown["last"][0]["status"], 500);
    assert_eq!(shown["last"][1]["body"]["n"], 149);
    assert_eq!(shown["last"][1]["path"], "/ok?q=1");
    assert_eq!(shown["last"][1]["headers"]["webhook-id"], "m149");
    call(&router, "DELETE", "/", "", "").await;
    let (_, text) = call(&router, "GET", "/", "", "").await;
    assert!(text.contains("\"total\": 0"), "{text}");
}
