//! The difference between what should exist and what does.

use std::fmt;

use serde::Serialize;

use crate::declare::{Growth, declaration};
use crate::{Live, LiveTopic, Topic};

/// What `apply` would do, and what it would leave alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    pub create: Vec<Create>,
    pub grow: Vec<Grow>,
    pub subjects: Vec<SubjectChange>,
    pub drift: Vec<Drift>,
    /// How many topics are as they should be.
    pub unchanged: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Create {
    pub topic: String,
    pub partitions: u32,
    pub replication_factor: u32,
    pub config: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grow {
    pub topic: String,
    pub from: u32,
    pub to: u32,
    /// What it costs, where it costs something.
    pub note: Option<String>,
}

/// A schema that its subject does not hold yet, or a subject that promises less than it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum SubjectChange {
    Register {
        subject: String,
        #[serde(skip)]
        schema: &'static str,
    },
    Compatibility {
        subject: String,
        from: Option<String>,
        #[serde(skip)]
        schema: &'static str,
    },
}

/// A difference that is reported and left alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "drift")]
pub enum Drift {
    /// A setting differs; `found` is absent when the cluster does not know the setting.
    Config {
        topic: String,
        setting: String,
        wanted: String,
        found: Option<String>,
    },
    /// Partitions cannot be taken away.
    MorePartitions {
        topic: String,
        wanted: u32,
        found: u32,
    },
    /// Fewer partitions than declared, in a topic whose number is part of the contract.
    FixedPartitions {
        topic: String,
        wanted: u32,
        found: u32,
    },
    Replication {
        topic: String,
        wanted: u32,
        found: u32,
    },
    /// Named like one of ours, but nothing here asks for it: a kind or tenant that is gone, or a stranger's topic.
    Unmanaged { topic: String },
}

/// Compares `wanted` with `live`. Pure: reads and changes nothing.
pub fn compare(wanted: &[Topic], live: &Live) -> Plan {
    let mut plan = Plan::default();
    for topic in wanted {
        match live.topics.get(&topic.name) {
            None => plan.create.push(Create {
                topic: topic.name.clone(),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                config: topic.config.clone(),
            }),
            Some(found) => compare_topic(topic, found, &mut plan),
        }
    }
    let declaration = declaration();
    for name in live.topics.keys() {
        let ours = declaration
            .prefixes()
            .any(|prefix| name.starts_with(prefix));
        if ours && !wanted.iter().any(|topic| topic.name == *name) {
            plan.drift.push(Drift::Unmanaged {
                topic: name.clone(),
            });
        }
    }
    plan
}

fn compare_topic(topic: &Topic, found: &LiveTopic, plan: &mut Plan) {
    let before = (plan.grow.len(), plan.drift.len());
    let name = || topic.name.clone();
    if found.partitions < topic.partitions && topic.growth == Growth::Never {
        plan.drift.push(Drift::FixedPartitions {
            topic: name(),
            wanted: topic.partitions,
            found: found.partitions,
        });
    } else if found.partitions < topic.partitions {
        plan.grow.push(Grow {
            topic: name(),
            from: found.partitions,
            to: topic.partitions,
            note: topic.note.clone(),
        });
    } else if found.partitions > topic.partitions {
        plan.drift.push(Drift::MorePartitions {
            topic: name(),
            wanted: topic.partitions,
            found: found.partitions,
        });
    }
    if found.replication_factor != topic.replication_factor {
        plan.drift.push(Drift::Replication {
            topic: name(),
            wanted: topic.replication_factor,
            found: found.replication_factor,
        });
    }
    for (setting, wanted) in &topic.config {
        let value = found.config.get(setting);
        if !value.is_some_and(|value| same(setting, wanted, value)) {
            plan.drift.push(Drift::Config {
                topic: name(),
                setting: setting.clone(),
                wanted: wanted.clone(),
                found: value.cloned(),
            });
        }
    }
    plan.unchanged += usize::from(before == (plan.grow.len(), plan.drift.len()));
}

/// Whether two values of a setting mean the same.
fn same(setting: &str, wanted: &str, found: &str) -> bool {
    if setting == "cleanup.policy" {
        let set = |text: &str| {
            text.split(',')
                .map(|policy| policy.trim().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        return set(wanted) == set(found);
    }
    match (wanted.parse::<f64>(), found.parse::<f64>()) {
        (Ok(wanted), Ok(found)) => wanted == found,
        _ => wanted == found,
    }
}

impl Plan {
    /// Whether `apply` would change nothing.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.grow.is_empty() && self.subjects.is_empty()
    }

    /// For machines: the same as [`fmt::Display`] says.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan is plain data")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for create in &self.create {
            write!(
                f,
                "+ create  {:<24} {} partitions × {}",
                create.topic, create.partitions, create.replication_factor
            )?;
            let shown = ["cleanup.policy", "retention.ms"]
                .iter()
                .filter_map(|key| Some((key, create.config.get(*key)?)));
            for (key, value) in shown {
                write!(f, ", {key}={value}")?;
            }
            writeln!(f)?;
        }
        for grow in &self.grow {
            writeln!(
                f,
                "~ grow    {:<24} from {} to {} partitions",
                grow.topic, grow.from, grow.to
            )?;
            if let Some(note) = &grow.note {
                writeln!(f, "          note: {note}")?;
            }
        }
        for subject in &self.subjects {
            writeln!(f, "{subject}")?;
        }
        for drift in &self.drift {
            writeln!(f, "! {drift}")?;
        }
        let changes = self.create.len() + self.grow.len() + self.subjects.len();
        let drift = match self.drift.len() {
            0 => String::new(),
            count => format!(" {count} differences are reported (!) and left alone."),
        };
        match changes {
            0 => write!(
                f,
                "Nothing to do; {} topics are as declared.{drift}",
                self.unchanged
            ),
            _ => write!(
                f,
                "{changes} changes, {} topics are as declared.{drift}",
                self.unchanged
            ),
        }
    }
}

impl fmt::Display for SubjectChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubjectChange::Register { subject, .. } => write!(f, "+ schema  {subject}"),
            SubjectChange::Compatibility { subject, from, .. } => {
                let from = from.as_deref().unwrap_or("the registry's default");
                write!(
                    f,
                    "~ schema  {subject:<24} compatibility from {from} to {}",
                    pushrail_schemas::registry::COMPATIBILITY
                )
            }
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::Config {
                topic,
                setting,
                wanted,
                found,
            } => {
                let found = found.as_deref().unwrap_or("unknown to the cluster");
                write!(
                    f,
                    "setting  {topic:<24} {setting} is {found}, declared {wanted}"
                )
            }
            Drift::MorePartitions {
                topic,
                wanted,
                found,
            } => {
                write!(
                    f,
                    "larger   {topic:<24} has {found} partitions, declared {wanted}; partitions are never taken away"
                )
            }
            Drift::FixedPartitions {
                topic,
                wanted,
                found,
            } => {
                write!(
                    f,
                    "smaller  {topic:<24} has {found} partitions, declared {wanted}; this topic must not grow in place"
                )
            }
            Drift::Replication {
                topic,
                wanted,
                found,
            } => {
                write!(
                    f,
                    "replicas {topic:<24} has {found} copies, set {wanted}; move it with kafka-reassign-partitions"
                )
            }
            Drift::Unmanaged { topic } => write!(
                f,
                "unknown  {topic:<24} is named like ours, but nothing asks for it"
            ),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
