use pushrail_schemas::headers::Origin;
use pushrail_schemas::identity;
use pushrail_store::replays::{Reads, Selection, State};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Given, Installation, at};

const HOUR_US: i64 = 3_600_000_000;

fn since(us: i64) -> Selection {
    Selection {
        since: Some(at(us)),
        ..Selection::default()
    }
}

#[tokio::test]
async fn a_destination_made_later_gets_each_matching_event_once_as_the_router_would() {
    let (here, neighbour) = (Installation::new().await, Installation::new().await);
    let now = pushrail_clock::now_us();
    let mut wanted = Vec::new();
    for n in 0..60i64 {
        let (event_type, is_wanted) = match n % 3 {
            0 => ("order.completed", n >= 10),
            1 => ("order.item.added", n >= 10),
            _ => ("invoice.paid", false),
        };
        let payload = format!(r#"{{"n": {n}, "card": "4111"}}"#);
        let key = format!("key-{n}");
        let given = || Given {
            customer: "c-1",
            event_type,
            key: (n % 2 == 0).then_some(&*key),
            payload: &payload,
            received_at_us: now + n,
        };
        let id = here.accept(given()).await;
        if n % 2 == 0 {
            // Accepted again: the router lets the first pass alone.
            here.accept(given()).await;
        }
        if is_wanted {
            wanted.push((id, n));
        }
        here.accept(Given {
            customer: "c-2",
            ..given()
        })
        .await;
        neighbour.accept(given()).await;
    }
    // Of another time.
    for received_at_us in [now - 1, now + 60, now - 2 * HOUR_US] {
        here.accept(Given {
            customer: "c-1",
            event_type: "order.completed",
            key: None,
            payload: r#"{"n": 1000}"#,
            received_at_us,
        })
        .await;
    }
    let later = here.destination(json!({
        "eventTypes": ["order.*"],
        "filter": {"path": "payload.n", "op": "gte", "value": 10},
        "transform": [{"drop": ["payload.card"]}],
    }));
    let later = later.await;
    let selection = Selection {
        until: Some(at(now + 60)),
        ..since(now)
    };
    let id = here
        .replay_in(&later, Reads::Events, selection, 1_000, State::Estimating)
        .await;
    let worker = here.worker();
    let estimated = here.until(&later, id, State::Estimated).await;
    assert_eq!(
        (estimated.estimate, estimated.estimate_exact),
        (Some(wanted.len() as i64), true)
    );
    assert!(here.delivered(&later).await.is_empty());
    here.set(id, State::Running).await;
    let done = here.until(&later, id, State::Finished).await;
    worker.stop().await;
    assert_eq!(done.sent as usize, wanted.len());
    assert_eq!(done.scanned, 90, "its customer's alone");
    assert_eq!(done.skipped["duplicate"], 30);
    assert_eq!(done.skipped["no_match"], 20);
    assert_eq!(done.skipped["filtered"], 7);
    let delivered = here.delivered(&later).await;
    assert_eq!(delivered.len(), wanted.len());
    for (found, (event_id, n)) in delivered.iter().zip(&wanted) {
        let delivery = &found.delivery;
        assert_eq!(delivery.event_id, *event_id, "in order");
        let expected = identity::delivery_id(*event_id, later.destination_id);
        assert_eq!(delivery.delivery_id, expected);
        assert_eq!(
            (delivery.origin, delivery.replay_id),
            (Origin::Replay, Some(id))
        );
        assert_eq!(delivery.customer_id, later.customer_id);
        assert_eq!(found.payload(), format!(r#"{{"n":{n}}}"#));
    }
}

#[tokio::test]
async fn what_the_log_knows_narrows_a_window() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    let now = pushrail_clock::now_us();
    let states = ["delivered", "dead", "skipped", "missing"];
    let mut by_state: Vec<Vec<Uuid>> = vec![Vec::new(); 4];
    let mut database = here.database().await;
    sqlx::query("SELECT set_config('pushrail.scope', 'system', false)")
        .execute(&mut database)
        .await
        .unwrap();
    sqlx::query("SELECT log_ensure_day(current_date), log_ensure_day(current_date - 1), log_ensure_day(current_date + 1)")
        .execute(&mut database)
        .await
        .unwrap();
    for n in 0..40 {
        let id = here
            .accept(Given {
                customer: "c-1",
                event_type: "order.completed",
                key: None,
                payload: "{}",
                received_at_us: now + n,
            })
            .await;
        let state = n as usize % 4;
        let delivery_id = identity::delivery_id(id, to.destination_id);
        by_state[state].push(delivery_id);
        if states[state] == "missing" {
            continue;
        }
        for (outcome, latest) in [("retrying", false), (states[state], true)] {
            sqlx::query(
                "INSERT INTO attempts (received_at, started_at, customer_id, event_id, delivery_id, destination_id, attempt_id,
                     latency_us, attempt, latest, tenant_id, event_type, outcome, class, origin, payload_form)
                 VALUES ($1::timestamptz, now(), $2, $3, $4, $5, gen_random_uuid(), 1, 1, $6, $7, 'order.completed', $8, '', 'live', 'omitted')",
            )
            .bind(at(now + n))
            .bind(to.customer_id)
            .bind(id)
            .bind(delivery_id)
            .bind(to.destination_id)
            .bind(latest)
            .bind(&*to.tenant_id)
            .bind(outcome)
            .execute(&mut database)
            .await
            .unwrap();
        }
    }
    let selection = Selection {
        only: vec!["missing".into(), "dead".into()],
        ..since(now)
    };
    let id = here.replay(&to, Reads::Events, selection, 1_000).await;
    let worker = here.worker();
    let done = here.until(&to, id, State::Finished).await;
    worker.stop().await;
    assert_eq!((done.sent, done.skipped["other_state"]), (20, 20));
    let mut found: Vec<_> = here.delivered(&to).await;
    let mut found: Vec<_> = found.drain(..).map(|d| d.delivery.delivery_id).collect();
    let mut expected = [by_state[1].clone(), by_state[3].clone()].concat();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn named_events_end_the_reading_when_they_are_found() {
    let here = Installation::new().await;
    let to = here.destination(json!({})).await;
    let now = pushrail_clock::now_us();
    let mut ids = Vec::new();
    for n in 0..30 {
        let given = Given {
            customer: "c-1",
            event_type: "order.completed",
            key: None,
            payload: "{}",
            received_at_us: now + n,
        };
        ids.push(here.accept(given).await);
    }
    let selection = Selection {
        event_ids: vec![ids[3], ids[7]],
        ..since(now)
    };
    let id = here.replay(&to, Reads::Events, selection, 1_000).await;
    let worker = here.worker();
    let done = here.until(&to, id, State::Finished).await;
    worker.stop().await;
    assert_eq!((done.sent, done.scanned), (2, 8));
    let found = here.delivered(&to).await;
    assert_eq!(found[1].delivery.event_id, ids[7]);
}
