//! What arrives, where, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use pushrail_conformance::{record, records};
use pushrail_sink_core::Record;
use serde_json::{Value, json};

use super::bed::{Arrived, Bed, bed, connect, make, read, send, verdicts};

#[tokio::test]
async fn a_stock_consumer_reads_key_headers_and_value() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let client = connect(&bed.clear(&topic)).await;
    let sent = record(r#"{ "total":12.50, "items": [1, "ä"] }"#);
    let outcome = send(&client, &[Arc::clone(&sent)]).await;
    assert_eq!(verdicts(&outcome), ["delivered"]);
    assert_eq!(outcome.evidence.excerpt, "partition 0: offset 0\n");
    let printed = bed
        .tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[
                "--topic",
                &topic,
                "--from-beginning",
                "--max-messages",
                "1",
                "--timeout-ms",
                "20000",
                "--formatter-property",
                "print.headers=true",
                "--formatter-property",
                "print.key=true",
                "--formatter-property",
                "headers.separator=|",
            ],
        )
        .await;
    let parts: Vec<&str> = printed.trim_end().split('\t').collect();
    let [headers, key, value] = parts[..] else {
        panic!("{printed}");
    };
    let (id, idempotency_key) = (sent.event.event_id(), sent.event.idempotency_key().unwrap());
    let expected = format!(
        "event_id:{id}|event_type:order.completed|occurred_at:2026-01-02T03:04:05.123456Z|\
         customer_external_id:cust-1|received_at:2026-01-02T03:04:06.123456Z|idempotency_key:{idempotency_key}|source:shop"
    );
    assert_eq!(headers, expected);
    assert_eq!(key, "cust-1");
    // The payload byte for byte.
    assert!(
        value.contains(r#""payload":{ "total":12.50, "items": [1, "ä"] },"#),
        "{value}"
    );
    let value: Value = serde_json::from_str(value).unwrap();
    assert_eq!(value["idempotencyKey"], json!(idempotency_key));
}

#[tokio::test]
async fn records_of_a_key_keep_their_order_over_calls_at_the_same_time() {
    const CALLS: usize = 12;
    const EACH: usize = 200;
    let bed = bed().await;
    let topic = bed.topic(3, &[]).await;
    let mut given = bed.clear(&topic);
    given.config["key"] = json!({"type": "payload", "path": "/key"});
    given.config["compression"] = json!("lz4");
    let client = connect(&given).await;
    let batch = |call: usize| -> Vec<Arc<Record>> {
        let one = |n: usize| {
            let n = call * EACH + n;
            record(&format!(r#"{{"key": "k-{}", "n": {n}}}"#, n % 17))
        };
        (0..EACH).map(one).collect()
    };
    let batches: Vec<_> = (0..CALLS).map(batch).collect();
    let calls = batches.iter().map(|batch| send(&client, batch));
    for outcome in futures::future::join_all(calls).await {
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{outcome:?}"
        );
    }
    let arrived = bed.read(&topic).await;
    assert_eq!(arrived.len(), CALLS * EACH);
    let mut last: BTreeMap<String, (i32, u64)> = BTreeMap::new();
    for Arrived {
        partition,
        key,
        value,
        ..
    } in &arrived
    {
        let n = value["payload"]["n"].as_u64().unwrap();
        if let Some((before_in, before)) = last.insert(key.clone().unwrap(), (*partition, n)) {
            assert!(
                before_in == *partition && before < n,
                "{key:?}: {before} and then {n}"
            );
        }
    }
    assert_eq!(last.len(), 17);
    let partitions: std::collections::BTreeSet<_> = last.values().map(|(p, _)| *p).collect();
    assert_eq!(partitions.len(), 3, "keys are spread");
}

#[tokio::test]
async fn keys_go_where_a_java_producer_puts_them() {
    let bed = bed().await;
    let topic = bed.topic(7, &[]).await;
    let mut given = bed.clear(&topic);
    given.config["key"] = json!({"type": "payload", "path": "/key"});
    let client = connect(&given).await;
    let all: Vec<_> = (0..50)
        .map(|n| record(&format!(r#"{{"key": "key-{n}"}}"#)))
        .collect();
    assert!(
        verdicts(&send(&client, &all).await)
            .iter()
            .all(|v| v == "delivered")
    );
    let input: String = (0..50).map(|n| format!("key-{n}\tvalue\n")).collect();
    let java = bed.topic(7, &[]).await;
    let arguments = ["--topic", &java, "--reader-property", "parse.key=true"];
    bed.tool_fed("org.apache.kafka.tools.ConsoleProducer", &arguments, &input)
        .await;
    let placed = |arrived: Vec<Arrived>| -> BTreeMap<_, _> {
        arrived
            .into_iter()
            .map(|one| (one.key, one.partition))
            .collect()
    };
    let (ours, theirs) = (
        placed(bed.read(&topic).await),
        placed(bed.read(&java).await),
    );
    assert_eq!(ours.len(), 50);
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back_gets_everything_once() {
    let mut bed = Bed::start().await;
    let topic = "t-restart".to_owned();
    make(&bed.bootstrap(), &topic, 1, &[]).await;
    let client = connect(&bed.clear(&topic)).await;
    let (before, during, after) = (records(50), records(50), records(50));
    assert!(
        verdicts(&send(&client, &before).await)
            .iter()
            .all(|v| v == "delivered")
    );
    bed.kafka.kill().await;
    let outcome = send(&client, &during).await;
    for verdict in verdicts(&outcome) {
        assert!(verdict.starts_with("retry connection_"), "{verdict}");
    }
    bed.kafka.restart().await.unwrap();
    for batch in [&during, &after] {
        let outcome = send(&client, batch).await;
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{outcome:?}"
        );
    }
    let arrived = read(bed.bootstrap(), topic).await;
    assert_eq!(arrived.len(), 150);
}
