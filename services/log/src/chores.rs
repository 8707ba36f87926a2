//! What is due without a record: what is too old goes, minutes become hours, and what was not well and has been quiet is
//! well again.

use std::sync::Arc;

use pushrail_clock as clock;
use pushrail_store::log::{DAY_US, HOUR_US, MINUTE_US, Micros, health, keep};
use pushrail_store::{Error, Scope, Store};
use tokio_util::sync::CancellationToken;

use crate::health::{State, WINDOW_MINUTES};
use crate::tell::{self, Transition};
use crate::worker::Shared;

/// Figures are kept by the minute for so long, then by the hour.
const MINUTES_FOR_US: i64 = 48 * HOUR_US;
/// And by the hour for so long.
const HOURS_FOR_US: i64 = 90 * DAY_US;
/// Destinations that are looked at in one transaction.
const ROUND: u32 = 200;

pub(crate) async fn run(shared: Arc<Shared>, store: Store, shutdown: CancellationToken) {
    loop {
        if let Err(error) = once(&shared, &store).await {
            tracing::warn!(%error, "log.chores_wait");
        }
        tokio::select! {
            () = tokio::time::sleep(shared.settings.chores_every) => {}
            () = shutdown.cancelled() => break,
        }
    }
    store.close().await;
}

async fn once(shared: &Shared, store: &Store) -> Result<(), Error> {
    let now_us = clock::now_us();
    recover(shared, store, now_us).await?;
    let mut tx = store.begin(Scope::System).await?;
    if !keep::lock(&mut tx).await? {
        return Ok(());
    }
    let settings = &shared.settings;
    let oldest = Micros(now_us - i64::from(settings.retention_days) * DAY_US);
    let days = keep::drop_days(&mut tx, oldest).await?;
    let letters_before = Micros(now_us - i64::from(settings.dead_letter_days) * DAY_US);
    let letters = keep::remove_dead_letters(&mut tx, letters_before).await?;
    let by_policy = keep::remove_by_policy(&mut tx, Micros(now_us)).await?;
    let (minutes, hours) = (
        Micros(now_us - MINUTES_FOR_US),
        Micros(now_us - HOURS_FOR_US),
    );
    keep::roll_up(&mut tx, minutes, hours).await?;
    tx.commit().await?;
    if days > 0 || letters > 0 || by_policy > 0 {
        tracing::info!(days, letters, by_policy, "log.removed");
    }
    Ok(())
}

/// What was degraded and has not been written of for longer than is looked at has had no failure since.
async fn recover(shared: &Shared, store: &Store, now_us: i64) -> Result<(), Error> {
    let mut tx = store.begin(Scope::System).await?;
    let before = Micros(now_us - (WINDOW_MINUTES + 1) * MINUTE_US);
    let mut rows = health::quiet(&mut tx, before, ROUND).await?;
    let mut transitions = Vec::new();
    for row in &mut rows {
        let at = Micros(now_us);
        State::Healthy.as_str().clone_into(&mut row.health);
        row.since = at;
        row.reason.clear();
        row.consecutive_failures = 0;
        transitions.push(Transition {
            health: row.clone(),
            from: State::Degraded,
            to: State::Healthy,
            at,
        });
    }
    health::put(&mut tx, &rows.iter().collect::<Vec<_>>()).await?;
    tell::tell(&mut tx, shared.settings.event_schema_id, &transitions).await?;
    tx.commit().await
}
