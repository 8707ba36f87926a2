use proptest::prelude::*;
use pushrail_topology::TIERS;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn wish<'a>(pairs: &[(&'a str, &'a str)]) -> Wish<'a> {
    Wish::read(pairs.iter().map(|(n, v)| (*n, v.as_bytes())))
}

fn show(place: Place) -> String {
    match place {
        Place::Deliver(topic) => topic,
        Place::Tier(topic) => topic.to_owned(),
        Place::Dead(topic, failure) => format!("{topic}: {} {}", failure.reason, failure.code),
    }
}

fn placed(pairs: &[(&str, &str)], answer: Answer, missing: &[&str]) -> String {
    show(place(NOW, &wish(pairs), &TIERS[1], answer, |topic| {
        missing.contains(&topic)
    }))
}

#[test]
fn a_record_goes_where_its_headers_say() {
    let soon = (NOW + 400).to_string();
    let later = (NOW + 31_000).to_string();
    for (pairs, expected) in [
        (
            &[("kind", "webhook"), ("not_before", "0")][..],
            "deliver.webhook",
        ),
        (&[("kind", "s3"), ("not_before", &soon)], "deliver.s3"),
        (&[("kind", "webhook"), ("not_before", &later)], "retry.30s"),
        (&[("kind", "webhook")], "deliver.webhook"),
        (
            &[("kind", "webhook"), ("not_before", "x")],
            "dlq.webhook: undecodable not_before_unreadable",
        ),
        (
            &[("kind", "webhook"), ("not_before", "")],
            "dlq.webhook: undecodable not_before_unreadable",
        ),
        (
            &[("kind", "webhook"), ("not_before", "99999999999999999999")],
            "dlq.webhook: undecodable not_before_unreadable",
        ),
        (
            &[("not_before", "0")],
            "dlq.events: undecodable kind_unreadable",
        ),
        (&[], "dlq.events: undecodable kind_unreadable"),
        (
            &[("kind", "a.b"), ("not_before", "0")],
            "dlq.events: undecodable kind_unreadable",
        ),
        (
            &[("kind", "events")],
            "dlq.events: undecodable kind_unreadable",
        ),
        (&[("kind", "")], "dlq.events: undecodable kind_unreadable"),
    ] {
        assert_eq!(placed(pairs, Answer::None, &[]), expected, "{pairs:?}");
    }
    let garbled = Wish::read([("kind", &b"\xff"[..])].into_iter());
    assert_eq!(garbled.kind, None);
}

#[test]
fn a_record_that_kafka_refuses_has_somewhere_else_to_go() {
    let due = &[("kind", "webhook"), ("not_before", "0")][..];
    let never = |times| placed(due, Answer::Never(times), &[]);
    assert_eq!(never(1), "dlq.webhook: permanent refused_by_topic");
    assert_eq!(never(2), "dlq.events: permanent refused_by_topic");
    assert_eq!(never(3), "retry.5s", "back to where it came from");
    assert_eq!(never(u32::MAX), "retry.5s");
    let unreadable = &[("kind", "webhook"), ("not_before", "x")][..];
    assert_eq!(
        placed(unreadable, Answer::Never(1), &[]),
        "dlq.events: undecodable not_before_unreadable"
    );
    assert_eq!(placed(unreadable, Answer::Never(2), &[]), "retry.5s");
}

#[test]
fn a_topic_that_is_unknown_for_a_moment_makes_no_dead_letter() {
    let due = &[("kind", "nosuch"), ("not_before", "0")][..];
    let unknown = |times| placed(due, Answer::Unknown(times), &[]);
    for times in 1..UNKNOWN_MAX {
        assert_eq!(unknown(times), "deliver.nosuch", "{times}");
    }
    assert_eq!(unknown(UNKNOWN_MAX), "dlq.nosuch: permanent topic_missing");
    assert_eq!(
        unknown(UNKNOWN_MAX + 1),
        "dlq.events: permanent topic_missing"
    );
    assert_eq!(unknown(UNKNOWN_MAX + 2), "retry.5s");
}

#[test]
fn a_kind_that_is_known_to_be_missing_costs_no_further_refusal() {
    let due = &[("kind", "nosuch"), ("not_before", "0")][..];
    let missing = &["deliver.nosuch", "dlq.nosuch"][..];
    assert_eq!(
        placed(due, Answer::None, missing),
        "dlq.events: permanent topic_missing"
    );
    let all = &["deliver.nosuch", "dlq.nosuch", "dlq.events"][..];
    assert_eq!(placed(due, Answer::None, all), "retry.5s");
}

proptest! {
    #[test]
    fn any_headers_have_a_place(
        kind in prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
        not_before in prop::option::of("[0-9\\-x]{0,22}"),
        times in 0u32..9,
        never in any::<bool>(),
    ) {
        let mut pairs: Vec<(&str, &[u8])> = Vec::new();
        pairs.extend(kind.as_ref().map(|k| ("kind", k.as_slice())));
        pairs.extend(not_before.as_ref().map(|n| ("not_before", n.as_bytes())));
        let answer = match times {
            0 => Answer::None,
            _ if never => Answer::Never(times),
            _ => Answer::Unknown(times),
        };
        let wish = Wish::read(pairs.into_iter());
        let chosen = place(NOW, &wish, &TIERS[0], answer, |_| false);
        let early = matches!(&chosen, Place::Deliver(_))
            && wish.not_before_ms.is_ok_and(|at| at > NOW + crate::hop::SLACK_MS);
        prop_assert!(!early);
        prop_assert!(wish.kind.is_some() || !matches!(chosen, Place::Deliver(_)));
    }
}
