//! Events against the catalogue of their tenant, over HTTP, without a Kafka.

mod support;

use pushrail_schemas::config::EventValidation;
use serde_json::{Value, json};
use support::{Edge, post};

fn event(name: &str, payload: &Value) -> Value {
    json!({"eventType": name, "customerExternalId": "c-1", "payload": payload})
}

fn edge(validation: EventValidation) -> Edge {
    let edge = Edge::validating(validation);
    let schema = json!({
        "required": ["total"],
        "properties": {"total": {"type": "number"}, "lines": {"items": {"required": ["sku"]}}},
    });
    edge.tenant.declare("order.completed", Some(schema));
    edge.tenant.declare("order.opened", None);
    edge
}

async fn single(edge: &Edge, name: &str, payload: Value) -> (u16, Value) {
    let answer = edge
        .post("/v1/events", event(name, &payload).to_string())
        .await;
    (answer.status.as_u16(), answer.json)
}

#[tokio::test]
async fn each_setting_refuses_what_it_says_and_nothing_else() {
    use EventValidation::{Catalogue, Off, Schema};
    for (name, payload, refusing) in [
        ("order.completed", json!({"total": 1}), &[][..]),
        (
            "order.completed",
            json!({"total": "1"}),
            &[Schema, Catalogue],
        ),
        ("order.completed", json!({}), &[Schema, Catalogue]),
        ("order.opened", json!({"total": "1"}), &[]),
        ("order.opend", json!({}), &[Catalogue]),
    ] {
        for validation in [Off, Schema, Catalogue] {
            let edge = edge(validation);
            let (status, answer) = single(&edge, name, payload.clone()).await;
            let refused = refusing.contains(&validation);
            let expected = if refused { 422 } else { 202 };
            assert_eq!(status, expected, "{name} {validation:?}: {answer}");
            assert_eq!(edge.published(), usize::from(!refused));
        }
    }
    for validation in [Off, Schema, Catalogue] {
        let (status, answer) = single(&edge(validation), "pushrail.test", json!({})).await;
        assert_eq!(
            (status, &answer["errors"][0]["field"]),
            (422, &json!("eventType"))
        );
    }
}

#[tokio::test]
async fn a_refusal_names_the_field_and_quotes_no_value() {
    let edge = edge(EventValidation::Catalogue);
    let secret = "hunter2".repeat(1_000);
    let payload = json!({"total": secret, "lines": [{"sku": 1}, {"price": secret}]});
    let (status, answer) = single(&edge, "order.completed", payload).await;
    assert_eq!(status, 422);
    assert_eq!(answer["type"], "urn:pushrail:problem:invalid-event");
    assert_eq!(
        answer["errors"],
        json!([
            {"field": "payload/total", "message": "must be a number"},
            {"field": "payload/lines/1/sku", "message": "is required"},
        ])
    );
    assert!(!answer.to_string().contains("hunter2"));
    let lines: Vec<_> = (0..50).map(|_| json!({})).collect();
    let payload = json!({"total": 1, "lines": lines});
    let (_, answer) = single(&edge, "order.completed", payload).await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 10);
    let (_, answer) = single(&edge, "order.opend", json!({})).await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("`order.opend`"), "{message}");
    let metrics = edge.metrics.encode();
    for (reason, count) in [("schema", 2), ("uncatalogued", 1)] {
        let line = format!(
            "pushrail_ingest_events_rejected_total{{origin=\"http\",reason=\"{reason}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_refused_event_of_a_batch_fails_no_neighbour() {
    let events = [
        event("order.completed", &json!({"total": 1})),
        event("order.completed", &json!({"total": "1"})),
        event("order.opend", &json!({})),
        event("order.opened", &json!({})),
    ];
    let array = Value::from(events.to_vec()).to_string();
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    for (media, body) in [
        ("application/json", array),
        ("application/x-ndjson", lines.join("\n")),
    ] {
        let edge = edge(EventValidation::Catalogue);
        let mut request = post("/v1/events/batch", body);
        let headers = request.headers_mut();
        headers.insert("content-type", media.parse().unwrap());
        let answer = edge.send(request).await;
        assert_eq!(answer.status, 207, "{}", answer.text);
        let results = answer.json["results"].as_array().unwrap();
        let statuses: Vec<_> = results
            .iter()
            .map(|one| one["status"].as_str().unwrap())
            .collect();
        assert_eq!(statuses, ["accepted", "rejected", "rejected", "accepted"]);
        assert_eq!(results[1]["errors"][0]["field"], "payload/total");
        assert_eq!(results[2]["errors"][0]["field"], "eventType");
        assert_eq!(edge.published(), 2);
    }
}
