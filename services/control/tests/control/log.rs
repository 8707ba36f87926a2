//! The delivery log as its readers meet it.

use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::identity;
use pushrail_store::log::{Micros, health, keep as days, write};
use pushrail_store::{Scope, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Control, Tenant, control, text};

/// An attempt that was delivered just now.
pub(crate) fn attempt<'a>(
    tenant: &'a Tenant,
    customer: &str,
    destination: &Value,
    event_type: &'a str,
) -> Attempt<'a> {
    let destination_id = text(&destination["destinationId"]).parse().unwrap();
    let (event_id, now_us) = (Uuid::now_v7(), pushrail_clock::now_us());
    Attempt {
        attempt_id: Uuid::now_v7(),
        tenant_id: &tenant.id,
        customer_id: identity::customer_id(&tenant.id, customer),
        event_id,
        event_type,
        delivery_id: Some(identity::delivery_id(event_id, destination_id)),
        destination_id: Some(destination_id),
        kind: Some("webhook"),
        attempt: 1,
        outcome: Outcome::Delivered,
        class: "delivered",
        code: None,
        status_code: Some(200),
        started_at_us: now_us,
        latency_us: 12_345,
        error: None,
        response_headers: Some("content-type: text/plain"),
        response_excerpt: Some(b"ok"),
        payload: Some(br#"{"total": 42}"#),
        payload_form: "json",
        next_attempt_at_us: None,
        first_attempt_at_us: None,
        origin: "live",
        replay_id: None,
        traceparent: None,
        received_at_us: Some(now_us),
        subject_id: None,
        sealing: None,
    }
}

/// As `pushrail log` would keep them.
pub(crate) async fn keep(control: &Control, attempts: &[Attempt<'_>]) {
    let store = Store::new(&control.database_url, 1).unwrap();
    let mut tx = store.begin(Scope::System).await.unwrap();
    let all: Vec<i64> = attempts
        .iter()
        .map(|attempt| write::accepted_at(attempt).day())
        .collect();
    days::ensure_days(&mut tx, &all).await.unwrap();
    write::attempts(&mut tx, attempts).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
}

/// Ids of the deliveries that a search shows, page by page.
async fn found(control: &Control, key: &str, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/deliveries?limit=3&{query}{cursor}");
        let page = control.get(&path, key).await.is(200);
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| text(&item["eventType"])));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_search_finds_what_it_asks_for_page_by_page_newest_first() {
    let control = control().await;
    let tenant = control.tenant("log-search").await;
    let made = control.webhook(&tenant, "c1", "https://a.example").await;
    let types: Vec<String> = (0..10).map(|n| format!("order.t{n}")).collect();
    let mut attempts = Vec::new();
    for (n, event_type) in types.iter().enumerate() {
        let mut one = attempt(&tenant, "c1", &made, event_type);
        one.received_at_us = one.received_at_us.map(|at| at + n as i64 * 1_000);
        if n % 4 == 3 {
            one.outcome = Outcome::Dead;
            one.class = "permanent";
            one.code = Some("http_410");
            one.status_code = Some(410);
            one.error = Some("The endpoint answered 410 Gone: 50% off.");
        }
        one.latency_us = 1_000 * n as i64;
        attempts.push(one);
    }
    keep(&control, &attempts).await;
    let key = &tenant.key;
    let all: Vec<_> = types.iter().rev().cloned().collect();
    assert_eq!(found(&control, key, "").await, all);
    let dead = ["order.t7", "order.t3"];
    for query in [
        "state=dead",
        "statusCode=410",
        "code=http_410",
        "class=permanent",
        "text=410%20gone",
        "text=50%25",
        "state=dead&customerExternalId=c1&eventType=order.*",
    ] {
        assert_eq!(found(&control, key, query).await, dead, "{query}");
    }
    for query in [
        "text=50_",
        "state=queued",
        "customerExternalId=c2",
        "eventType=order",
        "until=2020-01-01T00:00:00Z",
        "origin=replay",
        "latencyMsMin=10",
    ] {
        assert!(found(&control, key, query).await.is_empty(), "{query}");
    }
    assert_eq!(
        found(&control, key, "latencyMsMin=4&latencyMsMax=5").await,
        ["order.t5", "order.t4"]
    );
    let counts = control.get("/v1/deliveries/counts", key).await.is(200);
    let count = |state: &str| {
        let items = counts["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["state"] == state).unwrap();
        item["count"].as_i64().unwrap()
    };
    assert_eq!(
        (count("delivered"), count("dead"), count("queued")),
        (8, 2, 0)
    );
    // A customer has its own, and whoever is another has none of it.
    let own = control.session(&tenant, "c1").await;
    assert_eq!(found(&control, &own, "state=dead").await, dead);
    let other = control.session(&tenant, "c2").await;
    assert!(found(&control, &other, "").await.is_empty());
    let path = "/v1/deliveries?customerExternalId=c1";
    control.get(path, &other).await.is(404);
    for (query, field) in [
        ("destinationId=x", "destinationId"),
        ("state=lost", "state"),
        ("since=yesterday", "since"),
        ("statusCode=7", "statusCode"),
        ("cursor=x", "cursor"),
        ("colour=red", "colour"),
    ] {
        let answer = control.get(&format!("/v1/attempts?{query}"), key).await;
        assert_eq!(answer.status.as_u16(), 422, "{query}: {answer:?}");
        assert_eq!(answer.fields(), [field], "{query}");
    }
}

#[tokio::test]
async fn a_delivery_shows_every_attempt_and_what_was_sent() {
    let control = control().await;
    let tenant = control.tenant("log-timeline").await;
    let made = control.webhook(&tenant, "c1", "https://a.example").await;
    let first = attempt(&tenant, "c1", &made, "order.completed");
    let failed = Attempt {
        outcome: Outcome::Retrying,
        class: "transient",
        code: Some("timeout"),
        status_code: None,
        error: Some("The endpoint did not answer in time."),
        response_headers: None,
        response_excerpt: None,
        next_attempt_at_us: Some(first.started_at_us + 5_000_000),
        ..first
    };
    let second = Attempt {
        attempt_id: Uuid::now_v7(),
        attempt: 2,
        started_at_us: first.started_at_us + 5_100_000,
        ..first
    };
    keep(&control, &[failed]).await;
    let path = format!("/v1/deliveries/{}", first.delivery_id.unwrap());
    let shown = control.get(&path, &tenant.key).await.is(200);
    assert_eq!(
        (
            &shown["state"],
            &shown["attempt"],
            shown["nextAttemptAt"].is_string()
        ),
        (&json!("retrying"), &json!(1), true)
    );
    assert!(shown["attemptsMax"].as_u64().unwrap() > 1);
    keep(&control, &[second]).await;
    let shown = control.get(&path, &tenant.key).await.is(200);
    assert_eq!(
        (
            &shown["state"],
            &shown["payload"]["json"],
            shown["nextAttemptAt"].is_null()
        ),
        (&json!("delivered"), &json!({"total": 42}), true)
    );
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(
        (
            &attempts[0]["code"],
            &attempts[0]["error"],
            &attempts[1]["responseExcerpt"]
        ),
        (
            &json!("timeout"),
            &json!("The endpoint did not answer in time."),
            &json!("ok")
        )
    );
    assert_eq!(shown["customerExternalId"], "c1");
    // One delivery, however many attempts.
    assert_eq!(found(&control, &tenant.key, "").await.len(), 1);
    let path = format!("/v1/deliveries/{}", Uuid::now_v7());
    control.get(&path, &tenant.key).await.is(404);
}

#[tokio::test]
async fn a_destination_shows_how_it_is_and_that_it_is_suspended() {
    let control = control().await;
    let tenant = control.tenant("log-health").await;
    let made = control.webhook(&tenant, "c1", "https://a.example").await;
    let id: Uuid = text(&made["destinationId"]).parse().unwrap();
    let path = format!("/v1/customers/c1/destinations/{id}");
    let shown = control.get(&path, &tenant.key).await.is(200);
    assert_eq!(
        (&shown["state"], &shown["health"]["health"]),
        (&json!("active"), &json!("unknown"))
    );
    let store = Store::new(&control.database_url, 1).unwrap();
    let mut tx = store.begin(Scope::System).await.unwrap();
    let row = health::Health {
        destination_id: id,
        tenant_id: tenant.id.clone(),
        customer_id: identity::customer_id(&tenant.id, "c1"),
        health: "suspended".into(),
        since: Micros(1_700_000_000_000_000),
        reason: "It refused".into(),
        consecutive_failures: 1,
        last_success_at: None,
        last_failure_at: Some(Micros(1_700_000_000_000_000)),
        last_failure_code: Some("http_410".into()),
        last_failure: Some("The endpoint is gone for good.".into()),
    };
    health::put(&mut tx, &[&row]).await.unwrap();
    tx.commit().await.unwrap();
    let shown = control.get(&path, &tenant.key).await.is(200);
    assert_eq!(
        (
            &shown["state"],
            &shown["stateReason"],
            &shown["health"]["since"]
        ),
        (
            &json!("suspended"),
            &json!("The endpoint is gone for good."),
            &json!("2023-11-14T22:13:20.000000Z")
        )
    );
    let list = control
        .get("/v1/customers/c1/destinations", &tenant.key)
        .await
        .is(200);
    assert_eq!(list["items"][0]["health"]["lastFailureCode"], "http_410");
    // What its owner decided goes first.
    let pause = format!("{path}/pause");
    control.act(&pause, &tenant.key).await.is(200);
    let shown = control.get(&path, &tenant.key).await.is(200);
    assert_eq!(shown["state"], "paused");
    let health = control
        .get(&format!("{path}/health"), &tenant.key)
        .await
        .is(200);
    assert_eq!(health["consecutiveFailures"], 1);
    let metrics = control
        .get(&format!("{path}/metrics"), &tenant.key)
        .await
        .is(200);
    assert_eq!(
        (
            &metrics["total"]["attempts"],
            metrics["steps"].as_array().unwrap().len()
        ),
        (&json!(0), 0)
    );
}

#[tokio::test]
async fn a_watcher_sees_what_is_its_own_and_until_its_session_ends() {
    let cluster = pushrail_testkit::Cluster::private().await;
    for topic in ["config", "audit.changes", "audit.attempts"] {
        cluster.create(topic, 1, &[]).await;
    }
    let connection = pushrail_kafka::Connection::new(&cluster.bootstrap);
    let control = crate::support::on(connection, pushrail_testkit::database().await).await;
    let tenant = control.tenant("log-tail").await;
    let other = control.tenant("log-tail-other").await;
    let made = control.webhook(&tenant, "c1", "https://a.example").await;
    let body = json!({"customerExternalId": "c1"});
    let session = control
        .post("/v1/sessions", &tenant.key, body)
        .await
        .is(201);
    let token = text(&session["token"]);
    let path = "/v1/deliveries/tail";
    control.get(path, &token).await.is(406);
    let mut watched = reqwest::Client::new()
        .get(format!("{}{path}", control.url))
        .bearer_auth(&token)
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(watched.headers()["content-type"], "text/event-stream");
    let producer = cluster.producer();
    let mut seen = String::new();
    // The watcher may not be there yet when the first are written.
    while !seen.contains("order.completed") {
        for (whose, customer) in [(&other, "c1"), (&tenant, "c2"), (&tenant, "c1")] {
            let one = Attempt {
                event_type: match customer {
                    "c1" if whose.id == tenant.id => "order.completed",
                    _ => "not.yours",
                },
                ..attempt(whose, customer, &made, "")
            };
            let mut value = Vec::new();
            one.encode(1, &mut value);
            let record = pushrail_kafka::rdkafka::producer::FutureRecord::to("audit.attempts")
                .key("x")
                .payload(&value);
            let never = pushrail_kafka::rdkafka::util::Timeout::Never;
            producer.send(record, never).await.unwrap();
        }
        let chunk = watched.chunk().await.unwrap().expect("it goes on");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(seen.contains("event: attempt\ndata: {"), "{seen}");
    assert!(seen.contains(r#""customerExternalId":"c1""#), "{seen}");
    let revoke = format!("/v1/sessions/{}", text(&session["sessionId"]));
    control.delete(&revoke, &tenant.key).await.is(204);
    while let Some(chunk) = watched.chunk().await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!seen.contains("not.yours"), "{seen}");
}

#[tokio::test]
async fn an_export_has_every_attempt_in_each_format() {
    let control = control().await;
    let tenant = control.tenant("log-export").await;
    let made = control.webhook(&tenant, "c1", "https://a.example").await;
    let attempts: Vec<_> = (0..450)
        .map(|_| attempt(&tenant, "c1", &made, "order.completed"))
        .collect();
    keep(&control, &attempts).await;
    let get = async |format: &str, credential: &str| {
        let path = format!("/v1/attempts/export?eventType=order.*&format={format}");
        control.get(&path, credential).await
    };
    let lines = get("ndjson", &tenant.key).await.text;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(lines.lines().count(), 450);
    assert_eq!(
        (&first["payload"]["json"], &first["customerExternalId"]),
        (&json!({"total": 42}), &json!("c1"))
    );
    let csv = get("csv", &tenant.key).await.text;
    assert_eq!(csv.lines().count(), 451);
    assert!(csv.starts_with("received_at,started_at,"), "{csv}");
    let parquet = reqwest::Client::new()
        .get(format!("{}/v1/attempts/export?format=parquet", control.url))
        .bearer_auth(&tenant.key)
        .send()
        .await
        .unwrap();
    assert_eq!(
        parquet.headers()["content-type"],
        "application/vnd.apache.parquet"
    );
    let bytes = parquet.bytes().await.unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    // Whoever is somebody else gets a file without a line.
    let other = control.session(&tenant, "c2").await;
    assert_eq!(get("csv", &other).await.text.lines().count(), 1);
    let trail = control
        .get("/v1/audit-trail/export?format=csv", &tenant.key)
        .await;
    assert!(trail.text.contains(",destination.create,"), "{trail:?}");
}
