//! Names of topics, as constants and functions, for services that produce and consume.
//!
//! `topics.toml` is the declaration; a test holds every name here equal to it.

pub const CONFIG: &str = "config";
pub const EVENTS: &str = "events";
pub const DEDUP: &str = "dedup";
pub const AUDIT_ATTEMPTS: &str = "audit.attempts";
pub const AUDIT_CHANGES: &str = "audit.changes";
pub const DLQ_DIRECT: &str = "dlq.direct";
pub const DLQ_EVENTS: &str = "dlq.events";

/// What every topic of direct publishing starts with.
pub const DIRECT_PREFIX: &str = "events.direct.";

/// Deliveries that are due, for the sinks of `kind`.
pub fn deliver(kind: &str) -> String {
    format!("deliver.{kind}")
}

/// Deliveries of `kind` that ended without success.
pub fn dlq(kind: &str) -> String {
    format!("dlq.{kind}")
}

/// Where `tenant` publishes directly.
pub fn direct(tenant: &str) -> String {
    format!("{DIRECT_PREFIX}{tenant}")
}

/// What [`AUDIT_ATTEMPTS`] has of `tenant`, for the tenant to read.
pub fn audit(tenant: &str) -> String {
    format!("{AUDIT_ATTEMPTS}.{tenant}")
}

/// The tenant that publishes on `topic`; `None` when it is no topic of direct publishing.
pub fn tenant_of_direct(topic: &str) -> Option<&str> {
    topic
        .strip_prefix(DIRECT_PREFIX)
        .filter(|tenant| pushrail_schemas::identity::is_tenant_id(tenant))
}

/// Whether `kind` may name a destination type: it becomes part of topic names, beside `dlq.direct` and `dlq.events`.
pub fn is_kind(kind: &str) -> bool {
    !kind.is_empty()
        && kind.len() <= 63
        && kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !["direct", "events"].contains(&kind)
}

/// A retry tier: a topic whose records all wait the same time, so that a partition's order is its due order and nothing
/// waits behind what is due later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Short name: `30s`.
    pub name: &'static str,
    pub delay_ms: u64,
    pub topic: &'static str,
}

/// The tiers, by ascending delay.
pub const TIERS: [Tier; 7] = [
    Tier {
        name: "1s",
        delay_ms: 1_000,
        topic: "retry.1s",
    },
    Tier {
        name: "5s",
        delay_ms: 5_000,
        topic: "retry.5s",
    },
    Tier {
        name: "30s",
        delay_ms: 30_000,
        topic: "retry.30s",
    },
    Tier {
        name: "2m",
        delay_ms: 120_000,
        topic: "retry.2m",
    },
    Tier {
        name: "10m",
        delay_ms: 600_000,
        topic: "retry.10m",
    },
    Tier {
        name: "1h",
        delay_ms: 3_600_000,
        topic: "retry.1h",
    },
    Tier {
        name: "6h",
        delay_ms: 21_600_000,
        topic: "retry.6h",
    },
];

impl Tier {
    /// The largest tier whose delay fits into `left_ms`, or `None` when less than the smallest is left.
    pub fn within(left_ms: u64) -> Option<&'static Tier> {
        TIERS.iter().rev().find(|tier| tier.delay_ms <= left_ms)
    }

    /// The tier for a record that must wait `delay_ms`: the largest that fits, so that it is never late by more than the
    /// smallest tier, which takes whatever is shorter.
    pub fn for_delay(delay_ms: u64) -> &'static Tier {
        Tier::within(delay_ms).unwrap_or(&TIERS[0])
    }

    /// The tier that `topic` belongs to.
    pub fn of_topic(topic: &str) -> Option<&'static Tier> {
        TIERS.iter().find(|tier| tier.topic == topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_topic_never_yields_a_tenant() {
        assert_eq!(tenant_of_direct("events.direct.acme-2"), Some("acme-2"));
        for foreign in [
            "events",
            "events.direct.",
            "events.direct.A",
            "events.direct.a.b",
            "x.events.direct.a",
        ] {
            assert_eq!(tenant_of_direct(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_kind_never_shares_a_dead_letter_topic_with_the_pipeline() {
        assert!(is_kind("webhook") && is_kind("azure_blob") && is_kind("s3"));
        for bad in ["", "direct", "events", "S3", "a.b", "a-b"] {
            assert!(!is_kind(bad), "{bad}");
        }
    }

    #[test]
    fn a_record_never_waits_longer_than_asked_in_a_tier() {
        assert_eq!(Tier::within(999), None);
        assert_eq!(Tier::within(1_000).unwrap().name, "1s");
        assert_eq!(Tier::within(119_999).unwrap().name, "30s");
        assert_eq!(Tier::within(u64::MAX).unwrap().name, "6h");
        assert_eq!(Tier::for_delay(0).name, "1s");
        assert_eq!(Tier::for_delay(29_999).name, "5s");
        assert_eq!(Tier::of_topic("retry.2m").unwrap().delay_ms, 120_000);
        assert_eq!(Tier::of_topic("retry.3m"), None);
    }
}
