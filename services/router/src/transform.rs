//! Transforms, compiled once for a destination and applied once to each event that it gets.
//!
//! The steps run in order, on payload and metadata as the steps before left them. Only what a step reaches is opened;
//! the rest is copied as it was published, so numbers keep their digits and members their order. Where no step finds
//! anything to change, the event is passed on untouched. Semantics, beyond what `pushrail_schemas::transform` says:
//!
//! - All paths of one `keep` or `drop` are meant as the step found them: dropping elements 0 and 1 drops the first two.
//!   `keep` concerns only those of payload and metadata that it names.
//! - `rename` moves a value, within payload or within metadata. Beside its old place it keeps its position, elsewhere it
//!   comes last; what was at the new name is replaced. An absent value renames nothing.
//! - `set` and `rename` make the objects that are missing on their way, and take `null` for missing. Where something else
//!   than an object is in the way they change nothing. In an array, the number after the last appends.
//! - `mask` counts characters. It turns numbers and booleans into masked strings, masks every leaf of an array or object,
//!   and leaves `null`: a step that is there to hide something must not fail open.
//! - Metadata stay a flat object of strings.
//! - An object that is opened keeps the last of several members with one name.

mod compile;
mod value;

use pushrail_schemas::event::Event;

use crate::document::Document;
use crate::json::Invalid;
use crate::path::{Path, Root, Segment};
use value::Value;

/// Steps in an order, ready to be applied.
#[derive(Debug)]
pub(crate) struct Transform {
    steps: Box<[Step]>,
}

#[derive(Debug)]
enum Step {
    Keep(Chosen),
    Drop(Chosen),
    Rename {
        from: Path,
        to: Path,
    },
    Set {
        path: Path,
        value: serde_json::Value,
    },
    Mask {
        path: Path,
        keep_last: usize,
    },
}

/// The paths of one step, by root.
#[derive(Debug, Default)]
struct Chosen {
    payload: Option<Branch>,
    metadata: Option<Branch>,
}

/// Paths as a tree, so that a value is walked once for all of them.
#[derive(Debug, Default)]
struct Branch {
    /// A path ends here: all below is meant.
    whole: bool,
    children: Vec<(Segment, Branch)>,
}

/// One of the two documents while it is changed.
struct Working<'n, 'a> {
    value: Value<'n, 'a>,
    changed: bool,
}

impl Transform {
    /// Writes the transformed event to `out`, in wire format and with the schema of the original. `Ok(false)`, and
    /// nothing written, when no step changed anything.
    pub(crate) fn apply(
        &self,
        event: &Event,
        schema_id: u32,
        document: &Document<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Invalid> {
        let (mut payload, mut metadata) = (None, None);
        for step in &self.steps {
            for root in [Root::Payload, Root::Metadata] {
                let working = match root {
                    Root::Payload => &mut payload,
                    Root::Metadata => &mut metadata,
                };
                if !step.concerns(root) {
                    continue;
                }
                let working = match working {
                    Some(working) => working,
                    None => working.insert(Working {
                        value: Value::Node(document.root(root)?),
                        changed: false,
                    }),
                };
                working.changed |= step.apply(root, &mut working.value)?;
            }
        }
        let written = |working: Option<Working<'_, '_>>| {
            working.filter(|w| w.changed).map(|w| {
                let mut text = Vec::new();
                w.value.write(&mut text);
                text
            })
        };
        let (payload, metadata) = (written(payload), written(metadata));
        if payload.is_none() && metadata.is_none() {
            return Ok(false);
        }
        let mut parts = event.parts();
        parts.payload = payload.as_deref().unwrap_or(parts.payload);
        parts.metadata = metadata.as_deref().unwrap_or(parts.metadata);
        parts.encode(schema_id, out);
        Ok(true)
    }
}

impl Step {
    fn concerns(&self, root: Root) -> bool {
        match self {
            Step::Keep(chosen) | Step::Drop(chosen) => chosen.of(root).is_some(),
            Step::Rename { from: path, .. } | Step::Set { path, .. } | Step::Mask { path, .. } => {
                path.root == root
            }
        }
    }

    /// Whether anything changed.
    fn apply<'n>(&'n self, root: Root, value: &mut Value<'n, '_>) -> Result<bool, Invalid> {
        match self {
            Step::Keep(chosen) => match chosen.of(root) {
                Some(branch) if !branch.whole => {
                    let mut changed = false;
                    keep(value, branch, &mut changed)?;
                    Ok(changed)
                }
                _ => Ok(false),
            },
            Step::Drop(chosen) => match chosen.of(root) {
                Some(branch) if branch.whole => {
                    *value = Value::Object(Vec::new());
                    Ok(true)
                }
                Some(branch) => drop_chosen(value, branch),
                None => Ok(false),
            },
            Step::Rename { from, to } => value.rename(&from.segments, &to.segments),
            Step::Set { path, value: new } => value.set(&path.segments, Value::of(new)),
            Step::Mask { path, keep_last } => match value.find(&path.segments)? {
                Some(found) => found.mask(*keep_last, 0),
                None => Ok(false),
            },
        }
    }
}

impl Chosen {
    fn of(&self, root: Root) -> Option<&Branch> {
        match root {
            Root::Payload => self.payload.as_ref(),
            Root::Metadata => self.metadata.as_ref(),
        }
    }
}

impl Branch {
    fn member(&self, name: &str) -> Option<&Branch> {
        let found = self.children.iter().find(|(s, _)| *s.name == *name);
        found.map(|(_, branch)| branch)
    }

    fn element(&self, index: usize) -> Option<&Branch> {
        let found = self.children.iter().find(|(s, _)| s.index == Some(index));
        found.map(|(_, branch)| branch)
    }
}

/// Keeps what `branch` names; whether anything was there to keep.
fn keep(value: &mut Value<'_, '_>, branch: &Branch, changed: &mut bool) -> Result<bool, Invalid> {
    if branch.whole {
        return Ok(true);
    }
    value.open()?;
    let mut kept_any = false;
    let mut verdict = |child: &mut Value<'_, '_>, branch: Option<&Branch>| {
        let kept = match branch {
            Some(branch) => keep(child, branch, changed)?,
            None => false,
        };
        *changed |= !kept;
        kept_any |= kept;
        Ok(kept)
    };
    match value {
        Value::Object(members) => {
            value::retain(members, |_, (name, child)| {
                verdict(child, branch.member(name))
            })?;
        }
        Value::Array(elements) => {
            value::retain(elements, |at, child| verdict(child, branch.element(at)))?;
        }
        _ => {}
    }
    Ok(kept_any)
}

/// Drops what `branch` names; whether anything was there to drop.
fn drop_chosen(value: &mut Value<'_, '_>, branch: &Branch) -> Result<bool, Invalid> {
    value.open()?;
    let mut changed = false;
    let mut verdict = |child: &mut Value<'_, '_>, branch: Option<&Branch>| {
        let Some(branch) = branch else {
            return Ok(true);
        };
        changed |= branch.whole || drop_chosen(child, branch)?;
        Ok(!branch.whole)
    };
    match value {
        Value::Object(members) => {
            value::retain(members, |_, (name, child)| {
                verdict(child, branch.member(name))
            })?;
        }
        Value::Array(elements) => {
            value::retain(elements, |at, child| verdict(child, branch.element(at)))?;
        }
        _ => {}
    }
    Ok(changed)
}

#[cfg(test)]
#[path = "transform/tests.rs"]
mod tests;
