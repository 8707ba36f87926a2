//! Carries erasures out: first the keys, then the log.
//!
//! Each step is a transaction that can be done again, and holds the erasure's row, so that two instances never do the same;
//! a crash leaves the rest to whoever looks next. Keys are destroyed once, in the transaction that says so: done twice, it
//! would take what came after the erasure.

use pushrail_http::Problem;
use pushrail_store::erasures::{self, Erasure};
use pushrail_store::log::DAY_US;
use pushrail_store::{Scope, Tx};
use serde_json::json;
use uuid::Uuid;

use crate::api::Api;
use crate::call::{Done, record};
use crate::payload_keys;
use crate::reply;

/// Erasures of one round.
const ROUND: u32 = 100;

/// Days after which no topic has anything of an event that was accepted before: a week on `deliver.*` and `retry.*`, then a
/// month on `dlq.*`.
pub(crate) const KEPT_ON_TOPICS_DAYS: u32 = 37;

/// Carries out what is running.
pub(crate) async fn run(api: &Api) -> Result<(), pushrail_store::Error> {
    let mut tx = api.store.begin(Scope::System).await?;
    let running = erasures::running(&mut tx, ROUND).await?;
    drop(tx);
    for id in running {
        if let Err(problem) = one(api, id).await {
            // The next round goes on with it; the others are not held up.
            tracing::warn!(%id, problem = problem.kind(), "control.erasure_waits");
        }
    }
    Ok(())
}

async fn one(api: &Api, id: Uuid) -> Result<(), Problem> {
    let Some((mut tx, erasure)) = claim(api, id).await? else {
        return Ok(());
    };
    if erasure.shredded.is_none() {
        let tenant_id = &erasure.tenant_id;
        let shredded = payload_keys::shred(&mut tx, &api.ring, tenant_id, erasure.what).await?;
        erasures::shredded(&mut tx, id, shredded)
            .await
            .map_err(reply::store)?;
        tx.commit().await.map_err(reply::store)?;
    } else {
        drop(tx);
    }
    let mut tx = api.store.begin(Scope::System).await.map_err(reply::store)?;
    erasures::barrier(&mut tx).await.map_err(reply::store)?;
    let days = erasures::days(&mut tx).await.map_err(reply::store)?;
    tx.commit().await.map_err(reply::store)?;
    for day in days {
        // A customer may have much: a day at a time.
        if i64::from(day) * DAY_US > erasure.until.0 {
            continue;
        }
        let Some((mut tx, erasure)) = claim(api, id).await? else {
            return Ok(());
        };
        erasures::remove_attempts(&mut tx, &erasure, day)
            .await
            .map_err(reply::store)?;
        tx.commit().await.map_err(reply::store)?;
    }
    let Some((mut tx, erasure)) = claim(api, id).await? else {
        return Ok(());
    };
    erasures::remove_dead_letters(&mut tx, &erasure)
        .await
        .map_err(reply::store)?;
    tx.commit().await.map_err(reply::store)?;
    finish(api, id).await
}

async fn finish(api: &Api, id: Uuid) -> Result<(), Problem> {
    let Some((mut tx, erasure)) = claim(api, id).await? else {
        return Ok(());
    };
    let removed = erasure.removed;
    // Of what the log does not know nobody can say that it was sealed.
    let known = removed.attempts > 0 && removed.clear == 0;
    let kept = (!known || erasure.shredded != Some(true)).then_some(KEPT_ON_TOPICS_DAYS);
    let erasure = erasures::finish(&mut tx, id, kept)
        .await
        .map_err(reply::store)?;
    let after = json!({
        "shredded": erasure.shredded,
        "deliveries": removed.deliveries,
        "attempts": removed.attempts,
        "deadLetters": removed.dead_letters,
    });
    let done = Done {
        action: "erasure.finish",
        target_kind: "erasure",
        target_id: &id.to_string(),
        chain: &erasure.tenant_id,
        customer_id: customer_of(&erasure),
        before: None,
        after: Some(after),
    };
    record(&mut tx, "system", "erasure", "", done).await?;
    tx.commit().await.map_err(reply::store)?;
    tracing::info!(%id, "erasure.finished");
    Ok(())
}

pub(crate) fn customer_of(erasure: &Erasure) -> Option<Uuid> {
    match erasure.what {
        erasures::What::Event { customer_id, .. } => customer_id,
        erasures::What::Subject { customer_id, .. } | erasures::What::Customer(customer_id) => {
            Some(customer_id)
        }
    }
}

async fn claim(api: &Api, id: Uuid) -> Result<Option<(Tx, Erasure)>, Problem> {
    let mut tx = api.store.begin(Scope::System).await.map_err(reply::store)?;
    let erasure = erasures::claim(&mut tx, id).await.map_err(reply::store)?;
    Ok(erasure.map(|erasure| (tx, erasure)))
}

#[cfg(test)]
mod tests {
    /// What an erasure promises follows from what topics are declared to keep.
    #[test]
    fn topics_keep_nothing_for_longer_than_is_promised() {
        let declared = include_str!("../../../topology/topics.toml");
        let days: Vec<u32> = declared
            .lines()
            .filter_map(|line| line.strip_prefix("retention = \"")?.strip_suffix("d\""))
            .map(|days| days.parse().unwrap())
            .collect();
        let (longest, deliver) = (*days.iter().max().unwrap(), 7);
        assert!(longest + deliver <= super::KEPT_ON_TOPICS_DAYS, "{days:?}");
        assert!(days.contains(&deliver));
    }
}
