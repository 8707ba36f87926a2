//! From what a customer declared to what is applied.

use pushrail_schemas::problem::Problem;
use pushrail_schemas::transform::Transform as Declared;
use serde_json::Value;

use super::{Branch, Chosen, Step, Transform};
use crate::number::exact;
use crate::path::{Path, Root};

impl Transform {
    /// Compiles steps; a problem's field is a JSON pointer below `at`. What `pushrail_schemas` refuses is refused there,
    /// before a transform gets here.
    pub(crate) fn compile(declared: &[Declared], at: &str) -> Result<Self, Problem> {
        let steps = declared.iter().enumerate();
        let steps = steps.map(|(index, declared)| {
            step(declared)
                .map_err(|(field, message)| Problem::new(format!("{at}/{index}/{field}"), message))
        });
        Ok(Transform {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

/// A problem is a field below the step and what is wrong with it.
fn step(declared: &Declared) -> Result<Step, (String, String)> {
    let path = |field: &str, path| Path::parse(path).map_err(|p| (field.to_owned(), p));
    Ok(match declared {
        Declared::Keep(paths) => Step::Keep(chosen("keep", paths)?),
        Declared::Drop(paths) => Step::Drop(chosen("drop", paths)?),
        Declared::Rename { from, to } => {
            let (from, to) = (path("rename/from", from)?, path("rename/to", to)?);
            if from.root != to.root {
                let problem =
                    "must stay in the same part of the event as from (payload or metadata)";
                return Err(("rename/to".to_owned(), problem.to_owned()));
            }
            Step::Rename { from, to }
        }
        Declared::Set { path: to, value } => {
            let path = path("set/path", to)?;
            check_value(&path, value).map_err(|problem| ("set/value".to_owned(), problem))?;
            Step::Set {
                path,
                value: value.clone(),
            }
        }
        Declared::Mask {
            path: at,
            keep_last,
        } => Step::Mask {
            path: path("mask/path", at)?,
            keep_last: *keep_last,
        },
    })
}

/// Payload and metadata stay what they are: an object, and a flat object of strings.
fn check_value(path: &Path, value: &Value) -> Result<(), String> {
    match (path.root, path.is_root()) {
        (_, true) => Err("must be set inside payload or metadata, not in their place".to_owned()),
        (Root::Metadata, false) if !value.is_string() => {
            Err("must be a string: metadata holds strings".to_owned())
        }
        _ => check_numbers(value),
    }
}

fn check_numbers(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => exact(number).map(|_| ()),
        Value::Array(elements) => elements.iter().try_for_each(check_numbers),
        Value::Object(members) => members.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

fn chosen(name: &str, paths: &[Box<str>]) -> Result<Chosen, (String, String)> {
    let mut chosen = Chosen::default();
    for (index, path) in paths.iter().enumerate() {
        let path = Path::parse(path).map_err(|problem| (format!("{name}/{index}"), problem))?;
        let root = match path.root {
            Root::Payload => &mut chosen.payload,
            Root::Metadata => &mut chosen.metadata,
        };
        root.get_or_insert_default().add(&path);
    }
    Ok(chosen)
}

impl Branch {
    fn add(&mut self, path: &Path) {
        let mut branch = self;
        for segment in &path.segments {
            let found = branch.children.iter().position(|(s, _)| s == segment);
            let at = found.unwrap_or_else(|| {
                branch.children.push((segment.clone(), Branch::default()));
                branch.children.len() - 1
            });
            branch = &mut branch.children[at].1;
        }
        branch.whole = true;
    }
}
