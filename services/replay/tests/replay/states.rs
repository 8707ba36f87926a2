use std::collections::BTreeSet;

use pushrail_schemas::config;
use pushrail_store::replays::{Reads, Selection, State};
use pushrail_store::{Scope, destinations};
use pushrail_testkit::wait_for;
use serde_json::json;

use crate::support::Installation;

#[tokio::test]
async fn a_job_is_paused_resumed_and_cancelled_and_copies_nothing_meanwhile() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    for _ in 0..60 {
        let letter = here.bury(&to, "{}").await;
        here.index(&to, &letter, "http_404", "open").await;
    }
    let all = Selection::default();
    // At a pace that leaves most of them when it is cancelled, on a machine that is busy too.
    let id = here.replay(&to, Reads::DeadLetters, all.clone(), 8).await;
    // Of the same destination: it waits for the first.
    let second = here.replay(&to, Reads::DeadLetters, all, 1_000).await;
    let worker = here.worker();
    wait_for("some copies", async || {
        (here.get(&to, id).await.sent >= 5).then_some(())
    })
    .await;
    assert_eq!(here.get(&to, second).await.sent, 0);
    here.set(second, State::Paused).await;
    here.set(id, State::Paused).await;
    // Given back as soon as it is noticed; from then on nothing comes.
    let count = async || here.delivered(&to).await.len();
    wait_for("the worker lets go", async || {
        let leased: (bool,) =
            sqlx::query_as("SELECT leased_by IS NOT NULL FROM replays WHERE replay_id = $1")
                .bind(id)
                .fetch_one(&mut here.database().await)
                .await
                .unwrap();
        (!leased.0).then_some(())
    })
    .await;
    let paused = here.get(&to, id).await;
    assert_eq!(paused.state, State::Paused);
    assert_eq!(count().await as i64, paused.sent);
    assert!(paused.progress < 1.0);
    here.set(id, State::Running).await;
    wait_for("it goes on", async || {
        (here.get(&to, id).await.sent > paused.sent + 5).then_some(())
    })
    .await;
    here.set(id, State::Cancelled).await;
    here.set(second, State::Running).await;
    here.until(&to, second, State::Finished).await;
    worker.stop().await;
    let (cancelled, rest) = (here.get(&to, id).await, here.get(&to, second).await);
    assert_eq!(cancelled.state, State::Cancelled);
    assert_eq!(cancelled.sent + rest.sent, 60, "each by one of them");
    let delivered = here.delivered(&to).await;
    let ids: BTreeSet<_> = delivered.iter().map(|d| d.delivery.delivery_id).collect();
    assert_eq!((delivered.len(), ids.len()), (60, 60));
}

#[tokio::test]
async fn a_job_is_no_faster_than_it_may_be() {
    let here = Installation::new().await;
    let to = here
        .destination(json!({"rateLimit": {"perSecond": 100}}))
        .await;
    for _ in 0..150 {
        let letter = here.bury(&to, "{}").await;
        here.index(&to, &letter, "http_404", "open").await;
    }
    let all = Selection::default();
    let id = here.replay(&to, Reads::DeadLetters, all, 1_000).await;
    let worker = here.worker();
    here.until(&to, id, State::Finished).await;
    worker.stop().await;
    let mut times: Vec<_> = here.delivered(&to).await;
    let mut times: Vec<_> = times.drain(..).map(|d| d.record.timestamp_ms).collect();
    times.sort();
    // Half of the destination's own limit, and one round at once.
    let most = times.iter().map(|start| {
        let within = |time: &&i64| (*start..start + 1_000).contains(*time);
        times.iter().filter(within).count()
    });
    let most = most.max().unwrap();
    assert!((30..=65).contains(&most), "{most} copies within a second");
}

#[tokio::test]
async fn a_destination_that_is_removed_fails_its_jobs_and_one_that_is_disabled_pauses_them() {
    let here = Installation::new().await;
    let (disabled, removed) = (
        here.destination(json!({})).await,
        here.destination(json!({})).await,
    );
    let all = Selection::default();
    let mut ids = Vec::new();
    for to in [&disabled, &removed] {
        for _ in 0..50 {
            let letter = here.bury(to, "{}").await;
            here.index(to, &letter, "http_404", "open").await;
        }
        ids.push(here.replay(to, Reads::DeadLetters, all.clone(), 10).await);
    }
    let waiting = here
        .replay_in(&removed, Reads::DeadLetters, all, 10, State::Estimated)
        .await;
    let worker = here.worker();
    for (to, id) in [(&disabled, ids[0]), (&removed, ids[1])] {
        wait_for("some copies", async || {
            (here.get(to, id).await.sent > 0).then_some(())
        })
        .await;
    }
    let mut tx = here.store.begin(Scope::System).await.unwrap();
    let mut changed = disabled.clone();
    changed.state = config::State::Disabled;
    destinations::update(&mut tx, &changed, Default::default())
        .await
        .unwrap();
    destinations::delete(&mut tx, removed.destination_id)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let paused = here.until(&disabled, ids[0], State::Paused).await;
    assert!(paused.error.unwrap().contains("disabled"));
    let failed = here.until(&removed, ids[1], State::Failed).await;
    assert_eq!(failed.error.as_deref(), Some("the destination was removed"));
    assert!(failed.finished_at.is_some());
    here.until(&removed, waiting, State::Failed).await;
    // Enabled again, it goes on.
    let mut tx = here.store.begin(Scope::System).await.unwrap();
    destinations::update(&mut tx, &disabled, Default::default())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    here.set(ids[0], State::Running).await;
    let done = here.until(&disabled, ids[0], State::Finished).await;
    worker.stop().await;
    assert_eq!((done.sent, done.error), (50, None));
}
