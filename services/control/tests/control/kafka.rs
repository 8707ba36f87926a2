use std::collections::BTreeMap;
use std::sync::Arc;

use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_schemas::config::{EventValidation, Tenant};
use pushrail_servers::Postgres;
use pushrail_store::Store;
use pushrail_testkit::{Cluster, wait_for};
use pushrail_vault::{Aad, KeyRing};
use serde_json::json;
use uuid::Uuid;

use crate::support::{ADMIN_KEY, on, text, with_ring};

async fn config(cluster: &Cluster) -> (Connection, Directory) {
    let connection = Connection::new(&cluster.bootstrap);
    for (topic, cleanup) in [("config", "compact"), ("audit.changes", "delete")] {
        cluster
            .create(topic, 1, &[("cleanup.policy", cleanup)])
            .await;
    }
    let directory = Directory::start(&connection, Interest::everything()).unwrap();
    (connection, directory)
}

#[tokio::test]
async fn what_is_decided_is_told_to_kafka_in_order_and_can_be_told_again() {
    let cluster = Cluster::private().await;
    let (connection, directory) = config(&cluster).await;
    let ring = Arc::new(KeyRing::generate().unwrap());
    let database = pushrail_testkit::database().await;
    let control = with_ring(connection.clone(), database.clone(), Arc::clone(&ring)).await;
    let acme = control.tenant("acme").await;
    wait_for("the key", async || directory.tenant_of_key(&acme.key)).await;
    let made = control.webhook(&acme, "c1", "https://example.com/0").await;
    let id: Uuid = text(&made["destinationId"]).parse().unwrap();
    // Kafka knew before we were answered.
    let key = format!("destination/{id}");
    let told = cluster.read_all("config").await;
    assert!(
        told.iter()
            .any(|record| record.key.as_deref() == Some(key.as_bytes()))
    );
    let path = format!("/v1/customers/c1/destinations/{id}");
    for n in 1..=20 {
        let url = json!({"config": {"url": format!("https://example.com/{n}")}});
        control.patch(&path, &acme.key, url).await.is(200);
    }
    let destination = wait_for("the last version", async || {
        directory
            .destination(id)
            .filter(|known| known.version == 21)
    })
    .await;
    assert_eq!(
        destination.config.get(),
        r#"{"url":"https://example.com/20"}"#
    );
    // Sealed, and opened by whoever has the ring.
    let sealed = destination.secrets.as_ref().unwrap();
    let opened = ring.open(&Aad::of(&destination), sealed).unwrap();
    let opened: serde_json::Value = serde_json::from_slice(&opened).unwrap();
    assert_eq!(opened["signingSecret"], made["signingSecret"]);
    control.delete(&path, &acme.key).await.is(204);
    wait_for("its removal", async || {
        directory.destination(id).is_none().then_some(())
    })
    .await;

    // The catalogue of event types likewise.
    let schema = json!({"type": "object"});
    for name in ["order.completed", "order.opened"] {
        let draft = json!({"name": name, "schema": schema});
        control
            .post("/v1/event-types", &acme.key, draft)
            .await
            .is(201);
    }
    let known = wait_for("the event type", async || {
        directory.event_type("acme", "order.completed")
    })
    .await;
    assert_eq!(known.schema.as_deref(), Some(r#"{"type":"object"}"#));
    let path = "/v1/event-types/order.completed";
    let bare = json!({"schema": null});
    control.patch(path, &acme.key, bare).await.is(200);
    wait_for("its change", async || {
        let known = directory.event_type("acme", "order.completed");
        known.filter(|known| known.schema.is_none())
    })
    .await;
    control.delete(path, &acme.key).await.is(204);
    wait_for("its removal", async || {
        let known = directory.event_type("acme", "order.completed");
        known.is_none().then_some(())
    })
    .await;
    let said = json!({"eventValidation": "catalogue", "encryption": "on"});
    control.patch("/v1/tenant", &acme.key, said).await.is(200);
    let validates = |tenant: &Tenant| tenant.event_validation == EventValidation::Catalogue;
    wait_for("the setting", async || {
        directory.tenant("acme").filter(|tenant| validates(tenant))
    })
    .await;

    // A new Kafka, with nothing on it: everything is told again.
    let kept = control
        .webhook(&acme, "c1", "https://example.com/kept")
        .await;
    let kept: Uuid = text(&kept["destinationId"]).parse().unwrap();
    let other = Cluster::private().await;
    let (connection, directory) = config(&other).await;
    drop(control);
    let control = with_ring(connection, database.clone(), ring).await;
    let store = Store::new(&database, 2).unwrap();
    // With what payloads are sealed with, and subjects hashed.
    let shards = usize::from(pushrail_shred::SHARDS);
    let told = pushrail_control::rebuild(&store).await.unwrap();
    assert_eq!(told, 4 + 1 + shards as u64);
    wait_for("the destination", async || directory.destination(kept)).await;
    let tenant = wait_for("the key", async || directory.tenant_of_key(&acme.key)).await;
    assert!(validates(&tenant));
    let known = directory.event_type("acme", "order.opened");
    assert!(known.is_some(), "types are told before whoever needs them");
    let keys = directory.payload_keys("acme").unwrap();
    assert_eq!(keys.0.len(), 1 + shards);
    // With the tenant everything goes.
    control.delete("/v1/tenants/acme", ADMIN_KEY).await.is(204);
    wait_for("the end of its catalogue", async || {
        let known = directory.event_type("acme", "order.opened");
        known.is_none().then_some(())
    })
    .await;
    wait_for("the end of its keys", async || {
        let keys = directory.payload_keys("acme").unwrap();
        keys.0.is_empty().then_some(())
    })
    .await;
    drop(control);
}

#[tokio::test]
async fn every_change_is_on_the_topic_of_changes_without_its_secrets() {
    let cluster = Cluster::private().await;
    let (connection, _directory) = config(&cluster).await;
    let control = on(connection, pushrail_testkit::database().await).await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://example.com").await;
    let records = cluster.read("audit.changes", 4).await;
    let mut actions = BTreeMap::new();
    for record in &records {
        let value = record.value.as_deref().unwrap();
        let entry: serde_json::Value = serde_json::from_slice(value).unwrap();
        assert_eq!(entry["tenantId"], "acme");
        actions.insert(entry["seq"].as_i64().unwrap(), text(&entry["action"]));
        let text = String::from_utf8_lossy(value);
        assert!(!text.contains(made["signingSecret"].as_str().unwrap()));
    }
    let actions: Vec<_> = actions.into_values().collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "api_key.create",
            "customer.create",
            "destination.create"
        ]
    );
}

#[tokio::test]
async fn a_database_that_dies_and_comes_back_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut postgres = Postgres::builder(folder.path().join("postgres"))
        .start()
        .await
        .unwrap();
    let url = postgres.url();
    let control = on(Connection::new("127.0.0.1:1"), url).await;
    let acme = control.tenant("acme").await;
    postgres.kill().await;
    let answer = control.get("/v1/customers", &acme.key).await;
    assert_eq!(
        answer.is(503)["type"],
        "urn:pushrail:problem:database-unavailable"
    );
    assert!(answer.headers.contains_key("retry-after"));
    let customer = json!({"externalId": "c1"});
    control
        .post("/v1/customers", &acme.key, customer.clone())
        .await
        .is(503);
    // The operator's key needs no database to be known, and gets no further.
    control.get("/v1/tenants", ADMIN_KEY).await.is(503);
    postgres.restart().await.unwrap();
    wait_for("the database", async || {
        let answer = control.get("/v1/customers", &acme.key).await;
        (answer.status.as_u16() == 200).then_some(answer)
    })
    .await
    .is(200);
    let listed = control.get("/v1/customers", &acme.key).await.is(200);
    assert_eq!(listed["items"], json!([]));
    control
        .post("/v1/customers", &acme.key, customer)
        .await
        .is(201);
    let verdict = control
        .get("/v1/audit-trail/verify", &acme.key)
        .await
        .is(200);
    assert_eq!(verdict["whole"], true);
}
