//! Declarative filters on an event's payload and metadata.
//!
//! A filter is a tree: `{"all": [..]}`, `{"any": [..]}`, `{"not": ..}`, and conditions
//! `{"path": "payload.amount", "op": "gte", "value": 100}`. A path names `payload` or `metadata`, then members by dots
//! and array elements by number. A condition on a path that is absent is false, except `exists: false` and `ne`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Filter {
    All { all: Vec<Filter> },
    Any { any: Vec<Filter> },
    Not { not: Box<Filter> },
    Condition(Condition),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub path: Box<str>,
    pub op: Op,
    pub value: serde_json::Value,
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
