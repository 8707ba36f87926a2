use pushrail_kafka::Connection;
use pushrail_schemas::event::Parts;
use pushrail_schemas::identity;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::{Control, Tenant, control, on, text};

struct Letter<'a> {
    kind: &'a str,
    place: (i32, i64),
    code: &'a str,
    delivery_id: Uuid,
}

/// What `pushrail log` would know of a dead letter.
async fn index(control: &Control, tenant: &Tenant, destination: &Value, letter: Letter<'_>) {
    let mut database = PgConnection::connect(&control.database_url).await.unwrap();
    sqlx::query(
        "INSERT INTO dead_letters (kind, partition, \"offset\", tenant_id, customer_id, destination_id, delivery_id, event_id,
             event_type, received_at, dead_at, attempts, reason, code, detail, value_len)
         VALUES ($1, $2, $3, $4, $5, $6::uuid, $7, gen_random_uuid(), 'order.completed', now(), now(), 1, 'permanent', $8, 'no', 1)",
    )
    .bind(letter.kind)
    .bind(letter.place.0)
    .bind(letter.place.1)
    .bind(&tenant.id)
    .bind(identity::customer_id(&tenant.id, "c1"))
    .bind(text(&destination["destinationId"]))
    .bind(letter.delivery_id)
    .bind(letter.code)
    .execute(&mut database)
    .await
    .unwrap();
}

fn below(destination: &Value, rest: &str) -> String {
    let id = text(&destination["destinationId"]);
    format!("/v1/customers/c1/destinations/{id}/{rest}")
}

#[tokio::test]
async fn a_replay_is_estimated_started_stopped_and_on_the_trail() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    for (offset, code) in [(1, "http_404"), (2, "http_404"), (3, "http_500")] {
        let letter = Letter {
            kind: "webhook",
            place: (0, offset),
            code,
            delivery_id: Uuid::now_v7(),
        };
        index(&control, &acme, &made, letter).await;
    }
    let replays = below(&made, "replays");
    let draft =
        json!({"source": "deadLetters", "filter": {"codes": ["http_404"]}, "ratePerSecond": 7});
    let replay = control.post(&replays, &acme.key, draft).await.is(201);
    assert_eq!(replay["state"], "estimated");
    assert_eq!(
        (&replay["estimate"], &replay["estimateKind"]),
        (&json!(2), &json!("exact"))
    );
    assert_eq!(
        (&replay["ratePerSecond"], &replay["percent"]),
        (&json!(7), &json!(0.0))
    );
    let path = format!("{replays}/{}", text(&replay["replayId"]));
    // The customer's own session reaches it too.
    let session = control.session(&acme, "c1").await;
    let own = path.replace("/v1/customers/c1/", "/v1/");
    for (action, state) in [
        ("start", "running"),
        ("start", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
    ] {
        let answer = control.act(&format!("{own}/{action}"), &session).await;
        assert_eq!(answer.is(200)["state"], state, "{action}");
    }
    let late = control.act(&format!("{path}/start"), &acme.key).await;
    assert_eq!(late.is(409)["type"], "urn:pushrail:problem:replay-state");
    let shown = control.get(&path, &acme.key).await.is(200);
    assert_eq!(shown["createdBy"], "api_key");
    let listed = control.get(&replays, &acme.key).await.is(200);
    assert_eq!(listed["items"], json!([shown]));
    // A window is estimated by whoever reads events; it is started by then or before.
    let draft = json!({"source": "events", "filter": {"since": "2026-01-01T00:00:00+01:00", "only": ["missing"]}});
    let window = control.post(&replays, &acme.key, draft).await.is(201);
    assert_eq!(
        (&window["state"], &window["estimate"]),
        (&json!("estimating"), &Value::Null)
    );
    assert_eq!(window["filter"]["since"], "2025-12-31T23:00:00Z");
    assert!(
        window["filter"]["until"].is_string(),
        "what comes later is live"
    );
    let start = format!("{replays}/{}/start", text(&window["replayId"]));
    assert_eq!(
        control.act(&start, &acme.key).await.is(200)["state"],
        "estimating"
    );
    let discarded = control
        .post(
            &below(&made, "dead-letters/discard"),
            &acme.key,
            json!({"filter": {"codes": ["http_500"]}}),
        )
        .await;
    assert_eq!(discarded.is(200)["discarded"], 1);
    let trail = control
        .get("/v1/audit-trail?limit=20", &acme.key)
        .await
        .is(200);
    let actions: Vec<_> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| text(&row["action"]))
        .collect();
    let ours: Vec<_> = actions
        .iter()
        .map(String::as_str)
        .filter(|a| a.starts_with("replay") || a.starts_with("dead"))
        .collect();
    assert_eq!(
        ours,
        [
            "replay.create",
            "replay.start",
            "replay.pause",
            "replay.resume",
            "replay.cancel",
            "replay.create",
            "replay.start",
            "dead_letters.discard"
        ]
    );
}

#[tokio::test]
async fn what_can_not_be_replayed_is_refused_with_its_reason() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let replays = below(&made, "replays");
    for (draft, fields) in [
        (json!({"source": "events"}), vec!["filter.since"]),
        (
            json!({"source": "events", "filter": {"since": "yesterday"}}),
            vec!["filter.since"],
        ),
        (
            json!({"source": "events", "filter": {"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}}),
            vec!["filter.until"],
        ),
        (
            json!({"source": "events", "filter": {"since": "2026-01-02T00:00:00Z", "codes": ["x"], "only": ["lost"]}}),
            vec!["filter.codes", "filter.only"],
        ),
        (
            json!({"source": "deadLetters", "filter": {"only": ["dead"]}}),
            vec!["filter.only"],
        ),
        (
            json!({"source": "deadLetters", "ratePerSecond": 0}),
            vec!["ratePerSecond"],
        ),
        (json!({"source": "delivery"}), vec!["filter.deliveryIds"]),
        (
            json!({"source": "delivery", "filter": {"deliveryIds": [Uuid::now_v7()]}}),
            vec!["filter.deliveryIds"],
        ),
        (json!({"source": "moon"}), vec!["source"]),
        (
            json!({"source": "events", "filter": {"form": 1}}),
            vec!["filter.form"],
        ),
    ] {
        let answer = control.post(&replays, &acme.key, draft.clone()).await;
        answer.is(422);
        assert_eq!(answer.fields(), fields, "{draft}");
    }
    let all = json!({"source": "deadLetters"});
    let replay = control.post(&replays, &acme.key, all.clone()).await.is(201);
    let path = below(&made, "disable");
    control.post(&path, &acme.key, json!({})).await.is(200);
    let start = format!("{replays}/{}/start", text(&replay["replayId"]));
    for answer in [
        control.act(&start, &acme.key).await,
        control
            .post(
                &replays,
                &acme.key,
                json!({"source": "deadLetters", "start": true}),
            )
            .await,
    ] {
        assert_eq!(
            answer.is(409)["type"],
            "urn:pushrail:problem:destination-disabled"
        );
    }
    // What is paused is owed.
    control.act(&below(&made, "pause"), &acme.key).await.is(200);
    control.act(&start, &acme.key).await.is(200);
    for _ in 1..20 {
        control.post(&replays, &acme.key, all.clone()).await.is(201);
    }
    let answer = control.post(&replays, &acme.key, all).await;
    assert_eq!(
        answer.is(409)["type"],
        "urn:pushrail:problem:too-many-replays"
    );
}

#[tokio::test]
async fn one_delivery_is_taken_from_its_dead_letter_or_from_its_event() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let (dead, done, event) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let letter = Letter {
        kind: "webhook",
        place: (0, 1),
        code: "http_404",
        delivery_id: dead,
    };
    index(&control, &acme, &made, letter).await;
    let mut database = PgConnection::connect(&control.database_url).await.unwrap();
    for statement in [
        "SELECT set_config('pushrail.scope', 'system', false)",
        "SELECT log_ensure_day('2026-03-01')",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO attempts (received_at, started_at, customer_id, event_id, delivery_id, destination_id, attempt_id, latency_us,
             attempt, latest, tenant_id, event_type, outcome, class, origin, payload_form)
         VALUES ('2026-03-01T10:00:00.123456Z', now(), $1, $2, $3, $4::uuid, gen_random_uuid(), 1, 1, true, 'acme', 'a.b',
             'delivered', '', 'live', 'omitted')",
    )
    .bind(identity::customer_id("acme", "c1"))
    .bind(event)
    .bind(done)
    .bind(text(&made["destinationId"]))
    .execute(&mut database)
    .await
    .unwrap();
    let replay = async |id: Uuid| {
        let draft = json!({"source": "delivery", "filter": {"deliveryIds": [id]}, "start": true});
        let answer = control
            .post(&below(&made, "replays"), &acme.key, draft)
            .await;
        answer.is(201)
    };
    let of_letter = replay(dead).await;
    assert_eq!(
        (&of_letter["state"], &of_letter["estimate"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(of_letter["filter"], json!({"deliveryIds": [dead]}));
    let of_event = replay(done).await;
    assert_eq!(
        (&of_event["state"], &of_event["estimate"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(
        of_event["filter"],
        json!({
            "since": "2026-03-01T10:00:00.123456Z", "until": "2026-03-01T10:00:00.124456Z",
            "eventIds": [event], "deliveryIds": [done],
        })
    );
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_bytes_unless_payloads_are_not_shown() {
    let cluster = pushrail_testkit::cluster().await;
    let control = on(
        Connection::new(&cluster.bootstrap),
        pushrail_testkit::database().await,
    )
    .await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    // Whatever kind the index says: the topic follows from it.
    let kind = cluster.unique("kind");
    let topic = format!("dlq.{kind}");
    cluster.create(&topic, 1, &[]).await;
    let delivery_id = Uuid::now_v7();
    let mut value = Vec::new();
    Parts {
        event_id: Uuid::now_v7(),
        event_type: "order.completed",
        occurred_at_us: 1,
        customer_external_id: "c1",
        idempotency_key: None,
        source: None,
        payload: br#"{ "total":  42.0 }"#,
        metadata: br#"{"a":"b"}"#,
        received_at_us: 1,
        subject_id: None,
        sealing: None,
    }
    .encode(1, &mut value);
    let headers = pushrail_testkit::headers(&[
        ("delivery_id", &delivery_id.to_string()),
        ("tenant_id", "acme"),
        ("failure_code", "http_404"),
    ]);
    let place = cluster.produce(&topic, "k", &value, headers).await;
    let letter = |place| Letter {
        kind: &kind,
        place,
        code: "http_404",
        delivery_id,
    };
    index(&control, &acme, &made, letter(place)).await;
    let path = below(&made, &format!("dead-letters/{}-{}", place.0, place.1));
    let answer = control.get(&path, &acme.key).await;
    let shown = answer.is(200);
    assert!(
        answer.text.contains(r#""payload":{ "total":  42.0 }"#),
        "{}",
        answer.text
    );
    assert_eq!(
        shown["headers"],
        json!({"delivery_id": delivery_id, "failure_code": "http_404"})
    );
    assert_eq!(
        (&shown["state"], &shown["payloadForm"]),
        (&json!("open"), &json!("json"))
    );
    // It is gone, or another lies there.
    index(&control, &acme, &made, letter((0, 99))).await;
    control
        .get(&below(&made, "dead-letters/0-99"), &acme.key)
        .await
        .is(404);
    control
        .get(&below(&made, "dead-letters/nonsense"), &acme.key)
        .await
        .is(404);
    let path_of = below(&made, "");
    let off = json!({"payloadMode": "off"});
    control
        .patch(path_of.trim_end_matches('/'), &acme.key, off)
        .await
        .is(200);
    let hidden = control.get(&path, &acme.key).await;
    assert_eq!(hidden.is(200)["payloadForm"], "omitted");
    assert!(
        !hidden.text.contains("total") && !hidden.text.contains("metadata"),
        "{}",
        hidden.text
    );
}
