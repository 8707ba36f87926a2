//! The directory on a real Kafka.

use std::time::Duration;

use pushrail_directory::{
    Change, Directory, Interest, Key, Record, WriteError, Writer, api_key_sha256,
};
use pushrail_kafka::rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use pushrail_kafka::rdkafka::client::DefaultClientContext;
use pushrail_schemas::config::{ApiKey, Destination, EventValidation, Tenant};
use pushrail_schemas::identity;
use pushrail_testkit::{Cluster, headers, wait_for, wait_until};
use serde_json::json;
use uuid::Uuid;

fn destination(kind: &str, version: u64) -> Destination {
    let value = json!({
        "destinationId": Uuid::new_v4(),
        "tenantId": "acme",
        "customerId": identity::customer_id("acme", "c-1"),
        "customerExternalId": "c-1",
        "kind": kind,
        "name": "Orders",
        "version": version,
        "config": {"url": "https://example.com"},
        "eventTypes": ["order.*"],
    });
    serde_json::from_value(value).unwrap()
}

fn start(cluster: &Cluster, interest: Interest) -> Directory {
    Directory::start(&cluster.connection(), interest).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_knows_what_was_there_and_what_comes() {
    let cluster = Cluster::private().await;
    // Segments that close at once and a cleaner that is never content: compaction happens while we watch.
    let eager = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
    ];
    cluster.create("config", 1, &eager).await;
    let writer = Writer::connect(&cluster.connection()).unwrap();
    an_empty_topic_is_read_at_once(&cluster).await;
    changes_are_told_and_a_sink_hears_of_its_own(&cluster, &writer).await;
    what_is_invalid_is_refused_and_what_is_malformed_is_passed_over(&cluster, &writer).await;
    keys_open_and_close_doors(&cluster, &writer).await;
    hurry_the_cleaner(&cluster).await;
    a_start_after_compaction_finds_the_same(&cluster, &writer).await;
}

/// The broker's cleaner looks for work every 15 s unless told otherwise.
async fn hurry_the_cleaner(cluster: &Cluster) {
    let admin: AdminClient<DefaultClientContext> =
        cluster.connection().admin("test").create().unwrap();
    let brokers = admin
        .inner()
        .fetch_metadata(None, Duration::from_secs(30))
        .unwrap();
    let broker = ResourceSpecifier::Broker(brokers.brokers()[0].id());
    let config = AlterConfig::new(broker).set("log.cleaner.backoff.ms", "200");
    admin
        .alter_configs(&[config], &AdminOptions::new())
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
}

async fn an_empty_topic_is_read_at_once(cluster: &Cluster) {
    let directory = start(cluster, Interest::everything());
    directory.ready().await;
    assert!(directory.destination_ids().is_empty() && directory.is_ready());
}

async fn changes_are_told_and_a_sink_hears_of_its_own(cluster: &Cluster, writer: &Writer) {
    let before = destination("webhook", 1);
    writer.put(Record::Destination(&before)).await.unwrap();
    let directory = start(cluster, Interest::kind("webhook"));
    directory.ready().await;
    assert_eq!(
        directory
            .destination(before.destination_id)
            .unwrap()
            .version,
        1
    );

    let mut changes = directory.subscribe();
    let (webhook, s3) = (destination("webhook", 1), destination("s3", 1));
    writer.put(Record::Destination(&s3)).await.unwrap();
    writer.put(Record::Destination(&webhook)).await.unwrap();
    assert_eq!(
        changes.recv().await,
        Some(Change::Destination(webhook.destination_id))
    );
    let changed = Destination {
        version: 2,
        ..before
    };
    let at = writer.put(Record::Destination(&changed)).await.unwrap();
    directory.seen(at).await;
    assert_eq!(
        directory
            .destination(changed.destination_id)
            .unwrap()
            .version,
        2
    );
    assert_eq!(
        changes.recv().await,
        Some(Change::Destination(changed.destination_id))
    );
    writer
        .remove(&Key::Destination(changed.destination_id))
        .await
        .unwrap();
    assert_eq!(
        changes.recv().await,
        Some(Change::Removed(changed.destination_id))
    );
    assert!(directory.destination(changed.destination_id).is_none());
    assert!(!directory.has_destination(s3.destination_id));
    drop(directory);
    assert_eq!(
        changes.recv().await,
        None,
        "a subscriber must not wait for a directory that has ended"
    );
}

async fn what_is_invalid_is_refused_and_what_is_malformed_is_passed_over(
    cluster: &Cluster,
    writer: &Writer,
) {
    let good = destination("webhook", 1);
    let invalid = Destination {
        event_types: Vec::new(),
        kind: "direct".into(),
        ..good.clone()
    };
    let Err(WriteError::Invalid(problems)) = writer.put(Record::Destination(&invalid)).await else {
        panic!("an invalid destination was put");
    };
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(fields, ["/eventTypes", "/kind"]);

    writer.put(Record::Destination(&good)).await.unwrap();
    let key = Key::Destination(good.destination_id).to_string();
    for (key, value) in [
        (key.as_str(), "{"),
        ("destination/1", "{}"),
        ("what/ever", "1"),
        (key.as_str(), "{}"),
    ] {
        cluster
            .produce("config", key, value.as_bytes(), headers(&[]))
            .await;
    }
    let last = destination("webhook", 1);
    let at = writer.put(Record::Destination(&last)).await.unwrap();
    let directory = start(cluster, Interest::everything());
    directory.ready().await;
    directory.seen(at).await;
    assert_eq!(directory.malformed(), 4);
    assert!(
        directory.has_destination(last.destination_id),
        "reading went on"
    );
    assert!(
        directory.has_destination(good.destination_id),
        "what was known stays in force"
    );
    // Cleaned up, or the next part would count them again.
    for key in [key.as_str(), "destination/1", "what/ever"] {
        cluster.produce("config", key, b"", headers(&[])).await;
    }
    writer
        .remove(&Key::Destination(good.destination_id))
        .await
        .unwrap();
}

async fn keys_open_and_close_doors(cluster: &Cluster, writer: &Writer) {
    let directory = start(cluster, Interest::keys());
    let tenant = Tenant {
        tenant_id: "acme".into(),
        name: "Acme".into(),
        audit_feed: false,
        event_validation: EventValidation::Off,
        encryption: Default::default(),
    };
    let key = ApiKey {
        key_id: "k1".into(),
        tenant_id: "acme".into(),
        sha256: api_key_sha256("pr_secret"),
    };
    writer.put(Record::Tenant(&tenant)).await.unwrap();
    let at = writer.put(Record::ApiKey(&key)).await.unwrap();
    directory.seen(at).await;
    assert_eq!(
        &*directory.tenant_of_key("pr_secret").unwrap().tenant_id,
        "acme"
    );
    assert!(
        directory.tenant_of_key("pr_secret2").is_none() && directory.destination_ids().is_empty()
    );
    let at = writer.remove(&Key::ApiKey("k1".into())).await.unwrap();
    directory.seen(at).await;
    assert!(directory.tenant_of_key("pr_secret").is_none());
}

async fn a_start_after_compaction_finds_the_same(cluster: &Cluster, writer: &Writer) {
    let (kept, removed) = (destination("webhook", 1), destination("webhook", 1));
    writer.put(Record::Destination(&removed)).await.unwrap();
    for version in 1..=20 {
        writer
            .put(Record::Destination(&Destination {
                version,
                ..kept.clone()
            }))
            .await
            .unwrap();
    }
    // Versions out of order: the newest record wins, before compaction and after.
    writer
        .put(Record::Destination(&Destination {
            version: 7,
            ..kept.clone()
        }))
        .await
        .unwrap();
    writer
        .remove(&Key::Destination(removed.destination_id))
        .await
        .unwrap();
    let following = start(cluster, Interest::everything());
    following.ready().await;

    let id = kept.destination_id;
    let records = wait_for("compaction", async || {
        // A segment closes when a record comes after its time, and only closed ones are compacted.
        writer.remove(&Key::Tenant("nobody".into())).await.unwrap();
        let records = cluster.read_all("config").await;
        let of_kept = records.iter().filter(|record| {
            record.key.as_deref() == Some(Key::Destination(id).to_string().as_bytes())
        });
        (of_kept.count() == 1).then_some(records)
    })
    .await;
    assert!(records.len() < 20, "{} records are left", records.len());
    let fresh = start(cluster, Interest::everything());
    fresh.ready().await;
    for directory in [&following, &fresh] {
        assert_eq!(directory.destination(id).unwrap().version, 7);
        assert!(!directory.has_destination(removed.destination_id));
    }
    let ids =
        |directory: &Directory| std::collections::BTreeSet::from_iter(directory.destination_ids());
    assert_eq!(ids(&following), ids(&fresh));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_waits_for_kafka_and_goes_on_after_an_outage() {
    let mut cluster = Cluster::private().await;
    cluster.kafka().stop().await;
    let directory = start(&cluster, Interest::everything());
    let early = tokio::time::timeout(Duration::from_millis(300), directory.ready()).await;
    assert!(early.is_err(), "it cannot be ready without Kafka");
    cluster.kafka().restart().await.unwrap();
    assert!(!directory.is_ready(), "nor without its topic");
    cluster
        .create("config", 1, &[("cleanup.policy", "compact")])
        .await;
    directory.ready().await;

    let writer = Writer::connect(&cluster.connection()).unwrap();
    let first = destination("webhook", 1);
    let at = writer.put(Record::Destination(&first)).await.unwrap();
    directory.seen(at).await;
    cluster.kafka().kill().await;
    assert!(
        directory.has_destination(first.destination_id),
        "what is known stays known"
    );
    cluster.kafka().restart().await.unwrap();
    let second = destination("webhook", 1);
    writer.put(Record::Destination(&second)).await.unwrap();
    wait_until("the change after the outage", || {
        directory.has_destination(second.destination_id)
    })
    .await;
}
