use http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, control, text};

#[tokio::test]
async fn a_vendor_and_its_customer_from_nothing_to_a_destination() {
    let control = control().await;
    let made = control
        .post(
            "/v1/tenants",
            ADMIN_KEY,
            json!({"tenantId": "acme", "name": "Acme"}),
        )
        .await
        .is(201);
    assert_eq!(made["tenantId"], "acme");
    let key = text(&made["apiKey"]);
    assert!(key.starts_with("psh_"), "{key}");

    // A webhook needs a URL, and nothing else; its customer comes with it.
    let made = control
        .post(
            "/v1/customers/c1/destinations",
            &key,
            json!({"kind": "webhook", "config": {"url": "https://example.com/hooks"}}),
        )
        .await;
    let destination = made.is(201);
    let secret = text(&destination["signingSecret"]);
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(destination["state"], "active");
    assert_eq!(destination["eventTypes"], json!(["*"]));
    let id = text(&destination["destinationId"]);
    let customers = control.get("/v1/customers", &key).await.is(200);
    assert_eq!(customers["items"][0]["externalId"], "c1");

    // It is shown once.
    let path = format!("/v1/customers/c1/destinations/{id}");
    let shown = control.get(&path, &key).await;
    assert!(!shown.text.contains(&secret), "{shown:?}");
    assert_eq!(
        shown.is(200)["secrets"],
        json!({"signingSecret": "********"})
    );

    // The customer, with a session, sees the same without naming itself.
    let session = control
        .post(
            "/v1/sessions",
            &key,
            json!({"customerExternalId": "c1", "ttlSeconds": 60}),
        )
        .await
        .is(201);
    let token = text(&session["token"]);
    let listed = control.get("/v1/destinations", &token).await.is(200);
    assert_eq!(listed["items"][0]["destinationId"], json!(id));
    let renamed = control
        .patch(
            &format!("/v1/destinations/{id}"),
            &token,
            json!({"name": "Orders", "eventTypes": ["order.*"], "retry": {"maxAttempts": 3}}),
        )
        .await
        .is(200);
    assert_eq!(renamed["name"], "Orders");
    assert_eq!(renamed["retry"]["maxAttempts"], 3);
    assert_eq!(
        renamed["version"], 1,
        "neither configuration nor secret has changed"
    );
    let paused = control
        .act(&format!("/v1/destinations/{id}/pause"), &token)
        .await
        .is(200);
    assert_eq!(paused["state"], "paused");
    control
        .act(&format!("/v1/destinations/{id}/resume"), &token)
        .await
        .is(200);
    let disabled = control
        .post(
            &format!("/v1/destinations/{id}/disable"),
            &token,
            json!({"reason": "moving house"}),
        )
        .await
        .is(200);
    assert_eq!(disabled["stateReason"], "moving house");

    // What was done is on the trail, and for the customer on the destination.
    let changes = control
        .get(&format!("/v1/destinations/{id}/changes"), &token)
        .await
        .is(200);
    let actions: Vec<_> = changes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(&entry["action"]))
        .collect();
    assert_eq!(
        actions,
        [
            "destination.disable",
            "destination.resume",
            "destination.pause",
            "destination.update",
            "destination.create"
        ]
    );
    control
        .delete(&format!("/v1/destinations/{id}"), &token)
        .await
        .is(204);
    control.get(&path, &key).await.is(404);
    let verdict = control.get("/v1/audit-trail/verify", &key).await.is(200);
    assert_eq!(verdict["whole"], true, "{verdict}");
}

#[tokio::test]
async fn the_catalogue_and_the_document_are_served() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let types = control
        .get("/v1/destination-types", &acme.key)
        .await
        .is(200);
    let items = types["items"].as_array().unwrap();
    let of = |kind: &str| items.iter().find(|item| item["kind"] == kind).unwrap();
    assert_eq!(of("postgres")["limits"]["batchRecordsMax"], 10_000);
    let webhook = of("webhook");
    assert_eq!(webhook["limits"]["batchRecordsMax"], 1);
    assert!(
        webhook["configSchema"]["properties"]["url"].is_object(),
        "{webhook}"
    );
    assert!(
        webhook["failures"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    let document = control.get("/openapi.json", "").await.is(200);
    assert_eq!(document["openapi"], "3.1.0");
    let docs = control.get("/docs/", "").await;
    assert_eq!(docs.status.as_u16(), 200);
    assert!(docs.text.contains("swagger"), "{docs:?}");
    let nowhere = control.get("/v1/nowhere", &acme.key).await;
    assert_eq!(nowhere.is(404)["type"], "urn:pushrail:problem:not-found");
    let wrong = control
        .send(Method::PUT, "/v1/tenants", ADMIN_KEY, &[], None)
        .await;
    wrong.is(405);
    assert_eq!(wrong.headers["allow"], "POST, GET");
}

#[tokio::test]
async fn event_types_are_kept_judged_and_picked_from() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control
        .post(
            "/v1/event-types",
            &acme.key,
            json!({"name": "order.completed", "description": "An order is complete.", "group": "Orders",
                "schema": {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}},
                "example": {"total": 42}}),
        )
        .await
        .is(201);
    assert_eq!(made["schema"]["required"], json!(["total"]));
    let bad = control
        .post(
            "/v1/event-types",
            &acme.key,
            json!({"name": "order.refused", "schema": {"type": "nonsense"}}),
        )
        .await;
    bad.is(422);
    assert_eq!(bad.fields(), ["schema/type"]);
    let bad = control
        .patch(
            "/v1/event-types/order.completed",
            &acme.key,
            json!({"example": {}}),
        )
        .await;
    bad.is(422);
    assert_eq!(bad.fields(), ["example/total"]);
    // Nor may a new schema leave the example behind.
    let path = "/v1/event-types/order.completed";
    let left = json!({"schema": {"properties": {"total": {"type": "string"}}}});
    let bad = control.patch(path, &acme.key, left).await;
    assert_eq!(bad.fields(), ["example/total"]);
    let both = json!({"schema": null, "example": null});
    let bare = control.patch(path, &acme.key, both).await.is(200);
    assert_eq!(
        (&bare["schema"], &bare["example"]),
        (&json!(null), &json!(null))
    );
    let again = json!({"schema": made["schema"], "example": made["example"]});
    control.patch(path, &acme.key, again).await.is(200);
    control
        .post(
            "/v1/event-types",
            &acme.key,
            json!({"name": "order.completed"}),
        )
        .await
        .is(409);
    let token = control.session(&acme, "c1").await;
    let picked = control.get("/v1/event-types", &token).await.is(200);
    assert_eq!(picked["items"][0]["example"], json!({"total": 42}));
    control
        .delete("/v1/event-types/order.completed", &token)
        .await
        .is(403);
    control
        .delete("/v1/event-types/order.completed", &acme.key)
        .await
        .is(204);
    control
        .get("/v1/event-types/order.completed", &acme.key)
        .await
        .is(404);
}

#[tokio::test]
async fn a_schema_that_could_hurt_ingest_is_refused_with_its_place() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    for (field, name, schema) in [
        ("name", "pushrail.test", json!({})),
        ("schema", "a", json!({"description": "x".repeat(70_000)})),
        (
            "schema/$ref",
            "a",
            json!({"$ref": "https://example.com/order.json"}),
        ),
        (
            "schema/properties/a/pattern",
            "a",
            json!({"properties": {"a": {"pattern": "(?=a)b"}}}),
        ),
        ("schema", "a", json!({"properties": {"a": {"$ref": "#"}}})),
    ] {
        let draft = json!({"name": name, "schema": schema});
        let refused = control.post("/v1/event-types", &acme.key, draft).await;
        refused.is(422);
        assert_eq!(refused.fields(), [field]);
    }
    let listed = control.get("/v1/event-types", &acme.key).await.is(200);
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn a_tenant_says_what_its_events_are_held_to() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let own = control.get("/v1/tenant", &acme.key).await.is(200);
    assert_eq!(own["eventValidation"], "off");
    let said = json!({"eventValidation": "catalogue"});
    let own = control.patch("/v1/tenant", &acme.key, said).await.is(200);
    assert_eq!(own["eventValidation"], "catalogue");
    // What is left out stays.
    let named = json!({"name": "Acme"});
    let own = control.patch("/v1/tenants/acme", ADMIN_KEY, named).await;
    assert_eq!(own.is(200)["eventValidation"], "catalogue");
    let wrong = json!({"eventValidation": "strict"});
    let wrong = control.patch("/v1/tenant", &acme.key, wrong).await;
    wrong.is(422);
    assert_eq!(wrong.fields(), ["eventValidation"]);
    let draft = json!({"tenantId": "globex", "eventValidation": "schema"});
    let made = control.post("/v1/tenants", ADMIN_KEY, draft).await.is(201);
    assert_eq!(made["eventValidation"], "schema");
    let token = control.session(&acme, "c1").await;
    let said = json!({"eventValidation": "off"});
    control.patch("/v1/tenant", &token, said).await.is(403);
}

#[tokio::test]
async fn a_tenant_says_how_long_its_deliveries_are_kept() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let own = control.get("/v1/tenant", &acme.key).await.is(200);
    assert_eq!(own["logRetentionDays"], Value::Null);
    for wrong in [0, 3_651] {
        let said = json!({"logRetentionDays": wrong});
        let refused = control.patch("/v1/tenant", &acme.key, said).await;
        refused.is(422);
        assert_eq!(refused.fields(), ["logRetentionDays"]);
    }
    for (said, kept) in [
        (json!({"logRetentionDays": 7}), json!(7)),
        // What is left out stays.
        (json!({"name": "Acme"}), json!(7)),
        (json!({"logRetentionDays": null}), Value::Null),
    ] {
        let own = control.patch("/v1/tenant", &acme.key, said).await.is(200);
        assert_eq!(own["logRetentionDays"], kept);
    }
}
