use super::*;

fn found(topics: &[&str]) -> HashSet<String> {
    topics.iter().map(|topic| (*topic).to_owned()).collect()
}

#[test]
fn a_topic_is_looked_for_until_it_is_there() {
    let topics = Topics::default();
    assert!(!topics.is_asked());
    assert_eq!(topics.of("acme"), Known::Asked);
    assert!(topics.is_asked());
    let wanted = topics.wanted(|_| true);
    topics.answer(
        &wanted,
        &found(&["audit.attempts.acme-2", "audit.attempts"]),
    );
    assert_eq!(topics.of("acme"), Known::Missing);
    assert!(!topics.is_asked(), "a missing one can wait");
    let wanted = topics.wanted(|_| true);
    topics.answer(&wanted, &found(&["audit.attempts.acme"]));
    assert_eq!(topics.of("acme"), Known::There);
    assert!(topics.wanted(|_| true).is_empty(), "nobody asks any more");
}

#[test]
fn a_doubt_while_a_look_is_under_way_is_not_answered_by_it() {
    let topics = Topics::default();
    topics.of("acme");
    let wanted = topics.wanted(|_| true);
    topics.answer(&wanted, &found(&["audit.attempts.acme"]));
    topics.of("other");
    let wanted = topics.wanted(|_| true);
    // Kafka has refused a copy: what is being listed may be from before.
    topics.ask("acme");
    topics.answer(
        &wanted,
        &found(&["audit.attempts.acme", "audit.attempts.other"]),
    );
    assert_eq!(topics.of("acme"), Known::Asked);
    assert_eq!(topics.of("other"), Known::There);
}

#[test]
fn a_tenant_without_a_feed_is_not_looked_for_for_ever() {
    let topics = Topics::default();
    topics.of("acme");
    topics.answer(&topics.wanted(|_| true), &found(&[]));
    assert!(topics.wanted(|tenant| tenant != "acme").is_empty());
    assert_eq!(topics.of("acme"), Known::Asked, "it starts afresh");
}
