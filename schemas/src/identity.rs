//! Ids, and how they follow from each other.
//!
//! Everything that may be derived is derived, so that two services, or one service before and after a crash, can never
//! disagree: the same accepted event has one id, and one delivery id for each destination, for ever.

use uuid::Uuid;

/// Namespace of every UUIDv5 that Pushrail derives. Changing it changes every id: never do.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_7f3e_52c4_5b0a_9d57_0d3c_8a41_77e2);

/// Derives a UUIDv5 from `parts`; each is preceded by its length, so that no two lists of parts share a name.
fn derive(label: &str, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(64 + parts.iter().map(|p| p.len() + 4).sum::<usize>());
    name.extend_from_slice(label.as_bytes());
    for part in parts {
        name.extend_from_slice(&(part.len() as u32).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// The id of an event that carries an idempotency key.
pub fn event_id(tenant_id: &str, event_type: &str, idempotency_key: &str) -> Uuid {
    derive(
        "event",
        &[
            tenant_id.as_bytes(),
            event_type.as_bytes(),
            idempotency_key.as_bytes(),
        ],
    )
}

/// The id of a directly published event without a key: a UUIDv7 whose time is the record's and whose random part follows
/// from its place in the log, so that a restart in the middle of taking it over gives it the same id again.
pub fn event_id_at(topic: &str, partition: i32, offset: i64, timestamp_ms: i64) -> Uuid {
    let place = derive(
        "place",
        &[
            topic.as_bytes(),
            &partition.to_be_bytes(),
            &offset.to_be_bytes(),
        ],
    );
    let mut random = [0u8; 10];
    random.copy_from_slice(&place.as_bytes()[..10]);
    uuid::Builder::from_unix_timestamp_millis(timestamp_ms.max(0) as u64, &random).into_uuid()
}

/// The id of the customer that the vendor calls `external_id`.
pub fn customer_id(tenant_id: &str, external_id: &str) -> Uuid {
    derive("customer", &[tenant_id.as_bytes(), external_id.as_bytes()])
}

/// The id of the delivery of one event to one destination.
pub fn delivery_id(event_id: Uuid, destination_id: Uuid) -> Uuid {
    derive(
        "delivery",
        &[event_id.as_bytes(), destination_id.as_bytes()],
    )
}

/// The partition key of `events`: all events of one customer share a partition.
pub fn event_key(tenant_id: &str, customer_external_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant_id.len() + 1 + customer_external_id.len());
    key.extend_from_slice(tenant_id.as_bytes());
    key.push(b'/');
    key.extend_from_slice(customer_external_id.as_bytes());
    key
}

/// Whether `id` may name a tenant: it becomes part of topic names, so it is short, lower case and plain.
pub fn is_tenant_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 63
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-')
        && !id.ends_with('-')
}

/// Longest event type, in bytes.
pub const EVENT_TYPE_LEN_MAX: usize = 255;

/// Types of events that Pushrail itself makes, such as `pushrail.test`: no vendor's.
pub const RESERVED_EVENT_TYPE_PREFIX: &str = "pushrail.";

/// Whether an event type is ours, and so refused from vendors.
pub fn is_reserved_event_type(event_type: &str) -> bool {
    event_type.starts_with(RESERVED_EVENT_TYPE_PREFIX)
}

/// What is wrong with an event type; `None` when it is well formed: names of letters, digits, `_` and `-`, joined by dots.
pub fn event_type_problem(event_type: &str) -> Option<&'static str> {
    if event_type.is_empty() {
        return Some("must not be empty");
    }
    if event_type.len() > EVENT_TYPE_LEN_MAX {
        return Some("must have at most 255 bytes");
    }
    let well_formed = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if event_type.split('.').all(well_formed) {
        return None;
    }
    Some("must be names of letters, digits, _ and - joined by dots, such as order.completed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_pinned_for_ever() {
        let event = event_id("acme", "order.completed", "k-1");
        assert_eq!(
            event.to_string(),
            event_id("acme", "order.completed", "k-1").to_string()
        );
        assert_ne!(
            event,
            event_id("acme", "order.complete", "dk-1"),
            "parts must not run into each other"
        );
        assert_eq!(event.get_version_num(), 5);
    }

    #[test]
    fn a_place_in_the_log_has_one_id() {
        let id = event_id_at("events.direct.acme", 3, 17, 1_700_000_000_000);
        assert_eq!(
            id,
            event_id_at("events.direct.acme", 3, 17, 1_700_000_000_000)
        );
        assert_ne!(
            id,
            event_id_at("events.direct.acme", 3, 18, 1_700_000_000_000)
        );
        assert_eq!(id.get_version_num(), 7);
    }

    #[test]
    fn tenant_ids_fit_a_topic_name() {
        for good in ["a", "acme", "acme-2"] {
            assert!(is_tenant_id(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"a".repeat(64)] {
            assert!(!is_tenant_id(bad), "{bad}");
        }
    }
}
