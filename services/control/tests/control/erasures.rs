//! Erasures as their callers meet them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use pushrail_kafka::Connection;
use pushrail_schemas::config::PayloadKey;
use pushrail_schemas::identity;
use pushrail_shred::{Keyset, Lookup, Owner, Sealing, Tree, form, part};
use pushrail_store::log::Micros;
use pushrail_store::{Scope, Store, erasures, payload_keys};
use pushrail_vault::KeyRing;
use serde_json::{Value, json};
use sqlx::Connection as _;
use uuid::Uuid;

use crate::log::{attempt, keep};
use crate::support::{Answer, Control, Tenant, control, text, with_ring};

const SECRET: &str = "Jane Doe, 12 Elm Street";

/// Erases, and waits until that is done.
async fn erase(control: &Control, key: &str, what: Value) -> Value {
    let made = control.post("/v1/erasures", key, what).await.is(202);
    assert_eq!(made["state"], "running");
    finished(control, key, &text(&made["erasureId"])).await
}

async fn finished(control: &Control, key: &str, id: &str) -> Value {
    let path = format!("/v1/erasures/{id}");
    pushrail_testkit::wait_for("the erasure is finished", async || {
        let shown = control.get(&path, key).await.is(200);
        (shown["state"] == "finished").then_some(shown)
    })
    .await
}

async fn delivery(control: &Control, key: &str, id: Uuid) -> Answer {
    control.get(&format!("/v1/deliveries/{id}"), key).await
}

/// A dead letter of an event, as the log would know it.
async fn letter(control: &Control, of: &pushrail_schemas::Attempt<'_>, offset: i64) {
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO dead_letters (kind, partition, \"offset\", tenant_id, customer_id, destination_id, delivery_id, event_id,
             event_type, received_at, dead_at, attempts, reason, code, detail, value_len)
         VALUES ('webhook', 0, $1, $2, $3, $4, $5, $6, 'a.b', to_timestamp($7::float8), now(), 1, 'permanent', 'http_404', $8, 1)",
    )
    .bind(offset)
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(of.delivery_id)
    .bind(of.event_id)
    .bind(of.received_at_us.unwrap() as f64 / 1e6)
    .bind(SECRET)
    .execute(&mut database)
    .await
    .unwrap();
}

/// Everything in the database, as text.
async fn everything(control: &Control) -> String {
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    let tables: Vec<(String,)> = sqlx::query_as(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let mut all = String::new();
    for (table,) in tables {
        let query = format!("SELECT string_agg(t::text, ' ') FROM {table} t");
        let query = sqlx::AssertSqlSafe(query);
        let (rows,): (Option<String>,) = sqlx::query_as(query)
            .fetch_one(&mut database)
            .await
            .unwrap();
        all.push_str(&rows.unwrap_or_default());
    }
    all
}

/// Bytes as `bytea` is written.
fn hexed(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_erased_event_is_gone_from_the_log_and_its_neighbours_are_not() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let payload = format!("{{\"name\": \"{SECRET}\"}}");
    let mut one = attempt(&acme, "c1", &made, "order.one");
    one.payload = Some(payload.as_bytes());
    one.error = Some(SECRET);
    one.response_headers = Some(SECRET);
    one.response_excerpt = Some(SECRET.as_bytes());
    let other = attempt(&acme, "c1", &made, "order.other");
    keep(&control, &[one, other]).await;
    letter(&control, &one, 7).await;
    assert!(everything(&control).await.contains(SECRET));
    let erased = erase(&control, &acme.key, json!({"eventId": one.event_id})).await;
    assert_eq!(
        erased["removed"],
        json!({"deliveries": 1, "attempts": 1, "deadLetters": 1})
    );
    assert_eq!(erased["topics"]["shredded"], false, "it was never sealed");
    assert!(erased["topics"]["keptUntil"].is_string());
    let all = everything(&control).await;
    assert!(!all.contains(SECRET) && !all.contains(&hexed(SECRET)));
    let shown = delivery(&control, &acme.key, one.delivery_id.unwrap()).await;
    let shown = shown.is(200);
    assert_eq!(shown["payload"]["form"], "erased");
    assert_eq!(shown["attempts"][0]["erased"], true);
    assert_eq!(shown["attempts"][0]["state"], "delivered");
    let other = delivery(&control, &acme.key, other.delivery_id.unwrap()).await;
    assert_eq!(other.is(200)["payload"]["json"], json!({"total": 42}));
    let lines = control.get("/v1/attempts/export", &acme.key).await.text;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = lines.iter().find(|line| line["eventType"] == "order.one");
    let line = line.unwrap();
    assert_eq!(
        (&line["erased"], &line["payload"]["form"]),
        (&json!(true), &json!("erased"))
    );
    // It can't be replayed, and is listed as what it is.
    let path = format!(
        "/v1/customers/c1/destinations/{}/dead-letters",
        text(&made["destinationId"])
    );
    let open = control.get(&path, &acme.key).await.is(200);
    assert_eq!(open["items"], json!([]));
    let path = format!("{path}?state=erased");
    let letters = control.get(&path, &acme.key).await.is(200);
    assert_eq!(letters["items"][0]["detail"], "");
    // On the trail: what was asked for, and what came of it.
    let trail = control.get("/v1/audit-trail", &acme.key).await.is(200);
    let entries = trail["items"].as_array().unwrap().iter();
    let actions: Vec<_> = entries.map(|entry| text(&entry["action"])).collect();
    for action in ["erasure.create", "erasure.finish"] {
        assert!(actions.iter().any(|known| known == action), "{actions:?}");
    }
    let list = control.get("/v1/erasures", &acme.key).await.is(200);
    assert_eq!(list["items"], json!([erased]));
}

#[tokio::test]
async fn a_subject_and_a_customer_are_erased_up_to_now_and_no_others() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let of_c1 = control.webhook(&acme, "c1", "https://a.example").await;
    let of_c2 = control.webhook(&acme, "c2", "https://a.example").await;
    let id = |customer: &str, subject: &str| {
        let customer_id = identity::customer_id("acme", customer);
        let control = &control;
        let subject = subject.to_owned();
        async move {
            let store = Store::new(&control.database_url, 1).unwrap();
            let mut tx = store.begin(Scope::System).await.unwrap();
            let key = payload_keys::of_subjects(&mut tx, "acme").await.unwrap();
            let bytes = control.ring.open_payload_key(&key.unwrap()).unwrap();
            let key: &[u8; 32] = bytes.as_slice().try_into().unwrap();
            pushrail_shred::subject_id(key, customer_id, &subject)
        }
    };
    let about = async |customer: &str, made: &Value, subject: Option<&str>| {
        let mut one = attempt(&acme, customer, made, "a.b");
        if let Some(subject) = subject {
            one.subject_id = Some(id(customer, subject).await);
        }
        let delivery_id = one.delivery_id.unwrap();
        // Its bytes live as long as the call.
        keep(&control, &[one]).await;
        delivery_id
    };
    let jane = about("c1", &of_c1, Some("user/jane")).await;
    let joe = about("c1", &of_c1, Some("user/joe")).await;
    let nobody = about("c1", &of_c1, None).await;
    let namesake = about("c2", &of_c2, Some("user/jane")).await;
    let form = async |delivery_id| {
        let shown = delivery(&control, &acme.key, delivery_id).await.is(200);
        text(&shown["payload"]["form"])
    };
    let forms = async || {
        [
            form(jane).await,
            form(joe).await,
            form(nobody).await,
            form(namesake).await,
        ]
    };
    assert_eq!(forms().await, ["json"; 4]);
    let what = json!({"customerExternalId": "c1", "subject": "user/jane"});
    let erased = erase(&control, &acme.key, what).await;
    assert_eq!(erased["removed"]["deliveries"], 1);
    assert!(!erased.to_string().contains("jane"));
    assert_eq!(forms().await, ["erased", "json", "json", "json"]);
    let what = json!({"customerExternalId": "c1"});
    erase(&control, &acme.key, what).await;
    assert_eq!(forms().await, ["erased", "erased", "erased", "json"]);
    // What comes after is none of it.
    let after = about("c1", &of_c1, Some("user/jane")).await;
    assert_eq!(form(after).await, "json");
    // The trail is for ever, and does not name whom it was about.
    let trail = control.get("/v1/audit-trail", &acme.key).await.text;
    assert!(!trail.contains("jane"));
}

#[tokio::test]
async fn whoever_asks_erases_its_own_and_nothing_else() {
    let control = control().await;
    let (acme, rival) = (control.tenant("acme").await, control.tenant("rival").await);
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let mut one = attempt(&acme, "c1", &made, "a.b");
    one.subject_id = Some(Uuid::from_u128(7));
    keep(&control, &[one]).await;
    let (own, mate) = (
        control.session(&acme, "c1").await,
        control.session(&acme, "c2").await,
    );
    let theirs = control.session(&rival, "c1").await;
    let event = json!({"eventId": one.event_id});
    // A guess is no event of theirs; a customer is never another's.
    for session in [&mate, &theirs] {
        let answer = control.post("/v1/erasures", session, event.clone()).await;
        answer.is(404);
    }
    let what = json!({"customerExternalId": "c1"});
    let answer = control.post("/v1/erasures", &mate, what.clone()).await;
    answer.is(404);
    // The same names mean another tenant's own.
    let mut made = Vec::new();
    for (key, what) in [
        (&rival.key, event.clone()),
        (&rival.key, what.clone()),
        (&theirs, what.clone()),
        (
            &rival.key,
            json!({"customerExternalId": "c1", "subject": "s"}),
        ),
    ] {
        let erased = erase(&control, key, what).await;
        assert_eq!(erased["removed"]["attempts"], 0);
        made.push(text(&erased["erasureId"]));
    }
    let shown = delivery(&control, &acme.key, one.delivery_id.unwrap()).await;
    assert_eq!(shown.is(200)["payload"]["form"], "json");
    // Nobody sees another's.
    for key in [&acme.key, &own, &mate] {
        for id in &made {
            control
                .get(&format!("/v1/erasures/{id}"), key)
                .await
                .is(404);
        }
        let list = control.get("/v1/erasures", key).await.is(200);
        assert_eq!(list["items"], json!([]));
    }
    // And the one whose it is can.
    let erased = erase(&control, &own, event).await;
    assert_eq!(erased["removed"]["attempts"], 1);
}

#[tokio::test]
async fn a_mistake_erases_nothing_and_a_repeat_erases_once() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let id = Uuid::now_v7();
    for (body, field) in [
        (json!({}), "eventId"),
        (
            json!({"eventId": id, "customerExternalId": "c1"}),
            "eventId",
        ),
        (json!({"eventId": id, "subject": "s"}), "eventId"),
        (json!({"subject": "s"}), "customerExternalId"),
        (json!({"customerExternalId": ""}), "customerExternalId"),
        (
            json!({"customerExternalId": "c1", "subject": ""}),
            "subject",
        ),
        (
            json!({"customerExternalId": "c1", "subject": "x".repeat(257)}),
            "subject",
        ),
    ] {
        let answer = control.post("/v1/erasures", &acme.key, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}");
        assert_eq!(answer.fields(), [field], "{body}");
    }
    let body = json!({"everything": true});
    let answer = control.post("/v1/erasures", &acme.key, body).await;
    assert!(answer.status.is_client_error());
    let list = control.get("/v1/erasures", &acme.key).await.is(200);
    assert_eq!(list["items"], json!([]));
    let headers = [("Idempotency-Key", "once")];
    let body = json!({"customerExternalId": "c1"});
    let again = async || {
        let (path, key) = ("/v1/erasures", &acme.key);
        let answer = control.send(Method::POST, path, key, &headers, Some(&body));
        text(&answer.await.is(202)["erasureId"])
    };
    assert_eq!(again().await, again().await);
    let list = control.get("/v1/erasures", &acme.key).await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

/// The trees of a tenant as the database has them.
async fn keysets(control: &Control, tenant: &str) -> BTreeMap<u32, Keyset> {
    let store = Store::new(&control.database_url, 1).unwrap();
    let mut tx = store.begin(Scope::System).await.unwrap();
    let mut epochs: BTreeMap<u32, Keyset> = BTreeMap::new();
    for key in payload_keys::of(&mut tx, tenant).await.unwrap() {
        if key.epoch > PayloadKey::SUBJECTS {
            let bytes = control.ring.open_payload_key(&key).unwrap();
            let tree = Arc::new(Tree::from_bytes(&bytes).unwrap());
            epochs.entry(key.epoch).or_default().put(key.shard, tree);
        }
    }
    epochs
}

/// Keeps a delivered attempt whose event was sealed, as ingest, sink and log would.
async fn sealed(control: &Control, acme: &Tenant, made: &Value) -> (Owner, [u8; 8], Uuid) {
    let mut one = attempt(acme, "c1", made, "a.b");
    let owner = Owner {
        customer_id: one.customer_id,
        event_id: one.event_id,
        subject_id: None,
    };
    let (epoch, keyset) = keysets(control, &acme.id).await.pop_last().unwrap();
    let (generations, key) = keyset.fresh(&owner).unwrap();
    let sealing = Sealing { epoch, generations }.to_bytes();
    let payload = key.sealed(part::PAYLOAD, SECRET_JSON.as_bytes()).unwrap();
    let excerpt = key.sealed(part::RESPONSE_EXCERPT, b"thanks, Jane").unwrap();
    one.payload = Some(&payload);
    one.payload_form = form::sealed("json");
    one.response_headers = None;
    one.response_excerpt = Some(&excerpt);
    one.sealing = Some(&sealing);
    keep(control, &[one]).await;
    (owner, sealing, one.delivery_id.unwrap())
}

const SECRET_JSON: &str = r#"{"name": "Jane Doe"}"#;

#[tokio::test]
async fn what_was_sealed_is_shown_until_its_key_is_destroyed() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    assert!(keysets(&control, "acme").await.is_empty());
    let on = json!({"encryption": "on"});
    let shown = control.patch("/v1/tenant", &acme.key, on).await.is(200);
    assert_eq!(shown["encryption"], "on");
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let one = sealed(&control, &acme, &made).await;
    let other = sealed(&control, &acme, &made).await;
    assert!(!everything(&control).await.contains(&hexed("Jane Doe")));
    for (_, _, delivery_id) in [&one, &other] {
        let shown = delivery(&control, &acme.key, *delivery_id).await.is(200);
        assert_eq!(shown["payload"]["json"], json!({"name": "Jane Doe"}));
        assert_eq!(shown["payload"]["form"], "json");
        assert_eq!(shown["attempts"][0]["responseExcerpt"], "thanks, Jane");
    }
    let before = everything(&control).await;
    let erased = erase(&control, &acme.key, json!({"eventId": one.0.event_id})).await;
    assert_eq!(erased["topics"], json!({"shredded": true}));
    // With all that is left nobody opens it, and everybody the other.
    let keysets = keysets(&control, "acme").await;
    let lookup = |of: &(Owner, [u8; 8], Uuid)| {
        let sealing = Sealing::from_bytes(&of.1).unwrap();
        keysets[&sealing.epoch].key(&of.0, sealing.generations)
    };
    assert!(matches!(lookup(&one), Lookup::Erased));
    assert!(matches!(lookup(&other), Lookup::Key(_)));
    let shown = delivery(&control, &acme.key, one.2).await.is(200);
    assert_eq!(shown["payload"]["form"], "erased");
    let shown = delivery(&control, &acme.key, other.2).await.is(200);
    assert_eq!(shown["payload"]["json"], json!({"name": "Jane Doe"}));
    assert_ne!(before, everything(&control).await);
    // A customer may say otherwise; that is told to ingest.
    let off = json!({"encryption": "off"});
    let path = "/v1/customers/c1";
    let shown = control.patch(path, &acme.key, off).await.is(200);
    assert_eq!(shown["encryption"], "off");
    let back = json!({"encryption": null});
    let shown = control.patch(path, &acme.key, back).await.is(200);
    assert!(shown.get("encryption").is_none());
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_finished_and_destroys_no_key_twice() {
    let ring = Arc::new(KeyRing::generate().unwrap());
    let url = pushrail_testkit::database().await;
    let start = async || {
        let connection = Connection::new("127.0.0.1:1");
        with_ring(connection, url.clone(), Arc::clone(&ring)).await
    };
    let control = start().await;
    let acme = control.tenant("acme").await;
    let on = json!({"encryption": "on"});
    control.patch("/v1/tenant", &acme.key, on).await.is(200);
    let made = control.webhook(&acme, "c1", "https://a.example").await;
    let one = sealed(&control, &acme, &made).await;
    drop(control);
    // Asked for, and its keys destroyed; then everything stopped.
    let store = Store::new(&url, 1).unwrap();
    let id = Uuid::now_v7();
    let mut tx = store.begin(Scope::System).await.unwrap();
    let what = erasures::What::Customer(one.0.customer_id);
    let until = Micros(pushrail_clock::now_us());
    erasures::insert(&mut tx, id, "acme", what, until)
        .await
        .unwrap();
    erasures::shredded(&mut tx, id, true).await.unwrap();
    tx.commit().await.unwrap();
    let control = start().await;
    let erased = finished(&control, &acme.key, &id.to_string()).await;
    assert_eq!(erased["removed"]["attempts"], 1);
    // The step that was done is not done again: it would take what came later.
    let sealing = Sealing::from_bytes(&one.1).unwrap();
    let keysets = keysets(&control, "acme").await;
    let found = keysets[&sealing.epoch].key(&one.0, sealing.generations);
    assert!(matches!(found, Lookup::Key(_)));
    store.close().await;
}
