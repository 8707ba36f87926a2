use super::*;
use crate::TIERS;

#[test]
fn every_declaration_expands_and_says_what_it_is_for() {
    let declaration = declaration();
    for topic in &declaration.topic {
        assert!(
            !topic.about.is_empty() && !topic.key.is_empty(),
            "{}",
            topic.name
        );
        assert!(
            topic.partitions.is_some() != topic.same_as.is_some(),
            "{}",
            topic.name
        );
        assert!(
            topic.growth != Growth::Rehash || topic.note.is_some(),
            "{} must say what growing costs",
            topic.name
        );
        assert!(
            ["delete", "compact", "compact+delete"].contains(&topic.cleanup.as_str()),
            "{}",
            topic.name
        );
        assert_eq!(
            topic.retention.is_none(),
            topic.cleanup == "compact",
            "{}",
            topic.name
        );
    }
    let wanted = wanted(&Settings::production(), &["webhook"], &["dev"]).unwrap();
    assert!(
        wanted.iter().all(
            |topic| topic.config["min.insync.replicas"] == "2" && topic.replication_factor == 3
        )
    );
    assert_eq!(
        wanted
            .iter()
            .find(|t| t.name == "dlq.webhook")
            .unwrap()
            .config["retention.ms"],
        "2592000000"
    );
}

#[test]
fn constants_say_what_the_declaration_says() {
    let mut names: Vec<String> = wanted(&Settings::single(), &["webhook"], &["dev"])
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    let mut constants: Vec<String> = [
        topics::CONFIG,
        topics::EVENTS,
        topics::DEDUP,
        topics::AUDIT_ATTEMPTS,
        topics::AUDIT_CHANGES,
        topics::DLQ_DIRECT,
        topics::DLQ_EVENTS,
    ]
    .map(str::to_owned)
    .to_vec();
    constants.extend([
        topics::deliver("webhook"),
        topics::dlq("webhook"),
        topics::direct("dev"),
        topics::audit("dev"),
    ]);
    constants.extend(TIERS.iter().map(|tier| tier.topic.to_owned()));
    names.sort();
    constants.sort();
    assert_eq!(names, constants);
    let declared: Vec<_> = declaration()
        .tier
        .iter()
        .map(|tier| (tier.name.clone(), duration_ms(&tier.delay).unwrap()))
        .collect();
    let typed: Vec<_> = TIERS
        .iter()
        .map(|tier| (tier.name.to_owned(), tier.delay_ms))
        .collect();
    assert_eq!(declared, typed);
    assert!(
        typed.is_sorted_by_key(|(_, delay)| *delay),
        "a record must find the largest tier that fits"
    );
}

#[test]
fn deduplication_stays_beside_events_when_they_are_scaled() {
    let mut settings = Settings::single();
    settings.partitions.insert("events".into(), 48);
    let wanted_topics = wanted(&settings, &[], &[]).unwrap();
    let partitions = |name: &str| {
        wanted_topics
            .iter()
            .find(|t| t.name == name)
            .unwrap()
            .partitions
    };
    assert_eq!(
        (
            partitions("events"),
            partitions("dedup"),
            partitions("config")
        ),
        (48, 48, 1)
    );
}

#[test]
fn settings_that_cannot_work_are_named() {
    let with = |name: &str, partitions| Settings {
        partitions: [(name.to_owned(), partitions)].into(),
        ..Settings::single()
    };
    let fails = |settings: &Settings| wanted(settings, &[], &[]).unwrap_err();
    assert!(matches!(
        fails(&with("evnts", 3)),
        WantedError::Undeclared(..)
    ));
    assert!(matches!(fails(&with("dedup", 3)), WantedError::Follows(..)));
    assert!(matches!(
        fails(&with("config", 2)),
        WantedError::Partitions(..)
    ));
    assert!(matches!(
        fails(&with("events", 0)),
        WantedError::Partitions(..)
    ));
    let in_sync = Settings {
        min_insync_replicas: 2,
        ..Settings::single()
    };
    assert!(matches!(fails(&in_sync), WantedError::InSync { .. }));
    assert!(matches!(
        wanted(&Settings::single(), &["direct"], &[]),
        Err(WantedError::Kind(_))
    ));
    assert!(matches!(
        wanted(&Settings::single(), &[], &["A"]),
        Err(WantedError::Tenant(_))
    ));
}
