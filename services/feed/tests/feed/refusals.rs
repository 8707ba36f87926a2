//! Topics that are not there, or do not take what they are given.

use pushrail_kafka::rdkafka::admin::{AdminClient, AdminOptions};
use pushrail_kafka::rdkafka::client::DefaultClientContext;
use pushrail_testkit::wait_for;
use pushrail_topology::topics;
use uuid::Uuid;

use crate::bed::{Bed, Feed, value};

/// Writes records of `tenant` until one arrives, and then so many more that all must.
async fn flows_again(bed: &Bed, feed: &Feed, tenant: &str, from: u128) {
    let mut number = from;
    wait_for("the first copy", async || {
        bed.attempt(tenant, number).await;
        number += 1;
        let copies = feed.metric("pushrail_feed_copies_total");
        let known = bed.cluster.read_all(&topics::audit(tenant)).await;
        (copies > 0 && !known.is_empty()).then_some(())
    })
    .await;
    for later in number..number + 20 {
        bed.attempt(tenant, later).await;
    }
    bed.arrived(tenant, number..number + 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_topic_is_missing_stops_nobody_and_gets_records_when_it_is_there() {
    let bed = Bed::new(&["acme"]).await;
    for tenant in ["missing", "missing-too"] {
        bed.tenant(tenant, true).await;
    }
    let feed = bed.start().await;
    for number in 0..300 {
        let tenant = ["acme", "missing", "missing-too"][number as usize % 3];
        bed.attempt(tenant, number).await;
    }
    feed.idle_after(300).await;
    let expected: Vec<u128> = (0..300).step_by(3).collect();
    assert_eq!(bed.copies("acme").await, expected);
    assert_eq!(feed.dropped("topic_missing"), 200);
    assert_eq!(
        feed.metric("pushrail_feed_refused_copies_total"),
        0,
        "nobody paid for it"
    );
    bed.create("missing").await;
    flows_again(&bed, &feed, "missing", 300).await;
    assert_eq!(bed.copies("acme").await, expected);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_stops_nobody_and_gets_records_when_it_is_made_again() {
    let bed = Bed::new(&["acme", "globex"]).await;
    let feed = bed.start().await;
    for number in 0..20 {
        bed.attempt(["acme", "globex"][number as usize % 2], number)
            .await;
    }
    feed.idle_after(20).await;
    let admin: AdminClient<DefaultClientContext> =
        bed.cluster.connection().admin("test").create().unwrap();
    let topic = topics::audit("globex");
    let deleted = admin.delete_topics(&[&topic], &AdminOptions::new()).await;
    deleted.unwrap()[0].as_ref().unwrap();
    for number in 20..40 {
        // Both tenants on both partitions.
        bed.attempt("globex", number).await;
        bed.attempt("acme", number).await;
    }
    bed.arrived("acme", 20..40).await;
    feed.idle_after(60).await;
    assert!(feed.dropped("topic_missing") > 0);
    bed.create("globex").await;
    flows_again(&bed, &feed, "globex", 40).await;
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_tenants_topic_does_not_take_stops_nobody() {
    let bed = Bed::new(&["acme"]).await;
    let topic = topics::audit("narrow");
    let narrow = [("max.message.bytes", "2000")];
    bed.cluster.create(&topic, 2, &narrow).await;
    bed.tenant("narrow", true).await;
    let feed = bed.start().await;
    // What cannot be compressed away.
    let noise = (0..400).flat_map(|_| Uuid::new_v4().into_bytes());
    let noise: Vec<u8> = noise.collect();
    for number in 0..40 {
        match number % 4 {
            0 | 1 => bed.attempt("acme", number).await,
            _ if number % 8 < 4 => bed.write(number, &value("narrow", number, &noise)).await,
            _ => bed.attempt("narrow", number).await,
        }
    }
    feed.idle_after(40).await;
    let expected = |wanted: fn(u128) -> bool| (0..40).filter(|n| wanted(*n)).collect::<Vec<_>>();
    assert_eq!(bed.copies("acme").await, expected(|n| n % 4 < 2));
    assert_eq!(bed.copies("narrow").await, expected(|n| n % 8 > 5));
    assert_eq!(feed.dropped("refused"), 10);
    feed.stop().await;
}
