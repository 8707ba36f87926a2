use pushrail_directory::Key;
use pushrail_obs::Traceparent;
use pushrail_schemas::event::Event;
use pushrail_schemas::headers::Delivery;
use pushrail_schemas::identity;
use pushrail_testkit::{Record, wait_until};
use pushrail_topology::topics;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bed::{Audit, Bed, PARTITIONS, Sent, TENANT};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn delivery(record: &Record) -> Delivery {
    Delivery::parse(
        record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice())),
    )
    .unwrap()
}

fn skip(event: u128, destination: Option<u128>, class: &str) -> Audit {
    Audit {
        event,
        destination,
        outcome: "skipped".into(),
        class: class.into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_match_is_delivered_and_every_skip_recorded() {
    let bed = Bed::new().await;
    bed.destination(1, "c-1", json!({})).await;
    bed.destination(
        2,
        "c-1",
        json!({"kind": "s3", "state": "paused", "transform": [{"drop": ["payload.card"]}]}),
    )
    .await;
    bed.destination(
        3,
        "c-1",
        json!({"filter": {"path": "payload.amount", "op": "gt", "value": 100}}),
    )
    .await;
    bed.destination(4, "c-1", json!({"state": "disabled"}))
        .await;
    bed.destination(5, "c-2", json!({"eventTypes": ["*"]}))
        .await;
    let router = bed.start(bed.settings()).await;

    let payload = r#"{ "amount": 100,  "card": "4111" }"#;
    let sent = Sent {
        traceparent: Some(TRACE),
        ..Sent::new(0xe1, "c-1", payload)
    };
    bed.event(&sent).await;
    bed.event(&Sent {
        event_type: "user.created",
        ..Sent::new(0xe2, "c-1", "{}")
    })
    .await;

    let hooks = bed.cluster.read("deliver.webhook", 1).await;
    let buckets = bed.cluster.read("deliver.s3", 1).await;
    for (record, destination, payload) in [
        (&hooks[0], 1, payload),
        (&buckets[0], 2, r#"{"amount":100}"#),
    ] {
        let (id, event) = (
            Uuid::from_u128(destination),
            Event::parse(record.value.clone().unwrap().into()).unwrap(),
        );
        assert_eq!(std::str::from_utf8(event.payload()).unwrap(), payload);
        assert_eq!(record.key.as_deref(), Some(id.to_string().as_bytes()));
        let delivery = delivery(record);
        assert_eq!(delivery.delivery_id, identity::delivery_id(sent.id, id));
        assert_eq!(delivery.customer_id, identity::customer_id(TENANT, "c-1"));
        assert_eq!(
            delivery.traceparent.as_deref(),
            Some(TRACE),
            "nobody follows it here, so it is passed on"
        );
    }
    let mut audit = bed.audit(3).await;
    audit.sort();
    assert_eq!(
        audit,
        [
            skip(0xe1, Some(3), "filtered"),
            skip(0xe1, Some(4), "disabled"),
            skip(0xe2, None, "no_match")
        ]
    );
    assert_eq!(router.metric("pushrail_router_events_total"), 2);
    assert_eq!(router.metric("pushrail_router_deliveries_total"), 2);
    assert_eq!(router.metric("pushrail_router_routes"), 5);
    assert!(
        router
            .metrics
            .encode()
            .contains(r#"pushrail_router_skips_total{class="filtered"} 1"#)
    );
    wait_until("the commit", || {
        router.metric("pushrail_router_lag_records") == 0
    })
    .await;
    router.stop().await;

    // What was finished is not done again.
    let router = bed.start(bed.settings()).await;
    bed.event(&Sent::new(0xe3, "c-2", "{}")).await;
    bed.cluster.read("deliver.webhook", 2).await;
    assert_eq!(router.metric("pushrail_router_events_total"), 1);
    router.stop().await;
    assert_eq!(bed.cluster.read_all("deliver.webhook").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_no_event_is_set_aside_and_stops_nobody() {
    let bed = Bed::new().await;
    bed.destination(1, "c-1", json!({})).await;
    let router = bed.start(bed.settings()).await;
    let good = Sent::new(0xe1, "c-1", "{}");
    let customer = identity::customer_id(TENANT, "c-1").to_string();
    let headers = [
        ("tenant_id", TENANT),
        ("customer_id", customer.as_str()),
        ("mine", "kept"),
    ];
    let key = identity::event_key(TENANT, "c-1");
    for (value, pairs) in [
        (&b"no avro at all"[..], &headers[..]),
        (b"", &headers),
        (&good.value()[..20], &headers),
        (&good.value(), &headers[1..]),
        (&good.value(), &[headers[0], ("customer_id", "x")]),
    ] {
        bed.produce(&key, value, pairs).await;
    }
    let (partition, last) = bed.event(&good).await;
    bed.cluster.read("deliver.webhook", 1).await;
    let letters = bed.cluster.read(topics::DLQ_EVENTS, 5).await;
    let mut found: Vec<_> = letters
        .iter()
        .map(|letter| {
            assert_eq!(letter.header("failure_reason"), Some("undecodable"));
            assert_eq!(letter.key.as_deref(), Some(&key[..]));
            let source = letter.header("failure_source").unwrap().to_owned();
            (source, letter.header("failure_detail").unwrap().to_owned())
        })
        .collect();
    found.sort();
    let source = |back: i64| format!("events/{partition}/{}", last - back);
    let says = [
        "starts with byte 110",
        "0 bytes",
        "ends at byte 20",
        "tenant_id is missing",
        "customer_id is not a UUID",
    ];
    for (at, ((from, detail), says)) in found.iter().zip(says).enumerate() {
        assert_eq!(*from, source(5 - at as i64));
        assert!(detail.contains(says), "{detail}, not {says}");
    }
    let first = letters
        .iter()
        .find(|letter| letter.header("failure_source") == Some(&source(5)))
        .unwrap();
    assert_eq!(
        first.value.as_deref(),
        Some(&b"no avro at all"[..]),
        "the original bytes"
    );
    assert_eq!(first.header("mine"), Some("kept"));
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_destination_applies_within_a_second() {
    let bed = Bed::new().await;
    let router = bed.start(bed.settings()).await;
    let mut id = 0xe0;
    let changes = [
        (json!({}), 1),
        (json!({"eventTypes": ["user.*"]}), 0),
        (json!({"eventTypes": ["*"]}), 1),
        (json!({"state": "disabled"}), 0),
        (json!({"state": "paused"}), 1),
    ];
    for (version, (more, wanted)) in changes.into_iter().enumerate() {
        let before = router.metric("pushrail_router_route_changes_total");
        let started = Instant::now();
        let mut more = more;
        more["version"] = json!(version + 1);
        bed.destination(1, "c-1", more).await;
        wait_until("the change", || {
            router.metric("pushrail_router_route_changes_total") > before
        })
        .await;
        assert!(started.elapsed().as_secs() < 1, "{:?}", started.elapsed());
        let deliveries = router.metric("pushrail_router_deliveries_total");
        let events = router.metric("pushrail_router_events_total");
        id += 1;
        bed.event(&Sent::new(id, "c-1", "{}")).await;
        wait_until("the event", || {
            router.metric("pushrail_router_events_total") > events
        })
        .await;
        // The tally is counted right after the event is.
        wait_until("the tally", || {
            router.metric("pushrail_router_deliveries_total") - deliveries == wanted
        })
        .await;
    }
    bed.writer
        .remove(&Key::Destination(Uuid::from_u128(1)))
        .await
        .unwrap();
    wait_until("the removal", || {
        router.metric("pushrail_router_routes") == 0
    })
    .await;
    assert_eq!(
        router.metric("pushrail_router_partitions"),
        i64::from(PARTITIONS)
    );
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_event_is_followed_through_the_router() {
    let bed = Bed::new().await;
    bed.destination(1, "c-1", json!({})).await;
    let router = bed.start(bed.settings()).await;
    let followed = TRACE.replace("-b7ad6b7169203331-00", "-b7ad6b7169203331-01");
    let sent = Sent {
        traceparent: Some(&followed),
        ..Sent::new(0xe1, "c-1", "{}")
    };
    bed.event(&sent).await;
    let records = bed.cluster.read("deliver.webhook", 1).await;
    let parent = Traceparent::parse(followed.as_bytes()).unwrap();
    let own = delivery(&records[0]).traceparent.unwrap();
    let own = Traceparent::parse(own.as_bytes()).unwrap();
    assert_eq!(own.trace_id(), parent.trace_id());
    assert_ne!(
        own.span_id(),
        parent.span_id(),
        "the delivery is a child of the router's span"
    );
    assert!(own.is_sampled());
    router.stop().await;
}
