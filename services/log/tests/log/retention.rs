//! What is kept, and for how long.

use std::time::Duration;

use pushrail_schemas::attempt::Outcome;
use pushrail_store::log::DAY_US;
use pushrail_store::log::search::{self, Wanted};
use pushrail_store::{Scope, tenants};
use pushrail_testkit::wait_for;
use uuid::Uuid;

use crate::bed::{Bed, TENANT, Teller};

const OTHER: &str = "globex";
const TENDED_EVERY: Duration = Duration::from_millis(100);

/// Events in the index by tenant, oldest first.
async fn kept(bed: &Bed) -> Vec<(&'static str, Uuid)> {
    let mut kept = Vec::new();
    for tenant_id in [TENANT, OTHER] {
        let wanted = Wanted {
            tenant_id: tenant_id.into(),
            ..Wanted::default()
        };
        let mut tx = bed.store.begin(Scope::Tenant(tenant_id)).await.unwrap();
        let found = search::list(&mut tx, &wanted, None, 100).await.unwrap();
        kept.extend(found.iter().rev().map(|row| (tenant_id, row.event_id)));
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_kept_as_long_as_its_tenant_and_the_operator_want() {
    let bed = Bed::new().await;
    let mut tx = bed.store.begin(Scope::System).await.unwrap();
    for (tenant_id, log_retention_days) in [(TENANT, Some(5)), (OTHER, None)] {
        let settings = tenants::Settings {
            log_retention_days,
            ..tenants::Settings::named(tenant_id)
        };
        tenants::insert(&mut tx, tenant_id, &settings)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let mut teller = Teller::new();
    let now_us = pushrail_clock::now_us();
    let said = [(TENANT, 10), (TENANT, 2), (OTHER, 10), (OTHER, 2)];
    let mut events = Vec::new();
    for (n, (tenant_id, days)) in (0..).zip(said) {
        let mut attempt = teller.attempt(n, n, Outcome::Delivered);
        attempt.tenant_id = tenant_id;
        attempt.received_at_us = Some(now_us - days * DAY_US);
        events.push((tenant_id, attempt.event_id));
        bed.write(&attempt).await;
    }

    let tending = bed
        .start_with(|settings| settings.chores_every = TENDED_EVERY)
        .await;
    wait_for("the tenant's policy", async || {
        (kept(&bed).await == events[1..]).then_some(())
    })
    .await;
    tending.stop().await;
    let tending = bed
        .start_with(|settings| {
            settings.chores_every = TENDED_EVERY;
            settings.retention_days = 5;
        })
        .await;
    wait_for("the operator's policy", async || {
        (kept(&bed).await == [events[1], events[3]]).then_some(())
    })
    .await;
    // What is too old when it comes is not kept either; what comes behind it says that it was looked at.
    let mut last = (TENANT, Uuid::nil());
    for (n, days) in [(10, 9), (11, 1)] {
        let mut attempt = teller.attempt(n, n, Outcome::Delivered);
        attempt.received_at_us = Some(now_us - days * DAY_US);
        attempt.destination_id = Some(Uuid::nil());
        last.1 = attempt.event_id;
        bed.write(&attempt).await;
    }
    let kept = wait_for("what came last", async || {
        let kept = kept(&bed).await;
        (kept.len() >= 3).then_some(kept)
    })
    .await;
    tending.stop().await;
    assert_eq!(kept, [events[1], last, events[3]]);
}
