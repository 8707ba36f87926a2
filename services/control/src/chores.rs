//! What is due without anybody asking: rotations end, what is over is forgotten, and times of use are written down.

use std::sync::Arc;
use std::time::Duration;

use pushrail_http::Problem;
use pushrail_kafka_access::User;
use pushrail_obs::Condition;
use pushrail_schemas::config;
use pushrail_store::destinations::Aside;
use pushrail_store::{Scope, destinations, idempotency, kafka_credentials, outbox, sessions};
use pushrail_topology::topics;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::call::{Done, record};
use crate::reply;

const EVERY: Duration = Duration::from_secs(2);
/// Rounds between two clearings of what is over.
const CLEARING: u32 = 300;
const ROTATIONS: u32 = 100;

pub(crate) async fn run(api: Arc<Api>, database: Condition, shutdown: CancellationToken) {
    let mut round = 0u32;
    loop {
        match once(&api, round.is_multiple_of(CLEARING)).await {
            Ok(()) => database.met(),
            Err(error) => {
                tracing::warn!(%error, "control.chores_wait");
                database.unmet(error.to_string());
            }
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = api.erase.notified() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn once(api: &Api, clear: bool) -> Result<(), pushrail_store::Error> {
    api.store.ping().await?;
    api.used.write(&api.store).await?;
    end_rotations(api).await?;
    take_back_users(api).await?;
    crate::erase::run(api).await?;
    if let Err(problem) = crate::payload_keys::chores(&api.store, &api.ring, clear).await {
        tracing::warn!(problem = problem.kind(), "control.payload_keys_wait");
    }
    if clear {
        let mut tx = api.store.begin(Scope::System).await?;
        sessions::forget_ended(&mut tx).await?;
        idempotency::forget_old(&mut tx).await?;
        tx.commit().await?;
        api.limits.forget_idle();
    }
    Ok(())
}

/// Takes away secrets that were replaced, when their overlap has passed.
async fn end_rotations(api: &Api) -> Result<(), pushrail_store::Error> {
    let mut tx = api.store.begin(Scope::System).await?;
    let due = destinations::rotations_due(&mut tx, ROTATIONS).await?;
    drop(tx);
    for destination in due {
        if let Err(problem) = end_rotation(api, &destination).await {
            // The next round tries again; the others are not held up.
            let id = destination.destination_id;
            tracing::warn!(%id, problem = problem.kind(), "control.rotation_not_ended");
        }
    }
    Ok(())
}

/// Takes back users of Kafka whose making was interrupted: nobody has seen their password.
async fn take_back_users(api: &Api) -> Result<(), pushrail_store::Error> {
    let Some(kafka) = &api.kafka else {
        return Ok(());
    };
    let mut tx = api.store.begin(Scope::System).await?;
    for name in kafka_credentials::unfinished(&mut tx).await? {
        let revoked = match User::parse(&name) {
            Ok(user) => kafka.access.revoke(&user).await,
            Err(error) => Err(error),
        };
        match revoked {
            Ok(()) => drop(kafka_credentials::mark(&mut tx, &name, "revoked").await?),
            Err(error) => tracing::warn!(%error, "control.user_not_taken_back"),
        }
    }
    tx.commit().await
}

async fn end_rotation(api: &Api, due: &config::Destination) -> Result<(), Problem> {
    let mut tx = api.store.begin(Scope::System).await.map_err(reply::store)?;
    let (tenant_id, customer_id) = (&due.tenant_id, due.customer_id);
    let row = destinations::lock(&mut tx, tenant_id, customer_id, due.destination_id).await;
    // Somebody else has changed it since: the next round sees it as it is now.
    let Some(row) = row
        .map_err(reply::store)?
        .filter(|row| row.document.version == due.version)
    else {
        return Ok(());
    };
    let adapter = api.adapter(&due.kind).ok_or_else(reply::internal)?;
    let built = pushrail_admin::finish_rotation(&row.document, &**adapter, &api.context, &api.ring);
    let document = built.map_err(reply::admin)?.destination;
    let aside = Aside {
        state_reason: row.state_reason.as_deref(),
        rotation_ends_in: None,
        keep_rotation: false,
    };
    destinations::update(&mut tx, &document, aside)
        .await
        .map_err(reply::store)?;
    let id = document.destination_id.to_string();
    let done = Done {
        action: "destination.secret.finish_rotation",
        target_kind: "destination",
        target_id: &id,
        chain: tenant_id,
        customer_id: Some(customer_id),
        before: None,
        after: None,
    };
    record(&mut tx, "system", "rotation", "", done).await?;
    let key = config::key::destination(document.destination_id);
    let value = serde_json::to_vec(&document).map_err(|_| reply::internal())?;
    outbox::put(&mut tx, topics::CONFIG, &key, Some(&value))
        .await
        .map_err(reply::store)?;
    tx.commit().await.map_err(reply::store)
}
