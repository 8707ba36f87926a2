//! What is in the index.

use std::collections::{HashMap, HashSet};

use pushrail_kafka::rdkafka::producer::FutureRecord;
use pushrail_kafka::rdkafka::util::Timeout;
use pushrail_schemas::attempt::Outcome;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{self, Delivery, Origin};
use pushrail_schemas::identity;
use pushrail_store::Scope;
use pushrail_store::log::search::{self, Wanted};
use pushrail_store::log::{dead_letters, figures};
use pushrail_testkit::{headers as pairs, wait_for};
use pushrail_topology::topics;
use uuid::Uuid;

use crate::bed::{Bed, TENANT, Teller};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stops_an_indexer_each_attempt_is_in_the_index_once() {
    let bed = Bed::new().await;
    let mut teller = Teller::new();
    let (destinations, events) = (8, 60);
    let mut written = HashSet::new();
    for event in 0..events {
        for destination in 0..destinations {
            for outcome in [Outcome::Retrying, Outcome::Delivered] {
                let attempt = teller.attempt(destination, event, outcome);
                written.insert(attempt.attempt_id);
                bed.write(&attempt).await;
            }
        }
        // In the middle of it, one that stops and one that comes; both share the partitions for a while.
        if event % 15 == 7 {
            let first = bed.start().await;
            let second = bed.start().await;
            bed.arrived(written.len() / 2).await;
            first.stop().await;
            second.stop().await;
        }
    }
    bed.write_garbage().await;
    let last = bed.start().await;
    let all = bed.arrived(written.len()).await;
    last.stop().await;

    let found: HashSet<Uuid> = all.iter().map(|attempt| attempt.attempt_id).collect();
    assert_eq!((all.len(), &found), (written.len(), &written), "each once");
    let newest = bed.all(true).await;
    assert_eq!(newest.len() as u128, destinations * events);
    assert!(
        newest
            .iter()
            .all(|attempt| attempt.outcome == "delivered" && attempt.attempt == 2)
    );
    let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
    // The payload is kept with one of a delivery's attempts.
    let timeline = search::timeline(&mut tx, TENANT, newest[0].delivery_id)
        .await
        .unwrap();
    let payloads: Vec<_> = timeline
        .iter()
        .filter_map(|row| row.payload.as_deref())
        .collect();
    assert_eq!(payloads, [br#"{"total":12}"#.as_slice()]);
    assert_eq!(
        timeline[0].response_excerpt.as_deref(),
        Some(b"no".as_slice())
    );
    // And the figures agree with the attempts.
    let (since, until) = (
        pushrail_store::log::Micros(0),
        pushrail_store::log::Micros(i64::MAX / 2),
    );
    let mut sum = figures::Counts::default();
    for destination in 0..destinations {
        let id = Uuid::from_u128(0xd000 + destination);
        for (_, counts) in figures::series(&mut tx, id, since, until).await.unwrap() {
            sum.add(&counts);
        }
    }
    assert_eq!((sum.delivered + sum.retrying) as usize, written.len());
    assert_eq!(sum.attempts() as usize, written.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_queued_and_what_is_skipped_says_why() {
    let bed = Bed::new().await;
    let mut teller = Teller::new();
    for (destination, outcomes) in [
        (1, vec![Outcome::Queued]),
        (2, vec![Outcome::Queued, Outcome::Retrying]),
        (
            3,
            vec![Outcome::Queued, Outcome::Retrying, Outcome::Delivered],
        ),
        (4, vec![Outcome::Skipped]),
        (5, vec![Outcome::Dead]),
    ] {
        for outcome in outcomes {
            bed.write(&teller.attempt(destination, 1, outcome)).await;
        }
    }
    let indexer = bed.start().await;
    bed.arrived(8).await;
    indexer.stop().await;
    let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
    let wanted = Wanted {
        tenant_id: TENANT.into(),
        latest: true,
        ..Wanted::default()
    };
    let counts: HashMap<_, _> = search::counts(&mut tx, &wanted)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let one = |outcome| counts[&outcome];
    assert_eq!(
        [
            Outcome::Queued,
            Outcome::Retrying,
            Outcome::Delivered,
            Outcome::Skipped,
            Outcome::Dead
        ]
        .map(one),
        [1; 5]
    );
    let found = |wanted: Wanted| {
        let store = bed.store.clone();
        async move {
            let mut tx = store.begin(Scope::Tenant(TENANT)).await.unwrap();
            search::list(&mut tx, &wanted, None, 50)
                .await
                .unwrap()
                .len()
        }
    };
    let all = || Wanted {
        tenant_id: TENANT.into(),
        ..Wanted::default()
    };
    assert_eq!(
        found(Wanted {
            text: Some("service UNAVAILABLE".into()),
            ..all()
        })
        .await,
        3
    );
    assert_eq!(
        found(Wanted {
            text: Some("100%".into()),
            ..all()
        })
        .await,
        0
    );
    assert_eq!(
        found(Wanted {
            status_code: Some(503),
            ..all()
        })
        .await,
        3
    );
    assert_eq!(
        found(Wanted {
            event_type: Some("order.*".into()),
            ..all()
        })
        .await,
        8
    );
    assert_eq!(
        found(Wanted {
            event_type: Some("order".into()),
            ..all()
        })
        .await,
        0
    );
    assert_eq!(
        found(Wanted {
            latency_us_min: Some(20_000),
            ..all()
        })
        .await,
        0
    );
    assert_eq!(
        found(Wanted {
            event_id: Some(Uuid::from_u128(0xe001)),
            latest: true,
            ..all()
        })
        .await,
        5
    );
    // Of another tenant there is nothing, whatever is asked for.
    let mut tx = bed.store.begin(Scope::Tenant("other")).await.unwrap();
    assert!(
        search::list(&mut tx, &all(), None, 50)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_with_its_reason_and_where_it_lies() {
    let bed = Bed::new().await;
    bed.write_garbage().await;
    let (event_id, destination_id) = (Uuid::now_v7(), Uuid::now_v7());
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination_id),
        event_id,
        tenant_id: TENANT.into(),
        customer_id: identity::customer_id(TENANT, "c1"),
        destination_id,
        attempt: 3,
        deferrals: 0,
        first_attempt_at_ms: Some(1),
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    let mut list = Vec::new();
    let mut text = String::new();
    delivery.write(Some("webhook"), &mut text, |key, value| {
        list.push((key.to_owned(), value.to_owned()));
    });
    for (key, value) in [
        (headers::FAILURE_REASON, "permanent"),
        (headers::FAILURE_CODE, "http_400"),
        (headers::FAILURE_DETAIL, "The endpoint answered 400."),
    ] {
        list.push((key.to_owned(), value.to_owned()));
    }
    let list: Vec<(&str, &str)> = list.iter().map(|(key, value)| (&**key, &**value)).collect();
    let mut value = Vec::new();
    Parts {
        event_id,
        event_type: "order.completed",
        occurred_at_us: 5,
        customer_external_id: "c1",
        idempotency_key: None,
        source: None,
        payload: b"{}",
        metadata: b"{}",
        received_at_us: 7,
        subject_id: None,
        sealing: None,
    }
    .encode(1, &mut value);
    let topic = topics::dlq("webhook");
    let record = FutureRecord::to(&topic)
        .key("k")
        .payload(&value)
        .headers(pairs(&list));
    let at = bed.producer.send(record, Timeout::Never).await.unwrap();
    let indexer = bed.start().await;
    let wanted = dead_letters::Wanted {
        destination_id,
        state: Some("open".into()),
        ..Default::default()
    };
    let letters = wait_for("the dead letter", async || {
        let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
        let letters = dead_letters::list(&mut tx, &wanted, None, 10)
            .await
            .unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let letter = &letters[0];
    assert_eq!((letter.partition, letter.offset), (at.partition, at.offset));
    assert_eq!(
        (
            &*letter.reason,
            &*letter.code,
            letter.attempts,
            letter.value_len as usize
        ),
        ("permanent", "http_400", 3, value.len())
    );
    let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
    let counts = dead_letters::counts(&mut tx, &wanted).await.unwrap();
    assert_eq!(
        counts,
        [("open".into(), "permanent".into(), "http_400".into(), 1)]
    );
    drop(tx);
    let text = indexer.metrics.encode();
    assert!(
        text.contains("pushrail_log_passed_over_total{reason=\"unreadable\"} 2"),
        "{text}"
    );
    indexer.stop().await;
}
