use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use pushrail_schemas::Event;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_sink_core::Record;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::item::Source;
use super::*;

fn item(offset: i64, weight: Weight) -> Item {
    let mut value = Vec::new();
    let parts = Parts {
        event_id: Uuid::nil(),
        event_type: "t",
        occurred_at_us: 0,
        customer_external_id: "c",
        idempotency_key: None,
        source: None,
        payload: b"{}",
        metadata: b"{}",
        received_at_us: 0,
        subject_id: None,
        sealing: None,
    };
    parts.encode(1, &mut value);
    let delivery = Delivery {
        delivery_id: Uuid::nil(),
        event_id: Uuid::nil(),
        tenant_id: "acme".into(),
        customer_id: Uuid::nil(),
        destination_id: Uuid::nil(),
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    Item {
        source: Source {
            partition: 0,
            epoch: 1,
            offset,
        },
        record: Arc::new(Record {
            event: Event::parse(Bytes::from(value)).unwrap(),
            delivery,
            attempt: 1,
        }),
        received_at: Instant::now(),
        weight,
    }
}

const LIMITS: BatchLimits = BatchLimits {
    records: 4,
    bytes: 100,
    age: Duration::from_secs(1),
};

fn push(batcher: &mut Batcher, offset: i64, group: u64, bytes: usize) -> bool {
    let item = item(offset, Weight { group, bytes });
    batcher.push(item, &LIMITS, offset as u64)
}

fn offsets(items: &Items) -> Vec<i64> {
    items.iter().map(|item| item.source.offset).collect()
}

/// Everything that comes out, batch by batch.
fn drained(batcher: &mut Batcher) -> Vec<Vec<i64>> {
    batcher.close_all();
    std::iter::from_fn(|| batcher.take())
        .map(|(items, _)| offsets(&items))
        .collect()
}

#[test]
fn a_batch_is_closed_by_count_or_before_it_is_too_large() {
    let mut batcher = Batcher::default();
    for (offset, bytes) in [30, 30, 30, 30, 10, 10, 10, 100, 1].into_iter().enumerate() {
        push(&mut batcher, offset as i64, 0, bytes);
    }
    assert_eq!(
        drained(&mut batcher),
        [vec![0, 1, 2], vec![3, 4, 5, 6], vec![7], vec![8]]
    );
}

#[test]
fn a_record_that_is_too_large_goes_alone() {
    let mut batcher = Batcher::default();
    assert!(push(&mut batcher, 0, 0, 10));
    assert!(!push(&mut batcher, 1, 0, 1_000), "it is closed at once");
    assert!(push(&mut batcher, 2, 0, 10));
    assert_eq!(drained(&mut batcher), [vec![0], vec![1], vec![2]]);
}

#[test]
fn groups_do_not_mix_and_time_closes_only_the_batch_it_was_meant_for() {
    let mut batcher = Batcher::default();
    for offset in 0..6 {
        push(&mut batcher, offset, offset as u64 % 2, 1);
    }
    assert!(batcher.close_number(0, 0));
    assert!(!batcher.close_number(0, 0), "it is closed already");
    push(&mut batcher, 6, 0, 1);
    assert!(!batcher.close_number(0, 0), "that is another batch");
    assert_eq!(
        drained(&mut batcher),
        [vec![0, 2, 4], vec![1, 3, 5], vec![6]]
    );
}

proptest! {
    /// The sums follow whatever happens, nothing is lost, and order holds within a group.
    #[test]
    fn nothing_is_lost_or_counted_wrong(steps in prop::collection::vec((0u64..3, 1usize..150, 0u8..8), 1..60)) {
        let mut batcher = Batcher::default();
        let (mut out, mut gone) = (Vec::new(), 0);
        for (offset, (group, bytes, action)) in steps.iter().enumerate() {
            push(&mut batcher, offset as i64, *group, *bytes);
            match action {
                0 => out.extend(batcher.take().map(|(items, _)| offsets(&items)).unwrap_or_default()),
                1 => out.extend(batcher.take_first().map(|item| item.source.offset)),
                2 => _ = batcher.close_all(),
                3 => batcher.remove(1, |item| {
                    let go = item.source.offset % 5 == 0;
                    gone += usize::from(go);
                    go
                }),
                _ => {}
            }
            let (records, cost) = (batcher.records, batcher.cost);
            let open = batcher.open_size;
            batcher.count();
            prop_assert_eq!((records, cost, open), (batcher.records, batcher.cost, batcher.open_size));
            prop_assert_eq!(records, batcher.iter().count());
        }
        out.extend(batcher.take_all().map(|item| item.source.offset));
        prop_assert_eq!(out.len() + gone, steps.len());
        prop_assert_eq!(batcher.records(), 0);
        out.sort_unstable();
        out.dedup();
        prop_assert_eq!(out.len() + gone, steps.len());
    }
}
