use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Control, Tenant, control, text};

/// What belongs to one customer of one tenant, and to nobody else.
struct Mine {
    tenant: Tenant,
    ids: BTreeMap<&'static str, String>,
}

/// Both tenants call their customer the same: what is told apart is told apart by more than that.
const CUSTOMER: &str = "shared-name";

async fn furnish(control: &Control, tenant: &str) -> Mine {
    let tenant = control.tenant(tenant).await;
    let mark = format!("only-{}", tenant.id);
    let url = format!("https://{mark}.example");
    let made = control.webhook(&tenant, CUSTOMER, &url).await;
    let body = json!({"name": mark});
    let key = control
        .post("/v1/api-keys", &tenant.key, body)
        .await
        .is(201);
    let body = json!({"customerExternalId": CUSTOMER});
    let session = control
        .post("/v1/sessions", &tenant.key, body)
        .await
        .is(201);
    let body = json!({"name": "order.completed", "description": mark});
    control
        .post("/v1/event-types", &tenant.key, body)
        .await
        .is(201);
    let destination = text(&made["destinationId"]);
    let path = format!("/v1/customers/{CUSTOMER}/destinations/{destination}/replays");
    let body = json!({"source": "deadLetters", "filter": {"codes": [mark]}});
    let replay = control.post(&path, &tenant.key, body).await.is(201);
    letter(control, &tenant.id, &destination).await;
    // Of nothing that the others look for, and to be seen by nobody else.
    let body = json!({"eventId": uuid::Uuid::now_v7()});
    let erasure = control
        .post("/v1/erasures", &tenant.key, body)
        .await
        .is(202);
    let path = format!("/v1/erasures/{}", text(&erasure["erasureId"]));
    pushrail_testkit::wait_for("the erasure is finished", async || {
        let shown = control.get(&path, &tenant.key).await.is(200);
        (shown["state"] == "finished").then_some(())
    })
    .await;
    let ids = BTreeMap::from([
        ("tenantId", tenant.id.clone()),
        ("externalId", CUSTOMER.to_owned()),
        ("destinationId", destination),
        ("replayId", text(&replay["replayId"])),
        ("erasureId", text(&erasure["erasureId"])),
        ("deadLetterId", "0-7".to_owned()),
        ("keyId", text(&key["keyId"])),
        ("sessionId", text(&session["sessionId"])),
        ("name", "order.completed".to_owned()),
        ("deliveryId", delivered(control, &tenant, &made).await),
        ("kind", "webhook".to_owned()),
        ("user", format!("psh-{}-0123456789abcdef", tenant.id)),
    ]);
    Mine { tenant, ids }
}

/// Something in the log of what was made; its delivery's id.
async fn delivered(control: &Control, tenant: &Tenant, destination: &Value) -> String {
    let mark = format!("only-{}", tenant.id);
    let attempt = crate::log::attempt(tenant, CUSTOMER, destination, &mark);
    crate::log::keep(control, &[attempt]).await;
    attempt.delivery_id.unwrap().to_string()
}

/// A dead letter, as the log would know it.
async fn letter(control: &Control, tenant: &str, destination: &str) {
    use sqlx::Connection as _;
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    // At the same place of a topic of its own, or two tenants could not both have one.
    sqlx::query(
        "INSERT INTO dead_letters (kind, partition, \"offset\", tenant_id, customer_id, destination_id, delivery_id, event_id,
             event_type, received_at, dead_at, attempts, reason, code, detail, value_len)
         SELECT tenant_id, 0, 7, tenant_id, customer_id, destination_id, gen_random_uuid(), gen_random_uuid(), 'a.b', now(),
             now(), 1, 'permanent', 'http_404', 'only-' || tenant_id, 1
         FROM destinations WHERE tenant_id = $1 AND destination_id = $2::uuid",
    )
    .bind(tenant)
    .bind(destination)
    .execute(&mut database)
    .await
    .unwrap();
}

/// A body that the operation would take, so that nothing but the credential stands in its way.
fn body(operation: &str) -> Option<Value> {
    let id = operation;
    let webhook = json!({"kind": "webhook", "config": {"url": "https://intruder.example"}});
    match id {
        "createTenant" => Some(json!({"tenantId": "intruder"})),
        "createCustomer" => Some(json!({"externalId": "intruder"})),
        "createSession" => Some(json!({"customerExternalId": "intruder"})),
        "createEventType" => Some(json!({"name": "intruder.came"})),
        // Their own customer of that name, and nothing of the victim's.
        "createErasure" => Some(json!({"customerExternalId": CUSTOMER})),
        "createCustomerReplay" | "createReplay" => {
            Some(json!({"source": "deadLetters", "start": true}))
        }
        _ if id.starts_with("discard") => Some(json!({"filter": {}})),
        _ if id.ends_with("Destination") && id.starts_with("create") => Some(webhook),
        _ if id.starts_with("disable") => Some(json!({"reason": "intruder"})),
        _ if id.starts_with("update") => Some(json!({"name": "intruder"})),
        _ if id.starts_with("create") => Some(json!({})),
        _ => None,
    }
}

#[tokio::test]
async fn no_credential_reaches_what_is_somebody_elses_by_any_route() {
    let control = control().await;
    // The victim, whose ids the intruders know.
    let victim = furnish(&control, "victim").await;
    let mate = control.session(&victim.tenant, "mate-customer").await;
    let stranger = furnish(&control, "stranger").await;
    let theirs = control.session(&stranger.tenant, CUSTOMER).await;
    let revoked = control
        .post("/v1/api-keys", &victim.tenant.key, json!({}))
        .await
        .is(201);
    let path = format!("/v1/api-keys/{}", text(&revoked["keyId"]));
    control.delete(&path, &victim.tenant.key).await.is(204);
    let ended = control
        .post(
            "/v1/sessions",
            &victim.tenant.key,
            json!({"customerExternalId": CUSTOMER}),
        )
        .await
        .is(201);
    let path = format!("/v1/sessions/{}", text(&ended["sessionId"]));
    control.delete(&path, &victim.tenant.key).await.is(204);
    let expired = control
        .post(
            "/v1/sessions",
            &victim.tenant.key,
            json!({"customerExternalId": CUSTOMER, "ttlSeconds": 1}),
        )
        .await
        .is(201);
    let expired = text(&expired["token"]);
    pushrail_testkit::wait_for("the session is over", async || {
        let answer = control.get("/v1/destinations", &expired).await;
        (answer.status.as_u16() == 401).then_some(())
    })
    .await;
    let good = control.session(&victim.tenant, CUSTOMER).await;
    let mut forged = good.clone();
    forged.pop();
    let (ended, revoked) = (text(&ended["token"]), text(&revoked["key"]));
    let outsiders = [
        ("nothing", ""),
        (
            "a made-up key",
            "psh_000000000000_0123456789012345678901234567890123456789",
        ),
        ("a garbled token", forged.as_str()),
        ("a revoked key", revoked.as_str()),
        ("a revoked session", ended.as_str()),
        ("an expired session", expired.as_str()),
    ];
    let insiders = [
        ("another tenant's key", stranger.tenant.key.as_str()),
        ("another tenant's session", theirs.as_str()),
        ("another customer's session", mate.as_str()),
    ];
    // What the other customer does to what is its own is on the same trail.
    let other = control
        .get("/v1/customers/mate-customer", &victim.tenant.key)
        .await
        .is(200);
    let other = text(&other["customerId"]);
    let trail = async || {
        let path = "/v1/audit-trail/export?tenantId=victim";
        let lines = control.get(path, ADMIN_KEY).await.text;
        let rest = lines.lines().filter(|line| !line.contains(&other));
        rest.map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["at"]))
            .collect::<Vec<_>>()
    };
    let before = trail().await;
    let document = control.get("/openapi.json", "").await.is(200);
    let (mut requests, mut leaks) = (0, Vec::new());
    for (template, methods) in document["paths"].as_object().unwrap() {
        let mut path = template.clone();
        for (name, value) in &victim.ids {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "the test knows no {path}");
        for (method, operation) in methods.as_object().unwrap() {
            let id = text(&operation["operationId"]);
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let body = body(&id);
            for (who, credential) in outsiders {
                requests += 1;
                let answer = control
                    .send(method.clone(), &path, credential, &[], body.as_ref())
                    .await;
                if answer.status.as_u16() != 401 || answer.text.contains("only-victim") {
                    leaks.push(format!("{id} with {who}: {answer:?}"));
                }
            }
            for (who, credential) in insiders {
                requests += 1;
                let answer = control
                    .send(method.clone(), &path, credential, &[], body.as_ref())
                    .await;
                // What answers well answers of the caller's own. Event types are the tenant's and no customer's.
                let shared = who == "another customer's session" && id.contains("EventType");
                let tells = answer.text.contains("only-victim")
                    || answer.text.contains(&victim.ids["destinationId"])
                    || answer.text.contains(&victim.ids["deliveryId"])
                    || answer.text.contains(&victim.ids["erasureId"])
                    || answer.text.contains(&victim.ids["keyId"]);
                let names = [
                    "{tenantId}",
                    "{destinationId}",
                    "{deliveryId}",
                    "{keyId}",
                    "{sessionId}",
                    "{erasureId}",
                ];
                let reached = names.iter().any(|name| template.contains(name));
                if answer.status.is_success() && (reached || tells && !shared) {
                    leaks.push(format!("{id} with {who}: {answer:?}"));
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{} leaks: {leaks:#?}", leaks.len());
    assert!(requests > 400, "{requests}");
    println!("{requests} requests, 0 leaks");
    // Nothing of the victim's has changed.
    assert_eq!(before, trail().await);
}
