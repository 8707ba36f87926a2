//! What is in the queue afterwards, as boto3 sees it.

use pushrail_conformance::{record, records};
use pushrail_sink_core::{Adapter as _, canonical};
use pushrail_sqs::Sqs;
use pushrail_testkit::moto;
use serde_json::{Value, json};

use super::support::{client, messages, queue, send, verdicts};

fn body(record: &pushrail_sink_core::Record) -> String {
    let mut body = Vec::new();
    canonical::write(&record.event, &mut body);
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn a_message_is_the_event_with_its_small_fields_beside_it() {
    let moto = moto().await;
    let queue = queue(moto, false).await;
    let client = client(&queue, &moto.url(), json!({})).await;
    let record = record(r#"{ "total" : 4.20, "text": "ä\u0000" }"#);
    let outcome = send(&client, std::slice::from_ref(&record)).await;
    assert_eq!(verdicts(&outcome), ["delivered"]);
    let found = messages(moto, &queue).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["body"], json!(body(&record)), "byte for byte");
    let event = &record.event;
    assert_eq!(
        found[0]["attributes"],
        json!({
            "event_id": event.event_id(), "event_type": "order.completed",
            "occurred_at": "2026-01-02T03:04:05.123456Z", "received_at": "2026-01-02T03:04:06.123456Z",
            "customer_external_id": "cust-1", "idempotency_key": event.idempotency_key(), "source": "shop",
        })
    );
    let id = format!("message {}", found[0]["id"].as_str().unwrap());
    assert_eq!(
        outcome.evidence.excerpt,
        id.as_bytes(),
        "it is told which message it is"
    );
}

#[tokio::test]
async fn a_batch_that_fits_into_no_call_is_sent_in_several() {
    let moto = moto().await;
    let queue = queue(moto, false).await;
    let client = client(&queue, &moto.url(), json!({})).await;
    let mut batch = records(23);
    let large = |len: usize| record(&format!(r#"{{"x":"{}"}}"#, "y".repeat(len)));
    batch.extend([large(150_000), large(300_000), large(150_000)]);
    let outcome = send(&client, &batch).await;
    let mut expected = vec!["delivered"; 26];
    expected[24] = "reject too_large";
    assert_eq!(
        verdicts(&outcome),
        expected,
        "what is too large is alone with it"
    );
    assert_eq!(messages(moto, &queue).await.len(), 25);
    for record in &batch {
        let weight = Sqs::weigh(record);
        assert!(weight >= body(record).len() + 200, "{weight}");
    }
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_and_drops_what_it_had() {
    let moto = moto().await;
    let queue = queue(moto, true).await;
    let client = client(&queue, &moto.url(), json!({})).await;
    let batch = records(15);
    for _ in 0..2 {
        assert_eq!(
            verdicts(&send(&client, &batch).await),
            vec!["delivered"; 15]
        );
    }
    let found = messages(moto, &queue).await;
    let bodies: Vec<_> = found
        .iter()
        .map(|message| message["body"].as_str().unwrap().to_owned())
        .collect();
    let sent: Vec<_> = batch.iter().map(|record| body(record)).collect();
    assert_eq!(bodies, sent);
    for (message, record) in found.iter().zip(&batch) {
        assert_eq!(message["group"], json!("cust-1"));
        assert_eq!(message["deduplication"], json!(record.event.event_id()));
    }
}

#[tokio::test]
async fn the_idempotency_key_tells_repeats_apart_where_that_was_asked_for() {
    let moto = moto().await;
    let queue = queue(moto, true).await;
    let by_key = json!({"deduplication": "idempotency_key"});
    let client = client(&queue, &moto.url(), by_key).await;
    let batch = records(1);
    send(&client, &batch).await;
    let found: Vec<Value> = messages(moto, &queue).await;
    assert_eq!(
        found[0]["deduplication"],
        json!(batch[0].event.idempotency_key())
    );
}

#[tokio::test]
async fn a_character_that_sqs_refuses_arrives_all_the_same() {
    let moto = moto().await;
    let queue = queue(moto, false).await;
    let client = client(&queue, &moto.url(), json!({})).await;
    let odd = record("{\"text\":\"a\u{fffe}b\u{ffff}c\"}");
    let outcome = send(&client, &[odd, record("{}")]).await;
    assert_eq!(verdicts(&outcome), ["delivered", "delivered"]);
    let found = messages(moto, &queue).await;
    let text = found.iter().find_map(|message| {
        let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        body["payload"]["text"].as_str().map(str::to_owned)
    });
    assert_eq!(text.as_deref(), Some("a\u{fffe}b\u{ffff}c"));
}
