use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{ADMIN_KEY, control};

#[tokio::test]
async fn browsers_may_call_from_the_origins_that_their_tenant_named_and_no_others() {
    let control = control().await;
    let (acme, other) = (control.tenant("acme").await, control.tenant("other").await);
    let origins = json!({"allowedOrigins": ["https://app.example.com"]});
    control
        .patch("/v1/tenant", &acme.key, origins)
        .await
        .is(200);
    let bad = json!({"allowedOrigins": ["https://app.example.com/path"]});
    let bad = control.patch("/v1/tenant", &acme.key, bad).await;
    bad.is(422);
    assert_eq!(bad.fields(), ["allowedOrigins[0]"]);
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "GET")];
        let answer = control
            .send(Method::OPTIONS, "/v1/destinations", "", &headers, None)
            .await;
        assert_eq!(answer.status.as_u16(), 204);
        answer.headers.contains_key("access-control-allow-origin")
    };
    assert!(preflight("https://app.example.com").await);
    assert!(!preflight("https://evil.example").await);
    let allowed = async |tenant| {
        let token = control.session(tenant, "c1").await;
        let headers = [("origin", "https://app.example.com")];
        let answer = control
            .send(Method::GET, "/v1/destinations", &token, &headers, None)
            .await;
        answer.is(200);
        answer.headers.get("access-control-allow-origin").cloned()
    };
    assert_eq!(allowed(&acme).await.unwrap(), "https://app.example.com");
    assert_eq!(allowed(&other).await, None);
}

#[tokio::test]
async fn a_body_that_is_none_is_told_apart_from_one_that_is_wrong() {
    let control = control().await;
    let client = reqwest::Client::new();
    let send = async |body: &'static str, media: &'static str| {
        let request = client.post(format!("{}/v1/tenants", control.url));
        let answer = request
            .bearer_auth(ADMIN_KEY)
            .header("content-type", media)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        answer.status().as_u16()
    };
    assert_eq!(send("{", "application/json").await, 400);
    assert_eq!(send("", "application/json").await, 400);
    assert_eq!(send("{} {}", "application/json").await, 400);
    assert_eq!(send("[]", "application/json").await, 422);
    assert_eq!(send(r#"{"tenantId": 5}"#, "application/json").await, 422);
    assert_eq!(send(r#"{"tenantid": "x"}"#, "application/json").await, 422);
    assert_eq!(send("a=b", "application/x-www-form-urlencoded").await, 415);
    let garbled = control.get("/v1/tenants/%FF", ADMIN_KEY).await;
    assert_eq!(
        garbled.is(400)["type"],
        "urn:pushrail:problem:malformed-request"
    );
}

#[tokio::test]
async fn a_callers_address_is_what_trusted_proxies_say_and_nobody_else() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let table = [
        ("", "127.0.0.1"),
        ("203.0.113.7", "203.0.113.7"),
        // What the caller has made up stands before what the proxy saw.
        ("10.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 127.0.0.1", "198.51.100.1"),
        ("nonsense", "127.0.0.1"),
    ];
    for (n, (forwarded, source)) in table.into_iter().enumerate() {
        let body = json!({"externalId": format!("c{n}")});
        let headers = [("x-forwarded-for", forwarded)];
        let headers = if forwarded.is_empty() {
            &headers[..0]
        } else {
            &headers
        };
        let made = control.send(
            Method::POST,
            "/v1/customers",
            &acme.key,
            headers,
            Some(&body),
        );
        made.await.is(201);
        let trail = control
            .get("/v1/audit-trail?limit=1", &acme.key)
            .await
            .is(200);
        assert_eq!(trail["items"][0]["source"], source, "{forwarded}");
    }
    control
        .post("/v1/customers", &acme.key, json!({"externalId": ".."}))
        .await
        .is(422);
}

#[tokio::test]
async fn a_connection_outlives_a_request_that_is_refused_before_its_body_came() {
    let control = control().await;
    let authority = control.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(authority).await.unwrap();
    let body = json!({"customerExternalId": "c1", "name": "x".repeat(50_000)}).to_string();
    for _ in 0..3 {
        let head = format!(
            "POST /v1/customers HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer nobody's\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        connection.write_all(body.as_bytes()).await.unwrap();
        let mut answer = vec![0; 8_192];
        let len = connection.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..len]);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}
