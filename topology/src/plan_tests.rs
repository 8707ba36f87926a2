use super::*;
use crate::{Settings, wanted};

fn declared() -> Vec<Topic> {
    wanted(&Settings::single(), &["webhook"], &["dev"]).unwrap()
}

/// A cluster that has exactly what is wanted.
fn applied(wanted: &[Topic]) -> Live {
    let topics = wanted.iter().map(|topic| {
        let found = LiveTopic {
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            config: topic.config.clone(),
        };
        (topic.name.clone(), found)
    });
    Live {
        brokers: 1,
        topics: topics.collect(),
    }
}

#[test]
fn an_empty_cluster_gets_everything_and_an_applied_one_nothing() {
    let wanted = declared();
    let plan = compare(
        &wanted,
        &Live {
            brokers: 1,
            ..Live::default()
        },
    );
    assert_eq!((plan.create.len(), plan.drift.len()), (wanted.len(), 0));
    let plan = compare(&wanted, &applied(&wanted));
    assert!(plan.is_empty() && plan.drift.is_empty());
    assert_eq!(
        plan.to_string(),
        format!("Nothing to do; {} topics are as declared.", wanted.len())
    );
}

#[test]
fn fewer_partitions_grow_and_the_cost_is_said() {
    let wanted = declared();
    let mut live = applied(&wanted);
    live.topics.get_mut("events").unwrap().partitions = 3;
    let plan = compare(&wanted, &live);
    assert_eq!((plan.grow[0].from, plan.grow[0].to), (3, 12));
    assert!(plan.to_string().contains("idempotency key may pass once"));
}

#[test]
fn what_cannot_be_undone_safely_is_reported_and_left() {
    let wanted = declared();
    let mut live = applied(&wanted);
    live.topics.get_mut("events").unwrap().partitions = 24;
    live.topics
        .get_mut("deliver.webhook")
        .unwrap()
        .replication_factor = 3;
    live.topics.get_mut("config").unwrap().partitions = 0;
    live.topics
        .get_mut("dlq.webhook")
        .unwrap()
        .config
        .insert("retention.ms".into(), "1000".into());
    live.topics
        .insert("deliver.telegraph".into(), LiveTopic::default());
    live.topics
        .insert("someone.elses".into(), LiveTopic::default());
    let plan = compare(&wanted, &live);
    assert!(plan.is_empty(), "{plan}");
    let said = plan.to_string();
    for drift in [
        "has 24 partitions, declared 12",
        "has 3 copies, set 1",
        "has 0 partitions, declared 1; this topic must not grow",
        "retention.ms is 1000, declared 2592000000",
        "deliver.telegraph        is named like ours",
        "5 differences are reported (!) and left alone",
    ] {
        assert!(said.contains(drift), "{drift} is missing in:\n{said}");
    }
    assert!(!said.contains("someone.elses"));
    assert!(plan.to_json().contains(r#""drift": "unmanaged""#));
}

#[test]
fn the_same_setting_in_other_words_is_no_drift() {
    assert!(same("cleanup.policy", "compact,delete", "delete, compact"));
    assert!(same("min.cleanable.dirty.ratio", "0.1", "0.10"));
    assert!(!same("cleanup.policy", "compact", "compact,delete"));
    assert!(!same("compression.type", "producer", "zstd"));
}
