//! What comes late of what was erased.

use pushrail_schemas::attempt::Outcome;
use pushrail_store::log::Micros;
use pushrail_store::log::search::{self, Wanted};
use pushrail_store::{Scope, erasures};
use uuid::Uuid;

use crate::bed::{Bed, TENANT, Teller};

const SECRET: &str = "Jane Doe";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_late_of_what_was_erased_is_kept_without_its_content() {
    let bed = Bed::new().await;
    let (mut teller, payload) = (Teller::new(), format!("{{\"name\": \"{SECRET}\"}}"));
    let subject_id = Some(Uuid::from_u128(0x5));
    let mut attempts = Vec::new();
    for event in 0..4 {
        let mut attempt = teller.attempt(1, event, Outcome::Dead);
        attempt.payload = Some(payload.as_bytes());
        attempt.response_excerpt = Some(SECRET.as_bytes());
        attempt.error = Some(SECRET);
        attempts.push(attempt);
    }
    attempts[1].subject_id = subject_id;
    // The rules first; nothing that they are about is there yet.
    let customer_id = attempts[0].customer_id;
    let rules = [
        erasures::What::Event {
            event_id: attempts[0].event_id,
            customer_id: None,
        },
        erasures::What::Subject {
            customer_id,
            subject_id: Uuid::from_u128(0x5),
        },
        erasures::What::Event {
            event_id: attempts[2].event_id,
            customer_id: Some(Uuid::from_u128(0xbad)),
        },
    ];
    make_tenant(&bed).await;
    let mut tx = bed.store.begin(Scope::System).await.unwrap();
    let until = Micros(pushrail_clock::now_us());
    for what in rules {
        erasures::insert(&mut tx, Uuid::now_v7(), TENANT, what, until)
            .await
            .unwrap();
    }
    // What is accepted later is another matter.
    let earlier = Micros(0);
    let what = erasures::What::Customer(customer_id);
    erasures::insert(&mut tx, Uuid::now_v7(), TENANT, what, earlier)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let indexer = bed.start().await;
    for attempt in &attempts {
        bed.write(attempt).await;
    }
    bed.arrived(4).await;
    let mut tx = bed.store.begin(Scope::Tenant(TENANT)).await.unwrap();
    let wanted = Wanted {
        tenant_id: TENANT.into(),
        ..Wanted::default()
    };
    let rows = search::details(&mut tx, &wanted, None, 10).await.unwrap();
    for row in &rows {
        let at = attempts
            .iter()
            .position(|attempt| attempt.event_id == row.attempt.event_id);
        let erased = at.unwrap() < 2;
        let shown = (
            row.attempt.erased,
            row.payload.is_none(),
            row.response_excerpt.is_none(),
            row.attempt.error.is_none(),
        );
        assert_eq!(shown, (erased, erased, erased, erased), "{at:?}");
        assert_eq!(row.attempt.outcome, "dead");
    }
    drop(tx);
    indexer.stop().await;
}

async fn make_tenant(bed: &Bed) {
    let mut tx = bed.store.begin(Scope::System).await.unwrap();
    let settings = pushrail_store::tenants::Settings::named("acme");
    pushrail_store::tenants::insert(&mut tx, TENANT, &settings)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}
