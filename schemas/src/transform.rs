//! Declarative transforms of an event's payload and metadata, applied in order by the router, once.
//!
//! `{"keep": ["payload.id"]}`, `{"drop": ["payload.card"]}`, `{"rename": {"from": "payload.a", "to": "payload.b"}}`,
//! `{"set": {"path": "metadata.region", "value": "eu"}}`, `{"mask": {"path": "payload.iban", "keep_last": 4}}`.

use serde::{Deserialize, Serialize};

use crate::path;
use crate::problem::Problem;

/// Steps in one transform.
pub const STEPS_MAX: usize = 100;
/// Paths in one `keep` or `drop`.
pub const PATHS_MAX: usize = 200;

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

/// What is wrong with `steps`, each named by its JSON pointer below `at`.
pub fn problems(steps: &[Transform], at: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if steps.len() > STEPS_MAX {
        problems.push(Problem::new(
            at,
            format!("must have at most {STEPS_MAX} steps, not {}", steps.len()),
        ));
    }
    for (index, step) in steps.iter().take(STEPS_MAX).enumerate() {
        step.problems(&format!("{at}/{index}"), &mut problems);
    }
    problems
}

impl Transform {
    fn problems(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut check = |name: &str, path: &str| {
            if let Some(problem) = path::problem_inside(path) {
                problems.push(Problem::new(format!("{at}/{name}"), problem));
            }
        };
        match self {
            Transform::Keep(paths) | Transform::Drop(paths) => {
                let name = if matches!(self, Transform::Keep(_)) {
                    "keep"
                } else {
                    "drop"
                };
                for (index, path) in paths.iter().take(PATHS_MAX).enumerate() {
                    check(&format!("{name}/{index}"), path);
                }
                if paths.is_empty() || paths.len() > PATHS_MAX {
                    let message = format!("must list 1 to {PATHS_MAX} paths, not {}", paths.len());
                    problems.push(Problem::new(format!("{at}/{name}"), message));
                }
            }
            Transform::Rename { from, to } => {
                check("rename/from", from);
                check("rename/to", to);
                let top = |path: &str| path.split('.').next().map(str::to_owned);
                if top(from) != top(to) {
                    let message =
                        "must stay in the same part of the event as from (payload or metadata)";
                    problems.push(Problem::new(format!("{at}/rename/to"), message));
                }
            }
            Transform::Set { path, value } => {
                check("set/path", path);
                if path.starts_with("metadata.") && !value.is_string() {
                    problems.push(Problem::new(
                        format!("{at}/set/value"),
                        "must be a string: metadata holds strings",
                    ));
                }
            }
            Transform::Mask { path, .. } => check("mask/path", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: serde_json::Value) -> String {
        let steps: Vec<Transform> = serde_json::from_value(value).unwrap();
        crate::problem::join(&problems(&steps, "/transform"))
    }

    #[test]
    fn good_steps_pass() {
        let good = json!([
            {"keep": ["payload.id", "payload.items.0.sku", "metadata.region"]},
            {"drop": ["payload.card"]},
            {"rename": {"from": "payload.a", "to": "payload.b.c"}},
            {"set": {"path": "payload.v", "value": {"x": [1]}}},
            {"set": {"path": "metadata.region", "value": "eu"}},
            {"mask": {"path": "payload.iban", "keep_last": 4}},
            {"mask": {"path": "payload.iban"}}
        ]);
        assert_eq!(said(good), "");
    }

    #[test]
    fn a_bad_step_says_where_and_why() {
        let table = [
            (
                json!([{"keep": []}]),
                "/transform/0/keep: must list 1 to 200 paths, not 0",
            ),
            (
                json!([{"drop": ["payload.a", "b"]}]),
                "/transform/0/drop/1: must start with payload or metadata",
            ),
            (
                json!([{"drop": ["payload"]}]),
                "/transform/0/drop/0: must name something inside payload, such as payload.id",
            ),
            (
                json!([{"rename": {"from": "payload.a", "to": "metadata.a"}}]),
                "/transform/0/rename/to: must stay in the same part of the event",
            ),
            (
                json!([{"set": {"path": "metadata.a", "value": 1}}]),
                "/transform/0/set/value: must be a string",
            ),
            (
                json!([{"mask": {"path": "payload.a."}}]),
                "/transform/0/mask/path: has an empty name",
            ),
        ];
        for (value, expected) in table {
            let said = said(value);
            assert!(said.starts_with(expected), "said {said}, not {expected}");
        }
    }
}
