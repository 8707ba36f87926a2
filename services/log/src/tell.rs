//! Transitions of health, as events that the vendor can subscribe to like any other.
//!
//! They are events of a customer of the vendor's with a name of its own, [`OPERATIONS`]: whoever makes that customer and
//! gives it a destination is told; for whoever has not, none are made. They go through the outbox, in the transaction that
//! keeps the transition.

use pushrail_clock as clock;
use pushrail_schemas::event::Parts;
use pushrail_schemas::{headers, identity};
use pushrail_store::log::Micros;
use pushrail_store::log::health::{self as kept, Health};
use pushrail_store::{Error, Tx, outbox};
use pushrail_topology::topics;
use serde_json::json;
use uuid::Uuid;

use crate::health::State;

/// External id of the customer whose events they are.
pub const OPERATIONS: &str = "pushrail.operations";
/// Their type.
const HEALTH_CHANGED: &str = "pushrail.destination.health_changed";

#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) health: Health,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) at: Micros,
}

/// Puts the events into the outbox.
pub(crate) async fn tell(
    tx: &mut Tx,
    event_schema_id: u32,
    transitions: &[Transition],
) -> Result<(), Error> {
    if transitions.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = transitions
        .iter()
        .map(|transition| transition.health.destination_id)
        .collect();
    for subject in kept::subjects(tx, &ids, OPERATIONS).await? {
        let of_it =
            |transition: &&Transition| transition.health.destination_id == subject.destination_id;
        for transition in transitions.iter().filter(of_it) {
            let health = &transition.health;
            let payload = json!({
                "destinationId": subject.destination_id,
                "destinationName": subject.name,
                "kind": subject.kind,
                "customerExternalId": subject.customer_external_id,
                "from": transition.from.as_str(),
                "to": transition.to.as_str(),
                "at": rfc3339(transition.at),
                "reason": health.reason,
                "consecutiveFailures": health.consecutive_failures,
                "lastSuccessAt": health.last_success_at.map(rfc3339),
                "lastFailureCode": health.last_failure_code,
                "lastFailure": health.last_failure,
            });
            put(
                tx,
                event_schema_id,
                &health.tenant_id,
                transition.at,
                &payload.to_string(),
            )
            .await?;
        }
    }
    Ok(())
}

async fn put(
    tx: &mut Tx,
    event_schema_id: u32,
    tenant_id: &str,
    at: Micros,
    payload: &str,
) -> Result<(), Error> {
    let mut value = Vec::new();
    Parts {
        event_id: Uuid::now_v7(),
        event_type: HEALTH_CHANGED,
        occurred_at_us: at.0,
        customer_external_id: OPERATIONS,
        idempotency_key: None,
        source: Some("pushrail"),
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us: clock::now_us(),
        subject_id: None,
        sealing: None,
    }
    .encode(event_schema_id, &mut value);
    let customer_id = identity::customer_id(tenant_id, OPERATIONS).to_string();
    let given = [
        (headers::TENANT_ID, tenant_id),
        (headers::CUSTOMER_ID, &customer_id),
        (headers::ORIGIN, "health"),
    ];
    let key = format!("{tenant_id}/{OPERATIONS}");
    outbox::put_with_headers(tx, topics::EVENTS, &key, &value, &given).await
}

fn rfc3339(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .unwrap_or_default()
        .to_string()
}
