//! Health, and who is told of it.

use pushrail_schemas::attempt::Outcome;
use pushrail_schemas::event::Event;
use pushrail_store::log::health;
use pushrail_store::{Scope, customers, outbox, tenants};
use pushrail_testkit::wait_for;
use serde_json::Value;
use uuid::Uuid;

use crate::bed::{Bed, TENANT, Teller};

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_is_kept_and_told_to_whoever_follows_operations() {
    let bed = Bed::new().await;
    let settings = tenants::Settings::named(TENANT);
    let destination_id = Uuid::from_u128(0xd001);
    let mut tx = bed.store.begin(Scope::System).await.unwrap();
    tenants::insert(&mut tx, TENANT, &settings).await.unwrap();
    customers::ensure(&mut tx, TENANT, "c1", "").await.unwrap();
    customers::ensure(&mut tx, TENANT, pushrail_log::OPERATIONS, "")
        .await
        .unwrap();
    let document = destination(destination_id);
    pushrail_store::destinations::insert(&mut tx, &document)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let mut teller = Teller::new();
    let mut told = Vec::new();
    for (times, outcome) in [(12, Outcome::Retrying), (1, Outcome::Delivered)] {
        for event in 0..times {
            bed.write(&teller.attempt(1, event, outcome)).await;
        }
    }
    teller.later(6);
    let indexer = bed.start().await;
    bed.arrived(13).await;
    // The indexer is another one for what follows: what it knows it reads.
    indexer.stop().await;
    bed.write(&teller.attempt(1, 99, Outcome::Delivered)).await;
    let indexer = bed.start().await;
    let healthy = wait_for("it to be well", async || {
        let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
        let rows = health::of(&mut tx, &[destination_id]).await.unwrap();
        rows.into_iter().find(|row| row.health == "healthy")
    })
    .await;
    indexer.stop().await;
    assert_eq!(
        (healthy.consecutive_failures, healthy.since),
        (0, teller.now())
    );
    assert_eq!(healthy.last_failure_code.as_deref(), Some("http_503"));
    let mut tx = bed.store.begin(Scope::System).await.unwrap();
    for letter in outbox::oldest(&mut tx, 100).await.unwrap() {
        assert_eq!(
            (&*letter.topic, &*letter.key),
            ("events", "acme/pushrail.operations")
        );
        let headers = letter.headers().unwrap();
        assert!(
            headers.contains(&("tenant_id".into(), TENANT.into())),
            "{headers:?}"
        );
        let event = Event::parse(letter.value.unwrap().into()).unwrap();
        assert_eq!(event.event_type(), "pushrail.destination.health_changed");
        let payload: Value = serde_json::from_slice(event.payload()).unwrap();
        assert_eq!(payload["destinationName"], "orders");
        told.push((
            payload["from"].as_str().unwrap().to_owned(),
            payload["to"].as_str().unwrap().to_owned(),
        ));
    }
    let expected = [
        ("healthy", "degraded"),
        ("degraded", "failing"),
        ("failing", "degraded"),
        ("degraded", "healthy"),
    ];
    assert_eq!(
        told,
        expected.map(|(from, to)| (from.to_owned(), to.to_owned()))
    );
}

fn destination(destination_id: Uuid) -> pushrail_schemas::config::Destination {
    use pushrail_schemas::config::{Destination, PayloadMode, RetryPolicy, State};
    Destination {
        destination_id,
        tenant_id: TENANT.into(),
        customer_id: pushrail_schemas::identity::customer_id(TENANT, "c1"),
        customer_external_id: "c1".into(),
        kind: "webhook".into(),
        name: "orders".into(),
        state: State::Active,
        version: 1,
        config: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
        secrets: None,
        event_types: vec!["*".into()],
        filter: None,
        transform: Vec::new(),
        retry: RetryPolicy::default(),
        rate_limit: None,
        batch: None,
        payload_mode: PayloadMode::Full,
        payload_mode_inherited: false,
        timeout_ms: None,
    }
}
