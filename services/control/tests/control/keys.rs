use http::Method;
use serde_json::json;

use crate::support::{ADMIN_KEY, control, text};

#[tokio::test]
async fn a_key_is_shown_once_and_counts_until_it_is_revoked() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control
        .post("/v1/api-keys", &acme.key, json!({"name": "ci"}))
        .await
        .is(201);
    let key = text(&made["key"]);
    control.get("/v1/customers", &key).await.is(200);
    let listed = control.get("/v1/api-keys", &acme.key).await;
    assert!(
        !listed.text.contains(&key) && !listed.text.contains(&acme.key),
        "{listed:?}"
    );
    let path = format!("/v1/api-keys/{}", text(&made["keyId"]));
    control.delete(&path, &acme.key).await.is(204);
    control.get("/v1/customers", &key).await.is(401);
    let listed = control.get("/v1/api-keys", &acme.key).await.is(200);
    assert!(listed["items"][1]["revokedAt"].is_string(), "{listed}");
    // The operator can help a tenant that has lost its keys.
    let made = control
        .post("/v1/tenants/acme/api-keys", ADMIN_KEY, json!({}))
        .await
        .is(201);
    control
        .get("/v1/customers", &text(&made["key"]))
        .await
        .is(200);
}

#[tokio::test]
async fn a_session_ends_when_it_is_revoked_and_when_its_time_is_over() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let open = async |ttl: i32| {
        let body = json!({"customerExternalId": "c1", "ttlSeconds": ttl});
        control.post("/v1/sessions", &acme.key, body).await.is(201)
    };
    let (one, two, short) = (open(60).await, open(60).await, open(1).await);
    let token = |session: &serde_json::Value| text(&session["token"]);
    let works = async |token: &str| control.get("/v1/destinations", token).await.status.as_u16();
    assert_eq!(works(&token(&one)).await, 200);
    let path = format!("/v1/sessions/{}", text(&one["sessionId"]));
    control.delete(&path, &acme.key).await.is(204);
    assert_eq!(works(&token(&one)).await, 401);
    assert_eq!(works(&token(&two)).await, 200);
    control
        .delete("/v1/customers/c1/sessions", &acme.key)
        .await
        .is(204);
    assert_eq!(works(&token(&two)).await, 401);
    pushrail_testkit::wait_for("a session of a second is over", async || {
        (works(&token(&short)).await == 401).then_some(())
    })
    .await;
    for ttl in [0, -1, 86_401] {
        let body = json!({"customerExternalId": "c1", "ttlSeconds": ttl});
        let answer = control.post("/v1/sessions", &acme.key, body).await;
        answer.is(422);
        assert_eq!(answer.fields(), ["ttlSeconds"]);
    }
}

#[tokio::test]
async fn a_repeat_with_an_idempotency_key_gets_the_same_answer_and_does_nothing() {
    let control = control().await;
    let (acme, other) = (control.tenant("acme").await, control.tenant("other").await);
    let body = json!({"name": "ci"});
    let send = async |key: &str, credential: &str, body: &serde_json::Value| {
        let headers = [("idempotency-key", key)];
        control
            .send(
                Method::POST,
                "/v1/api-keys",
                credential,
                &headers,
                Some(body),
            )
            .await
    };
    let first = send("k1", &acme.key, &body).await;
    let again = send("k1", &acme.key, &body).await;
    assert_eq!(first.is(201), again.is(201));
    let listed = control.get("/v1/api-keys", &acme.key).await.is(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let reused = send("k1", &acme.key, &json!({"name": "another"})).await;
    assert_eq!(
        reused.is(422)["type"],
        "urn:pushrail:problem:idempotency-key-reused"
    );
    // Another tenant's keys are its own.
    let theirs = send("k1", &other.key, &body).await;
    assert_ne!(theirs.is(201)["key"], first.json()["key"]);
    // At the same time too.
    let (one, two) = tokio::join!(send("k2", &acme.key, &body), send("k2", &acme.key, &body));
    assert_eq!(one.is(201), two.is(201));
    // What failed may be tried again with the same key.
    send("k3", &acme.key, &json!({"name": 5})).await.is(422);
    send("k3", &acme.key, &body).await.is(201);
}
