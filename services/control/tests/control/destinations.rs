use pushrail_testkit::{Receiver, Reply};
use serde_json::json;

use crate::support::{control, text};

#[tokio::test]
async fn every_mistake_names_its_field_and_changes_nothing() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let table = [
        (json!({}), "kind"),
        (
            json!({"kind": "webhok", "config": {"url": "https://example.com"}}),
            "kind",
        ),
        (json!({"kind": "webhook"}), "config"),
        (
            json!({"kind": "webhook", "config": {"uri": "https://example.com"}}),
            "config.uri",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "ftp://example.com"}}),
            "config.url",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://10.0.0.1/"}}),
            "config.url",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "secrets": {"signingSecret": "s3cret-to-be-hidden"}}),
            "secrets.signingSecret",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "eventTypes": ["*.order"]}),
            "eventTypes[0]",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "filter": {"path": "payload.a", "op": "like", "value": 1}}),
            "filter",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "retry": {"maxAttempts": 0}}),
            "retry.maxAttempts",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "tenantId": "other"}),
            "tenantId",
        ),
        (
            json!({"kind": "webhook", "config": {"url": "https://example.com"}, "colour": "red"}),
            "colour",
        ),
    ];
    for (body, field) in table {
        let path = "/v1/customers/c1/destinations";
        let answer = control.post(path, &acme.key, body.clone()).await;
        answer.is(422);
        let fields = answer.fields();
        assert!(
            fields.iter().any(|named| named.starts_with(field)),
            "{body}: {answer:?}"
        );
        assert!(!answer.text.contains("s3cret-to-be-hidden"), "{answer:?}");
    }
    control.get("/v1/customers/c1", &acme.key).await.is(404);
    let trail = control.get("/v1/audit-trail", &acme.key).await.is(200);
    let actions: Vec<_> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["action"]))
        .collect();
    assert_eq!(actions, ["api_key.create", "tenant.create"]);
}

#[tokio::test]
async fn a_revision_is_changed_once() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://example.com/a").await;
    let path = format!(
        "/v1/customers/c1/destinations/{}",
        text(&made["destinationId"])
    );
    let seen = control.get(&path, &acme.key).await.etag();
    let change = |url: &str| json!({"config": {"url": url}});
    let send = |etag: String, body| {
        let (control, path, key) = (&control, &path, &acme.key);
        async move {
            let headers = [("if-match", etag.as_str())];
            control
                .send(http::Method::PATCH, path, key, &headers, Some(&body))
                .await
        }
    };
    let first = send(seen.clone(), change("https://example.com/b")).await;
    assert_eq!(first.is(200)["version"], 2);
    let second = send(seen, change("https://example.com/c")).await;
    assert_eq!(second.is(412)["type"], "urn:pushrail:problem:changed-since");
    let third = send(first.etag(), change("https://example.com/c")).await;
    assert_eq!(third.is(200)["version"], 3);
    let nonsense = send("3".into(), change("https://example.com/d")).await;
    nonsense.is(422);
    assert_eq!(nonsense.fields(), ["If-Match"]);
}

#[tokio::test]
async fn a_list_is_paged_without_gaps_or_repeats() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let mut made = Vec::new();
    for n in 0..7 {
        let destination = control
            .webhook(&acme, "c1", &format!("https://example.com/{n}"))
            .await;
        made.push(text(&destination["destinationId"]));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/customers/c1/destinations?limit=3{cursor}");
        let page = control.get(&path, &acme.key).await.is(200);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| text(&item["destinationId"])));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    for bad in [
        "limit=0",
        "limit=x",
        "limit=501",
        "cursor=x",
        "colour=red",
        "limit=1&limit=2",
    ] {
        let path = format!("/v1/customers/c1/destinations?{bad}");
        let answer = control.get(&path, &acme.key).await;
        answer.is(422);
        assert_eq!(answer.fields(), [bad.split('=').next().unwrap()], "{bad}");
    }
}

#[tokio::test]
async fn a_test_event_is_sent_at_once_and_answered_with_what_came_of_it() {
    let receiver = Receiver::start().await;
    receiver.on("/hook", [Reply::ok(), Reply::status(410)]);
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", &receiver.url("/hook")).await;
    let path = format!(
        "/v1/customers/c1/destinations/{}",
        text(&made["destinationId"])
    );
    let good = control
        .act(&format!("{path}/test"), &acme.key)
        .await
        .is(200);
    assert_eq!(good["delivered"], true, "{good}");
    assert_eq!(good["statusCode"], 200);
    control
        .act(&format!("{path}/disable"), &acme.key)
        .await
        .is(400);
    control
        .post(&format!("{path}/disable"), &acme.key, json!({}))
        .await
        .is(200);
    let draft = json!({"eventType": "order.completed", "payload": {"total": 1}});
    let bad = control
        .post(&format!("{path}/test"), &acme.key, draft)
        .await
        .is(200);
    assert_eq!(bad["delivered"], false, "{bad}");
    assert_eq!(bad["class"], "suspended");
    assert_eq!(bad["statusCode"], 410);
    let received = receiver.requests();
    assert_eq!(received.len(), 2);
    let body: serde_json::Value = serde_json::from_slice(&received[1].body).unwrap();
    assert_eq!(body["eventType"], "order.completed");
    assert_eq!(body["payload"], json!({"total": 1}));
}

#[tokio::test]
async fn what_no_column_can_hold_is_the_callers_to_mend() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    // {"at":"2026-01-01T00:00:00Z","id":"no uuid"}
    let cursor = "eyJhdCI6IjIwMjYtMDEtMDFUMDA6MDA6MDBaIiwiaWQiOiJubyB1dWlkIn0";
    control
        .get(&format!("/v1/customers?cursor={cursor}"), &acme.key)
        .await
        .is(422);
    let nul = json!({"name": "a.b", "schema": {"title": "a\u{0}b"}});
    let kept = control.post("/v1/event-types", &acme.key, nul).await;
    assert!(kept.status.as_u16() < 500, "{kept:?}");
    let odd =
        "/v1/audit-trail?since=0091-06-30T09%3A34%3A43-22%3A43&until=2999-12-31T00%3A00%3A00Z";
    control.get(odd, &acme.key).await.is(200);
    control
        .get(
            "/v1/audit-trail?since=-000001-01-01T00%3A00%3A00Z",
            &acme.key,
        )
        .await
        .is(422);
}
