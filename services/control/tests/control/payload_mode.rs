//! What the audit shows of payloads: set by destination, by customer, and obeyed by a test delivery.

use std::collections::BTreeMap;
use std::io::Read as _;

use age::x25519::Identity;
use pushrail_schemas::config::Destination;
use pushrail_schemas::{Attempt, config};
use pushrail_testkit::{Receiver, Reply};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{Control, Tenant, control, text};

fn seal(identity: &Identity) -> Value {
    json!({"mode": "seal", "publicKey": identity.to_public().to_string()})
}

/// What waits in the outbox for a topic, the newest of each key.
async fn told(control: &Control, topic: &str) -> BTreeMap<String, Vec<u8>> {
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT key, value FROM outbox WHERE topic = $1 AND value IS NOT NULL ORDER BY id",
    )
    .bind(topic)
    .fetch_all(&mut database)
    .await
    .unwrap();
    rows.into_iter().collect()
}

/// What router and sinks are told of a destination.
async fn record(control: &Control, id: &str) -> Destination {
    let key = config::key::destination(id.parse().unwrap());
    serde_json::from_slice(&told(control, "config").await[&key]).unwrap()
}

async fn made(control: &Control, acme: &Tenant, more: Value) -> (String, Value) {
    let mut body = json!({"kind": "webhook", "config": {"url": "https://example.com"}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let path = "/v1/customers/c1/destinations";
    let made = control.post(path, &acme.key, body).await.is(201);
    let id = text(&made["destinationId"]);
    (format!("{path}/{id}"), made)
}

#[tokio::test]
async fn a_customers_mode_is_that_of_each_destination_without_one_of_its_own() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let identity = Identity::generate();
    let (first, shown) = made(&control, &acme, json!({})).await;
    assert_eq!(
        (&shown["payloadMode"], &shown["payloadModeInherited"]),
        (&json!("full"), &json!(true))
    );
    let redact = json!({"mode": "redact", "paths": ["payload.card"]});
    let (own, shown) = made(&control, &acme, json!({"payloadMode": redact})).await;
    assert_eq!(
        (&shown["payloadMode"], &shown["payloadModeInherited"]),
        (&redact, &json!(false))
    );
    let (full, _) = made(&control, &acme, json!({"payloadMode": "full"})).await;
    let mode = async |path: &str| {
        let shown = control.get(path, &acme.key).await.is(200);
        let id = path.rsplit('/').next().unwrap();
        let told = record(&control, id).await;
        let told = serde_json::to_value(&told.payload_mode).unwrap();
        assert_eq!(shown["payloadMode"], told, "what is shown is what counts");
        (told, shown["version"].as_u64().unwrap())
    };

    // The customer's counts at once, for what is there and what comes, and makes no new clients.
    let customer = "/v1/customers/c1";
    let before = control.get(&first, &acme.key).await.etag();
    let patched = control
        .patch(
            customer,
            &acme.key,
            json!({"payloadMode": seal(&identity), "name": "C"}),
        )
        .await
        .is(200);
    assert_eq!(patched["payloadMode"], seal(&identity));
    assert_eq!(patched["name"], "C");
    let (later, _) = made(&control, &acme, json!({})).await;
    assert_eq!(mode(&first).await, (seal(&identity), 1));
    assert_eq!(mode(&later).await, (seal(&identity), 1));
    assert_eq!(mode(&own).await, (redact.clone(), 1));
    assert_eq!(mode(&full).await, (json!("full"), 1));
    let headers = [("if-match", before.as_str())];
    let rename = json!({"name": "n"});
    let stale = control
        .send(
            http::Method::PATCH,
            &first,
            &acme.key,
            &headers,
            Some(&rename),
        )
        .await;
    stale.is(412);

    // A change of something else leaves it; null gives it back; so does a mode of one's own take it away.
    control.patch(&first, &acme.key, rename).await.is(200);
    assert_eq!(mode(&first).await.0, seal(&identity));
    let null = json!({"payloadMode": null});
    control.patch(&own, &acme.key, null.clone()).await.is(200);
    assert_eq!(mode(&own).await.0, seal(&identity));
    let off = json!({"payloadMode": "off"});
    control.patch(&later, &acme.key, off).await.is(200);
    control.patch(customer, &acme.key, null).await.is(200);
    assert_eq!(mode(&first).await.0, json!("full"));
    assert_eq!(mode(&own).await.0, json!("full"));
    assert_eq!(mode(&later).await.0, json!("off"));
    let shown = control.get(customer, &acme.key).await.is(200);
    assert!(shown.get("payloadMode").is_none(), "{shown}");
    assert_eq!(shown["name"], "C", "what is not named stays");

    // Who changed it, for the customer and for each destination that it reached.
    let trail = control
        .get(&format!("{first}/changes"), &acme.key)
        .await
        .is(200);
    let changes = trail["items"].as_array().unwrap();
    let to_sealed = changes.iter().filter(|row| {
        row["action"] == "destination.update"
            && row["before"]["payloadMode"] == "full"
            && row["after"]["payloadMode"] == seal(&identity)
    });
    assert_eq!(to_sealed.count(), 1, "{trail}");
    let trail = control.get("/v1/audit-trail", &acme.key).await.is(200);
    let of_customer = trail["items"].as_array().unwrap().iter().filter(|row| {
        row["action"] == "customer.update" && row["after"]["payloadMode"] == seal(&identity)
    });
    assert_eq!(of_customer.count(), 1, "{trail}");
}

#[tokio::test]
async fn a_mode_that_would_hide_nothing_is_refused_and_names_its_field() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let (path, _) = made(&control, &acme, json!({})).await;
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    let table = [
        (json!("none"), "payloadMode"),
        (json!({"mode": "seal"}), "payloadMode"),
        (
            json!({"mode": "redact", "paths": ["payload.a"], "publicKey": secret}),
            "payloadMode",
        ),
        (
            json!({"mode": "seal", "publicKey": secret}),
            "payloadMode.publicKey",
        ),
        (
            json!({"mode": "seal", "publicKey": "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pb"}),
            "payloadMode.publicKey",
        ),
        (json!({"mode": "redact", "paths": []}), "payloadMode.paths"),
        (
            json!({"mode": "redact", "paths": vec!["payload.a"; 101]}),
            "payloadMode.paths",
        ),
        (
            json!({"mode": "redact", "paths": ["payload.a", "/b"]}),
            "payloadMode.paths[1]",
        ),
    ];
    for (mode, field) in table {
        let body = json!({ "payloadMode": mode });
        for path in [&*path, "/v1/customers/c1"] {
            let answer = control.patch(path, &acme.key, body.clone()).await;
            answer.is(422);
            let fields = answer.fields();
            assert!(fields[0].starts_with(field), "{path}: {body}: {answer:?}");
            assert!(!answer.text.contains(secret), "{answer:?}");
        }
    }
    let shown = control.get(&path, &acme.key).await.is(200);
    assert_eq!(shown["payloadMode"], "full");
}

#[tokio::test]
async fn the_record_of_a_test_delivery_hides_what_it_should() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let receiver = Receiver::start().await;
    let identity = Identity::generate();
    let echo = || Reply::status(500).body("you sent 4111-1111 to us");
    let draft = json!({"payload": {"card": "4111-1111", "total": 5}});
    for (name, mode, form) in [
        ("full", json!("full"), "json"),
        ("off", json!("off"), "omitted"),
        (
            "redact",
            json!({"mode": "redact", "paths": ["payload.card"]}),
            "redacted",
        ),
        ("seal", seal(&identity), "sealed"),
    ] {
        receiver.on(&format!("/{name}"), [echo()]);
        let url = receiver.url(&format!("/{name}"));
        let more = json!({"config": {"url": url}, "payloadMode": mode});
        let (path, shown) = made(&control, &acme, more).await;
        let test = control
            .post(&format!("{path}/test"), &acme.key, draft.clone())
            .await
            .is(200);
        // Whoever sent it may see what came of it.
        assert_eq!(test["responseExcerpt"], "you sent 4111-1111 to us");
        let sent = receiver.requests_to(&format!("/{name}"));
        let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
        assert_eq!(body["payload"], draft["payload"], "delivery is unchanged");

        let records = told(&control, "audit.attempts").await;
        let record = &records[&text(&shown["destinationId"])];
        let attempt = Attempt::parse(record).unwrap();
        assert_eq!(attempt.payload_form, form);
        assert_eq!(attempt.status_code, Some(500));
        let shows = record.windows(9).any(|bytes| bytes == b"4111-1111");
        assert_eq!(shows, name == "full");
        match name {
            "redact" => assert_eq!(
                serde_json::from_slice::<Value>(attempt.payload.unwrap()).unwrap(),
                json!({"card": "[redacted]", "total": 5})
            ),
            "seal" => {
                let armored = age::armor::ArmoredReader::new(attempt.payload.unwrap());
                let sealed = age::Decryptor::new_buffered(armored).unwrap();
                let key = std::iter::once(&identity as &dyn age::Identity);
                let mut opened = String::new();
                let mut reader = sealed.decrypt(key).unwrap();
                reader.read_to_string(&mut opened).unwrap();
                assert_eq!(
                    serde_json::from_str::<Value>(&opened).unwrap(),
                    draft["payload"]
                );
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_destination_of_before_inherits_unless_it_was_off() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let (full, _) = made(&control, &acme, json!({"payloadMode": "full"})).await;
    let (off, _) = made(&control, &acme, json!({"payloadMode": "off"})).await;
    let migration = include_str!("../../../common/store/migrations/0005_payload_mode.sql");
    let (_, update) = migration.split_once("SELECT").unwrap();
    let sql = sqlx::AssertSqlSafe(format!("BEGIN; SELECT{update} COMMIT;"));
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    let before = control.get(&full, &acme.key).await.is(200);
    let mode = json!({"payloadMode": {"mode": "redact", "paths": ["payload.a"]}});
    control
        .patch("/v1/customers/c1", &acme.key, mode.clone())
        .await
        .is(200);
    let shown = control.get(&full, &acme.key).await.is(200);
    assert_eq!(shown["payloadMode"], mode["payloadMode"]);
    assert_eq!(
        (&shown["config"], &shown["version"]),
        (&before["config"], &before["version"])
    );
    let shown = control.get(&off, &acme.key).await.is(200);
    assert_eq!(shown["payloadMode"], "off");
}
