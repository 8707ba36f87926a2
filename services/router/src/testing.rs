//! Destinations for tests.

use pushrail_schemas::config::Destination;
use pushrail_schemas::identity;
use serde_json::json;
use uuid::Uuid;

pub(crate) const TENANT: &str = "acme";
pub(crate) const CUSTOMER: &str = "c-1";

/// A destination of `acme`'s customer `c-1`, with what `more` says on top.
pub(crate) fn destination(id: u128, event_types: &[&str], more: serde_json::Value) -> Destination {
    let mut value = json!({
        "destinationId": Uuid::from_u128(id),
        "tenantId": TENANT,
        "customerId": identity::customer_id(TENANT, CUSTOMER),
        "customerExternalId": CUSTOMER,
        "kind": "webhook",
        "name": "test",
        "version": 1,
        "config": {},
        "eventTypes": event_types,
    });
    for (name, more) in more.as_object().into_iter().flatten() {
        value[name] = more.clone();
    }
    // By way of text: a raw value cannot be read from a tree.
    let destination: Destination = serde_json::from_str(&value.to_string()).unwrap();
    assert_eq!(destination.problems(), []);
    destination
}

pub(crate) fn of_customer(
    id: u128,
    tenant: &str,
    customer: &str,
    event_types: &[&str],
) -> Destination {
    let more = json!({
        "tenantId": tenant,
        "customerExternalId": customer,
        "customerId": identity::customer_id(tenant, customer),
    });
    destination(id, event_types, more)
}
