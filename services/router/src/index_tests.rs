use pushrail_schemas::identity;
use serde_json::json;

use super::*;
use crate::testing::{CUSTOMER, TENANT, destination, of_customer};

fn find(index: &Index, tenant: &str, customer: &str, event_type: &str) -> Vec<u128> {
    let mut found = Vec::new();
    index.find(
        tenant,
        identity::customer_id(tenant, customer),
        event_type,
        &mut found,
    );
    let ids = found
        .iter()
        .map(|slot| index.route(*slot).unwrap().destination_id.as_u128());
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

fn found(index: &Index, event_type: &str) -> Vec<u128> {
    find(index, TENANT, CUSTOMER, event_type)
}

#[test]
fn patterns_match_what_they_say_and_nothing_else() {
    for (pattern, event_type, wanted) in [
        ("order.completed", "order.completed", true),
        ("order.completed", "order", false),
        ("order.completed", "order.completed.twice", false),
        ("order.completed", "Order.completed", false),
        ("order.*", "order.completed", true),
        ("order.*", "order.item.added", true),
        ("order.*", "order", false),
        ("order.*", "orders.completed", false),
        ("order.*", "my.order.completed", false),
        ("order.item.*", "order.item.added", true),
        ("order.item.*", "order.completed", false),
        ("*", "order", true),
        ("*", "order.item.added", true),
        // Types that ingest refuses must not match by accident either.
        ("order.*", "order.", true),
        ("order.*", ".", false),
        ("order.*", "", false),
    ] {
        let mut index = Index::default();
        index.put(&destination(1, &[pattern], json!({})));
        assert_eq!(
            !found(&index, event_type).is_empty(),
            wanted,
            "{pattern} on {event_type}"
        );
    }
}

#[test]
fn a_destination_is_found_once_however_many_patterns_match() {
    let mut index = Index::default();
    index.put(&destination(
        1,
        &["*", "order.*", "order.item.*", "order.item.added", "*"],
        json!({}),
    ));
    index.put(&destination(2, &["order.*", "user.*"], json!({})));
    assert_eq!(found(&index, "order.item.added"), [1, 2]);
    assert_eq!(found(&index, "user.x"), [1, 2]);
    assert_eq!(found(&index, "x"), [1]);
}

#[test]
fn nothing_crosses_customers_or_tenants() {
    let mut index = Index::default();
    index.put(&of_customer(1, "acme", "c-1", &["*"]));
    index.put(&of_customer(2, "acme", "c-2", &["*"]));
    index.put(&of_customer(3, "other", "c-1", &["*"]));
    assert_eq!(find(&index, "acme", "c-1", "x"), [1]);
    assert_eq!(find(&index, "acme", "c-2", "x"), [2]);
    assert_eq!(find(&index, "other", "c-1", "x"), [3]);
    // A header that names another tenant's customer finds nobody.
    let mut found = Vec::new();
    index.find(
        "other",
        identity::customer_id("acme", "c-1"),
        "x",
        &mut found,
    );
    assert!(found.is_empty());
}

#[test]
fn an_event_looks_only_at_destinations_that_match() {
    let mut index = Index::default();
    for id in 0..20_000 {
        let event_type = format!("type{id}.*");
        index.put(&destination(id, &[&event_type, "never.*"], json!({})));
    }
    for id in 20_000..40_000 {
        index.put(&of_customer(id, TENANT, &format!("c-{id}"), &["*"]));
    }
    let mut slots = Vec::new();
    let customer = identity::customer_id(TENANT, CUSTOMER);
    index.find(TENANT, customer, "type77.x", &mut slots);
    assert_eq!(slots.len(), 1, "candidates");
    index.find(TENANT, customer, "nobody.wants", &mut slots);
    assert_eq!(
        (slots.len(), slots.capacity() < 16),
        (0, true),
        "never held more than it returned"
    );
}

#[test]
fn a_change_leaves_nothing_of_what_was_before() {
    let mut index = Index::default();
    index.put(&destination(1, &["order.*", "a.b"], json!({})));
    index.put(&destination(2, &["order.*"], json!({})));
    index.put(&destination(1, &["user.*"], json!({"state": "paused"})));
    assert_eq!(found(&index, "order.x"), [2]);
    assert_eq!(found(&index, "a.b"), [0; 0]);
    assert_eq!(found(&index, "user.x"), [1]);
    assert!(index.remove(Uuid::from_u128(1)) && index.remove(Uuid::from_u128(2)));
    assert!(!index.remove(Uuid::from_u128(2)));
    assert!(index.is_empty() && index.wanted.is_empty());
    assert!(index.patterns.exact.is_empty() && index.patterns.below.is_empty());
    index.put(&destination(3, &["z", "order.*"], json!({})));
    assert_eq!(
        (index.routes.len(), index.patterns.named.len()),
        (2, 2),
        "places are used again"
    );
    assert_eq!(found(&index, "z"), [3]);
}

/// Many random changes end in the same answers as asking each destination.
#[test]
fn random_changes_agree_with_asking_everybody() {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let matches = |pattern: &str, event_type: &str| match pattern.strip_suffix('*') {
        Some(prefix) => event_type.starts_with(prefix),
        None => pattern == event_type,
    };
    let types = ["a", "a.b", "a.b.c", "a.c", "b.a", "ab", "ab.c"];
    let patterns = [
        "*", "a.*", "a.b.*", "a", "a.b", "a.b.c", "b.*", "ab.c", "ab.*",
    ];
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut index, mut model) = (Index::default(), HashMap::<u128, Vec<&str>>::new());
        for _ in 0..300 {
            let id = random.random_range(0..12);
            if random.random_bool(0.3) {
                assert_eq!(
                    index.remove(Uuid::from_u128(id)),
                    model.remove(&id).is_some()
                );
            } else {
                let count = random.random_range(1..4);
                let chosen: Vec<_> = (0..count)
                    .map(|_| patterns[random.random_range(0..patterns.len())])
                    .collect();
                index.put(&destination(id, &chosen, json!({})));
                model.insert(id, chosen);
            }
            for event_type in types {
                let mut wanted: Vec<u128> = model
                    .iter()
                    .filter(|(_, p)| p.iter().any(|p| matches(p, event_type)))
                    .map(|(id, _)| *id)
                    .collect();
                wanted.sort_unstable();
                assert_eq!(
                    found(&index, event_type),
                    wanted,
                    "seed {seed}, {event_type}"
                );
            }
        }
    }
}
