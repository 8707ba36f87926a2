use std::collections::BTreeMap;

use pushrail_store::replays::{Reads, Selection, State};
use pushrail_testkit::wait_for;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Given, Installation, at};

const RATE: i32 = 200;
const EVENTS: i64 = 400;

/// Each copy once, but for what was copied between two saves: one interval, and the round that was under way.
fn at_least_once(delivered: Vec<Uuid>, expected: &[Uuid], crashes: usize) {
    let mut times: BTreeMap<Uuid, usize> = BTreeMap::new();
    for id in delivered {
        *times.entry(id).or_default() += 1;
    }
    for id in expected {
        assert!(times.contains_key(id), "{id} was not replayed");
    }
    assert_eq!(times.len(), expected.len());
    let again: usize = times.values().map(|times| times - 1).sum();
    let interval = RATE as usize / 5 + 2 * RATE as usize / 5;
    assert!(again <= interval * crashes, "{again} were repeated");
    println!(
        "{again} of {} repeated by {crashes} crashes",
        expected.len()
    );
}

#[tokio::test]
async fn another_goes_on_where_a_killed_one_stopped() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    let now = pushrail_clock::now_us();
    let mut expected = Vec::new();
    for n in 0..EVENTS {
        // Each was accepted twice: what was seen is known to whoever goes on.
        let (key, payload) = (format!("k{n}"), "{}");
        for _ in 0..2 {
            let given = Given {
                customer: "c-1",
                event_type: "order.completed",
                key: Some(&key),
                payload,
                received_at_us: now + n,
            };
            let id = here.accept(given).await;
            expected.push(id);
        }
    }
    expected.dedup();
    let selection = Selection {
        since: Some(at(now)),
        ..Selection::default()
    };
    let id = here.replay(&to, Reads::Events, selection, RATE).await;
    let mut crashes = 0;
    for so_far in [80, 200] {
        let worker = here.worker();
        wait_for("some copies", async || {
            (here.get(&to, id).await.sent >= so_far).then_some(())
        })
        .await;
        worker.kill().await;
        crashes += 1;
    }
    let worker = here.worker();
    let done = here.until(&to, id, State::Finished).await;
    worker.stop().await;
    assert_eq!(done.sent, EVENTS);
    assert_eq!(done.skipped["duplicate"], EVENTS);
    let delivered = here.delivered(&to).await;
    let delivered: Vec<_> = delivered.iter().map(|d| d.delivery.event_id).collect();
    at_least_once(delivered, &expected, crashes);
}

#[tokio::test]
async fn letters_of_a_killed_worker_are_all_replayed_and_marked() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    let mut expected = Vec::new();
    for _ in 0..150 {
        let letter = here.bury(&to, "{}").await;
        here.index(&to, &letter, "http_404", "open").await;
        expected.push(letter.event_id);
    }
    let id = here
        .replay(&to, Reads::DeadLetters, Selection::default(), RATE)
        .await;
    let worker = here.worker();
    wait_for("some copies", async || {
        (here.get(&to, id).await.sent >= 50).then_some(())
    })
    .await;
    worker.kill().await;
    // Both look for it; one gets it.
    let (one, other) = (here.worker(), here.worker());
    here.until(&to, id, State::Finished).await;
    one.stop().await;
    other.stop().await;
    let delivered = here.delivered(&to).await;
    let delivered: Vec<_> = delivered.iter().map(|d| d.delivery.event_id).collect();
    at_least_once(delivered, &expected, 1);
    let indexed = here.indexed(&to).await;
    assert!(
        indexed
            .iter()
            .all(|(_, state, by)| state == "replayed" && *by == Some(id))
    );
}

#[tokio::test]
async fn a_worker_that_ends_in_order_repeats_nothing() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    let mut expected = Vec::new();
    for _ in 0..100 {
        let letter = here.bury(&to, "{}").await;
        here.index(&to, &letter, "http_404", "open").await;
        expected.push(letter.event_id);
    }
    let id = here
        .replay(&to, Reads::DeadLetters, Selection::default(), RATE)
        .await;
    let worker = here.worker();
    wait_for("some copies", async || {
        (here.get(&to, id).await.sent >= 30).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(here.get(&to, id).await.state, State::Running);
    let worker = here.worker();
    here.until(&to, id, State::Finished).await;
    worker.stop().await;
    let delivered = here.delivered(&to).await;
    let delivered: Vec<_> = delivered.iter().map(|d| d.delivery.event_id).collect();
    assert_eq!(delivered, expected);
}
