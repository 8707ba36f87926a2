//! Declarative filters on an event's payload and metadata.
//!
//! A filter is a tree: `{"all": [..]}`, `{"any": [..]}`, `{"not": ..}`, and conditions
//! `{"path": "payload.amount", "op": "gte", "value": 100}`. A path names `payload` or `metadata`, then members by dots
//! and array elements by number. A condition on a path that is absent is false, except `exists: false` and `ne`.
//!
//! This module reads filters and says what is wrong with them; the router evaluates.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::path;
use crate::problem::Problem;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum Filter {
    All { all: Vec<Filter> },
    Any { any: Vec<Filter> },
    Not { not: Box<Filter> },
    Condition(Condition),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    pub path: Box<str>,
    pub op: Op,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    Exists,
    Prefix,
    Suffix,
    Contains,
}

/// Conditions and connectives in one filter.
pub const NODES_MAX: usize = 200;
/// Nesting of connectives.
pub const DEPTH_MAX: usize = 16;
/// Values that `in` may list.
pub const LIST_MAX: usize = 1_000;

/// A filter that cannot be used: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(pub Vec<Problem>);

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::problem::join(&self.0))
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a filter. Every problem is named by its JSON pointer below `at`.
    pub fn parse(value: &Value, at: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader {
            nodes: 0,
            problems: Vec::new(),
        };
        match reader.filter(value, at, 0) {
            Some(filter) if reader.problems.is_empty() => Ok(filter),
            _ => Err(reader.problems),
        }
    }

    /// What is wrong with a filter that was built in Rust, as [`Filter::parse`] would say it.
    pub fn problems(&self, at: &str) -> Vec<Problem> {
        let value = serde_json::to_value(self).expect("a filter is plain JSON");
        Filter::parse(&value, at).err().unwrap_or_default()
    }
}

impl TryFrom<Value> for Filter {
    type Error = FilterError;

    fn try_from(value: Value) -> Result<Self, FilterError> {
        Filter::parse(&value, "").map_err(FilterError)
    }
}

impl Op {
    const ALL: [(&'static str, Op); 11] = [
        ("eq", Op::Eq),
        ("ne", Op::Ne),
        ("lt", Op::Lt),
        ("lte", Op::Lte),
        ("gt", Op::Gt),
        ("gte", Op::Gte),
        ("in", Op::In),
        ("exists", Op::Exists),
        ("prefix", Op::Prefix),
        ("suffix", Op::Suffix),
        ("contains", Op::Contains),
    ];

    fn parse(text: &str) -> Option<Self> {
        Op::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, op)| *op)
    }

    /// What is wrong with `value` as this operator's operand.
    fn refuses(self, value: &Value) -> Option<String> {
        let scalar = |value: &Value| !value.is_array() && !value.is_object();
        match self {
            Op::Eq | Op::Ne if scalar(value) => None,
            Op::Eq | Op::Ne => Some("must be a string, number, boolean or null".into()),
            Op::Lt | Op::Lte | Op::Gt | Op::Gte if value.is_number() || value.is_string() => None,
            Op::Lt | Op::Lte | Op::Gt | Op::Gte => Some("must be a number or a string".into()),
            Op::In => match value.as_array() {
                None => Some("must be an array of strings, numbers, booleans or nulls".into()),
                Some(list) if list.is_empty() => Some("must list at least one value".into()),
                Some(list) if list.len() > LIST_MAX => Some(format!(
                    "must list at most {LIST_MAX} values, not {}",
                    list.len()
                )),
                Some(list) => list
                    .iter()
                    .position(|value| !scalar(value))
                    .map(|at| format!("element {at} must be a string, number, boolean or null")),
            },
            Op::Exists if value.is_boolean() => None,
            Op::Exists => Some("must be true or false".into()),
            Op::Prefix | Op::Suffix if value.is_string() => None,
            Op::Prefix | Op::Suffix => Some("must be a string".into()),
            Op::Contains if scalar(value) => None,
            Op::Contains => {
                Some("must be a string (part of a text) or a scalar (element of an array)".into())
            }
        }
    }
}

/// Goes on after a problem, so that one answer names them all.
struct Reader {
    nodes: usize,
    problems: Vec<Problem>,
}

impl Reader {
    fn report<T>(&mut self, at: impl Into<String>, message: impl Into<String>) -> Option<T> {
        self.problems.push(Problem::new(at, message));
        None
    }

    fn filter(&mut self, value: &Value, at: &str, depth: usize) -> Option<Filter> {
        self.nodes += 1;
        if self.nodes == NODES_MAX + 1 {
            return self.report(
                at,
                format!("a filter has at most {NODES_MAX} conditions and connectives"),
            );
        }
        if self.nodes > NODES_MAX {
            return None;
        }
        if depth > DEPTH_MAX {
            return self.report(at, format!("a filter nests at most {DEPTH_MAX} deep"));
        }
        let Some(object) = value.as_object() else {
            return self.report(
                at,
                "must be an object with all, any, not, or path, op and value",
            );
        };
        let connective = ["all", "any", "not"]
            .into_iter()
            .find(|name| object.contains_key(*name));
        let Some(name) = connective else {
            return self.condition(object, at).map(Filter::Condition);
        };
        if object.len() > 1 {
            let other = object
                .keys()
                .find(|key| *key != name)
                .map_or("", String::as_str);
            return self.report(
                at,
                format!("{name} stands alone: move {other:?} into a condition of its own"),
            );
        }
        let at = format!("{at}/{name}");
        match name {
            "not" => {
                let not = Box::new(self.filter(&object["not"], &at, depth + 1)?);
                Some(Filter::Not { not })
            }
            "all" => Some(Filter::All {
                all: self.list(&object["all"], &at, depth + 1)?,
            }),
            _ => Some(Filter::Any {
                any: self.list(&object["any"], &at, depth + 1)?,
            }),
        }
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Option<Vec<Filter>> {
        match value.as_array() {
            None => self.report(at, "must be an array of filters"),
            Some(list) if list.is_empty() => self.report(at, "must have at least one filter"),
            Some(list) => {
                let read = list.iter().enumerate();
                let read: Vec<_> = read
                    .map(|(index, value)| self.filter(value, &format!("{at}/{index}"), depth))
                    .collect();
                read.into_iter().collect()
            }
        }
    }

    fn condition(
        &mut self,
        object: &serde_json::Map<String, Value>,
        at: &str,
    ) -> Option<Condition> {
        if let Some(unknown) = object
            .keys()
            .find(|key| !["path", "op", "value"].contains(&key.as_str()))
        {
            let at = format!("{at}/{}", path::pointer_token(unknown));
            return self.report(
                at,
                "is no part of a filter: use all, any, not, or path, op and value",
            );
        }
        let path = self.path(object.get("path"), at);
        let op = self.op(object.get("op"), at);
        let Some(value) = object.get("value") else {
            return self.report(format!("{at}/value"), "is missing");
        };
        let (path, op) = (path?, op?);
        if let Some(problem) = op.refuses(value) {
            return self.report(format!("{at}/value"), problem);
        }
        Some(Condition {
            path,
            op,
            value: value.clone(),
        })
    }

    fn path(&mut self, value: Option<&Value>, at: &str) -> Option<Box<str>> {
        let at = format!("{at}/path");
        match value {
            None => self.report(at, "is missing"),
            Some(Value::String(text)) => match path::problem(text) {
                None => Some(text.as_str().into()),
                Some(problem) => self.report(at, problem),
            },
            Some(_) => self.report(at, "must be a string such as payload.amount"),
        }
    }

    fn op(&mut self, value: Option<&Value>, at: &str) -> Option<Op> {
        let at = format!("{at}/op");
        let Some(value) = value else {
            return self.report(at, "is missing");
        };
        match value.as_str().and_then(Op::parse) {
            Some(op) => Some(op),
            None => {
                let names: Vec<_> = Op::ALL.iter().map(|(name, _)| *name).collect();
                self.report(at, format!("must be one of {}", names.join(", ")))
            }
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
