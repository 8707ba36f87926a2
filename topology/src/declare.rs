//! Reads `topics.toml` and expands its templates into the topics that an installation needs.

use std::collections::BTreeMap;

use pushrail_schemas::avro;
use pushrail_schemas::identity::is_tenant_id;
use serde::{Deserialize, Serialize};

use crate::topics;

const DECLARATION: &str = include_str!("../topics.toml");

/// What belongs to a cluster and not to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Copies of each partition. 3 in production, 1 where there is one broker.
    pub replication_factor: u32,
    /// Copies that must have a record before it counts as written (`acks=all`). 2 in production: one broker may be down.
    pub min_insync_replicas: u32,
    /// Partitions of topics that need more than the declaration gives, by the name that `topics.toml` uses
    /// (`events`, `deliver.<kind>`). Topics that are co-partitioned follow.
    pub partitions: BTreeMap<String, u32>,
}

impl Settings {
    /// One broker: nothing is replicated.
    pub fn single() -> Self {
        Settings {
            replication_factor: 1,
            min_insync_replicas: 1,
            partitions: BTreeMap::new(),
        }
    }

    /// Three brokers or more, of which one may be lost without a pause.
    pub fn production() -> Self {
        Settings {
            replication_factor: 3,
            min_insync_replicas: 2,
            partitions: BTreeMap::new(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::production()
    }
}

/// What growing a topic costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    Free,
    /// Keys move to other partitions; the topic's note says what that costs.
    Rehash,
    Never,
}

/// A topic that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// What `topics.toml` calls it: `deliver.<kind>`.
    pub declared_as: String,
    pub partitions: u32,
    pub replication_factor: u32,
    pub growth: Growth,
    pub note: Option<String>,
    /// Kafka's topic settings that are ours to decide; all others are the cluster's.
    pub config: BTreeMap<String, String>,
    /// The value's Avro schema, to be registered as `<topic>-value`.
    pub schema: Option<&'static str>,
}

/// A kind, tenant or setting that no topic can be made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    #[error(
        "{0:?} cannot name a destination kind: use a-z, 0-9 and _, at most 63 characters, and neither `direct` nor `events`"
    )]
    Kind(String),
    #[error("{0:?} cannot name a tenant: use a-z, 0-9 and inner -, at most 63 characters")]
    Tenant(String),
    #[error("partitions are set for {0:?}, which topics.toml does not declare; it declares {1}")]
    Undeclared(String, String),
    #[error("{0} takes its number of partitions from {1}: set {1} instead")]
    Follows(String, String),
    #[error("partitions of {0} must be between 1 and 10000, not {1}")]
    Partitions(String, u32),
    #[error(
        "min.insync.replicas {min} exceeds the replication factor {factor}: nothing could ever be written"
    )]
    InSync { min: u32, factor: u32 },
    #[error("replication factor and min.insync.replicas must be at least 1")]
    Zero,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declaration {
    defaults: BTreeMap<String, toml::Value>,
    topic: Vec<Declared>,
    tier: Vec<DeclaredTier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    #[allow(
        dead_code,
        reason = "for readers of the file; a test demands that it is there"
    )]
    about: String,
    #[allow(
        dead_code,
        reason = "for readers of the file; a test demands that it is there"
    )]
    key: String,
    partitions: Option<u32>,
    same_as: Option<String>,
    growth: Growth,
    note: Option<String>,
    cleanup: String,
    retention: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredTier {
    name: String,
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "constants are held equal to it by a test")
    )]
    delay: String,
}

/// The embedded declaration. A test parses it, so a release cannot hold a broken one.
pub(crate) fn declaration() -> Declaration {
    toml::from_str(DECLARATION).expect("topics.toml is tested")
}

/// The topics that an installation with these destination kinds and tenants needs, in the declaration's order.
pub fn wanted(
    settings: &Settings,
    kinds: &[&str],
    tenants: &[&str],
) -> Result<Vec<Topic>, WantedError> {
    let declaration = declaration();
    check(settings, &declaration)?;
    if let Some(bad) = kinds.iter().find(|kind| !topics::is_kind(kind)) {
        return Err(WantedError::Kind((*bad).to_owned()));
    }
    if let Some(bad) = tenants.iter().find(|tenant| !is_tenant_id(tenant)) {
        return Err(WantedError::Tenant((*bad).to_owned()));
    }
    let tiers: Vec<&str> = declaration
        .tier
        .iter()
        .map(|tier| tier.name.as_str())
        .collect();
    let mut wanted = Vec::new();
    for declared in &declaration.topic {
        let names = match declared.name.split_once('<') {
            None => vec![declared.name.clone()],
            Some((prefix, "kind>")) => kinds.iter().map(|kind| format!("{prefix}{kind}")).collect(),
            Some((prefix, "tenant>")) => tenants
                .iter()
                .map(|tenant| format!("{prefix}{tenant}"))
                .collect(),
            Some((prefix, "tier>")) => tiers.iter().map(|tier| format!("{prefix}{tier}")).collect(),
            Some((_, other)) => unreachable!("topics.toml is tested: <{other}"),
        };
        wanted.extend(
            names
                .into_iter()
                .map(|name| declaration.topic(declared, name, settings)),
        );
    }
    Ok(wanted)
}

fn check(settings: &Settings, declaration: &Declaration) -> Result<(), WantedError> {
    let (factor, min) = (settings.replication_factor, settings.min_insync_replicas);
    if factor == 0 || min == 0 {
        return Err(WantedError::Zero);
    }
    if min > factor {
        return Err(WantedError::InSync { min, factor });
    }
    for (name, partitions) in &settings.partitions {
        let Some(declared) = declaration.topic.iter().find(|topic| topic.name == *name) else {
            let names: Vec<_> = declaration
                .topic
                .iter()
                .map(|topic| topic.name.as_str())
                .collect();
            return Err(WantedError::Undeclared(name.clone(), names.join(", ")));
        };
        if let Some(leader) = &declared.same_as {
            return Err(WantedError::Follows(name.clone(), leader.clone()));
        }
        if !(1..=10_000).contains(partitions)
            || (declared.growth == Growth::Never && Some(*partitions) != declared.partitions)
        {
            return Err(WantedError::Partitions(name.clone(), *partitions));
        }
    }
    Ok(())
}

impl Declaration {
    fn topic(&self, declared: &Declared, name: String, settings: &Settings) -> Topic {
        let mut config: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in self.defaults.iter().chain(&declared.settings) {
            config.insert(key.clone(), plain(value));
        }
        config.insert("cleanup.policy".into(), declared.cleanup.replace('+', ","));
        if let Some(retention) = &declared.retention {
            config.insert(
                "retention.ms".into(),
                duration_ms(retention)
                    .expect("topics.toml is tested")
                    .to_string(),
            );
        }
        config.insert(
            "min.insync.replicas".into(),
            settings.min_insync_replicas.to_string(),
        );
        Topic {
            name,
            declared_as: declared.name.clone(),
            partitions: self.partitions(declared, settings),
            replication_factor: settings.replication_factor,
            growth: declared.growth,
            note: declared.note.clone(),
            config,
            schema: declared
                .schema
                .as_deref()
                .map(|name| avro::named(name).expect("topics.toml is tested")),
        }
    }

    fn partitions(&self, declared: &Declared, settings: &Settings) -> u32 {
        let leader = match &declared.same_as {
            Some(leader) => self
                .topic
                .iter()
                .find(|topic| topic.name == *leader)
                .expect("topics.toml is tested"),
            None => declared,
        };
        let set = settings.partitions.get(&leader.name).copied();
        set.or(leader.partitions).expect("topics.toml is tested")
    }

    /// What topics of a template start with; a live topic that does and is not wanted gets reported.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.topic
            .iter()
            .filter_map(|topic| topic.name.split_once('<').map(|(prefix, _)| prefix))
    }
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Milliseconds of `30s`, `2m`, `24h`, `7d`.
fn duration_ms(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

#[cfg(test)]
#[path = "declare_tests.rs"]
mod tests;
