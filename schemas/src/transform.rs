//! Declarative transforms of an event's payload and metadata, applied in order by the router, once.

use serde::{Deserialize, Serialize};

/// One step. Paths are as in [`crate::filter`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// Keeps these paths and drops the rest of what they are in.
    Keep(Vec<Box<str>>),
    Drop(Vec<Box<str>>),
    Rename {
        from: Box<str>,
        to: Box<str>,
    },
    Set {
        path: Box<str>,
        value: serde_json::Value,
    },
    /// Replaces all but the last `keep_last` characters of a string by `*`.
    Mask {
        path: Box<str>,
        #[serde(default)]
        keep_last: usize,
    },
}
