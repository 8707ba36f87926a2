use pushrail_schemas::headers::Origin;
use pushrail_store::Scope;
use pushrail_store::replays::{Reads, Selection, State, letters};
use serde_json::json;

use crate::support::{Installation, of};

#[tokio::test]
async fn the_open_letters_of_a_destination_are_replayed_and_no_others() {
    let here = Installation::new().await;
    let (mine, others) = (
        here.destination(json!({})).await,
        here.destination(json!({})).await,
    );
    let mut open = Vec::new();
    for n in 0..40 {
        let letter = here.bury(&mine, &format!(r#"{{ "n":  {n} }}"#)).await;
        let state = match n % 4 {
            0 => "discarded",
            1 => "replayed",
            _ => "open",
        };
        here.index(&mine, &letter, "http_404", state).await;
        if state == "open" {
            open.push(letter);
        }
        let foreign = here.bury(&others, "{}").await;
        here.index(&others, &foreign, "http_404", "open").await;
    }
    // The index says that it is mine, and the record that it is not.
    let foreign = here.bury(&others, "{}").await;
    here.index(&mine, &foreign, "http_404", "open").await;
    let id = here.replay(&mine, Reads::DeadLetters, Selection::default(), 1_000);
    let id = id.await;
    let worker = here.worker();
    let done = here.until(&mine, id, State::Finished).await;
    worker.stop().await;
    assert_eq!((done.sent, done.scanned), (20, 21));
    assert_eq!(done.skipped["expired"], 1);
    assert_eq!(done.progress, 1.0);
    let delivered = here.delivered(&mine).await;
    assert_eq!(delivered.len(), open.len());
    for (delivered, letter) in delivered.iter().zip(&open) {
        let found = &delivered.delivery;
        assert_eq!(found.delivery_id, letter.delivery_id, "in order");
        assert_eq!(found.event_id, letter.event_id);
        assert_eq!(found.tenant_id, mine.tenant_id);
        assert_eq!(found.customer_id, mine.customer_id);
        assert_eq!((found.origin, found.replay_id), (Origin::Replay, Some(id)));
        assert_eq!((found.attempt, found.deferrals), (0, 0));
        assert_eq!(
            (found.first_attempt_at_ms, found.not_before_ms),
            (None, None)
        );
        assert_eq!(delivered.record.value.as_ref(), Some(&letter.value));
        let key = delivered.record.key.clone().unwrap();
        assert_eq!(key, mine.destination_id.to_string().into_bytes());
        assert_eq!(delivered.record.header("failure_reason"), None);
    }
    for (offset, state, replay_id) in here.indexed(&mine).await {
        let is_mine = open.iter().any(|letter| letter.offset == offset);
        if is_mine {
            assert_eq!((state.as_str(), replay_id), ("replayed", Some(id)));
        } else {
            assert_eq!(replay_id, None);
        }
    }
    assert!(here.delivered(&others).await.is_empty());
    assert!(here.indexed(&others).await.iter().all(|l| l.1 == "open"));
}

#[tokio::test]
async fn a_filter_names_letters_and_what_dies_of_the_copies_is_for_another_job() {
    let here = Installation::new().await;
    let mine = here.destination(json!({})).await;
    let mut wanted = Vec::new();
    for n in 0..10 {
        let letter = here.bury(&mine, "{}").await;
        let code = if n < 5 { "http_404" } else { "http_500" };
        here.index(&mine, &letter, code, "open").await;
        if n < 5 {
            wanted.push(letter.delivery_id);
        }
    }
    let selection = Selection {
        codes: vec!["http_404".into()],
        event_types: vec!["order.*".into()],
        since: Some("2020-01-01T00:00:00Z".into()),
        ..Selection::default()
    };
    let mut tx = here.store.begin(Scope::System).await.unwrap();
    let count = async |tx: &mut _, selection: &Selection| {
        letters::count(tx, of(&mine), selection).await.unwrap()
    };
    assert_eq!(count(&mut tx, &selection).await, 5);
    for (selection, expected) in [
        (
            Selection {
                event_types: vec!["*".into()],
                ..Selection::default()
            },
            10,
        ),
        (
            Selection {
                event_types: vec!["order.completed".into()],
                ..Selection::default()
            },
            10,
        ),
        (
            Selection {
                event_types: vec!["order".into(), "invoice.*".into()],
                ..Selection::default()
            },
            0,
        ),
        (
            Selection {
                reasons: vec!["poison".into()],
                ..Selection::default()
            },
            0,
        ),
        (
            Selection {
                delivery_ids: vec![wanted[0]],
                ..Selection::default()
            },
            1,
        ),
        (
            Selection {
                until: Some("2020-01-01T00:00:00Z".into()),
                ..Selection::default()
            },
            0,
        ),
    ] {
        assert_eq!(count(&mut tx, &selection).await, expected, "{selection:?}");
    }
    drop(tx);
    // Slow enough that what is buried meanwhile would be met.
    let id = here.replay(&mine, Reads::DeadLetters, selection, 5).await;
    let worker = here.worker();
    pushrail_testkit::wait_for("the first copy", async || {
        (here.get(&mine, id).await.sent > 0).then_some(())
    })
    .await;
    let again = here.bury(&mine, "{}").await;
    here.index(&mine, &again, "http_404", "open").await;
    let done = here.until(&mine, id, State::Finished).await;
    worker.stop().await;
    assert_eq!(done.sent, 5);
    let found = here.delivered(&mine).await;
    let found: Vec<_> = found.iter().map(|d| d.delivery.delivery_id).collect();
    assert_eq!(found, wanted);
    let open = here.indexed(&mine).await;
    assert_eq!(open.iter().filter(|letter| letter.1 == "open").count(), 6);
}
