use http::Method;
use serde_json::json;

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
}
