//! A document while it is changed: what no step has reached is still a stretch of the original.

use std::borrow::Cow;

use hashbrown::HashSet;

use crate::json::{Content, Invalid, Node, put_string};
use crate::path::Segment;

/// Deepest nesting that `mask` walks into; what is deeper is masked as a whole.
const MASK_DEPTH_MAX: usize = 64;

/// See the module. `'n` is how long the document is being looked at, `'a` how long its bytes live.
#[derive(Debug)]
pub(super) enum Value<'n, 'a> {
    Node(&'n Node<'a>),
    String(Cow<'n, str>),
    /// A number, boolean or null, as JSON text.
    Scalar(Cow<'n, str>),
    Array(Vec<Value<'n, 'a>>),
    Object(Vec<(Cow<'n, str>, Value<'n, 'a>)>),
}

impl<'n, 'a> Value<'n, 'a> {
    pub(super) fn of(value: &'n serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Value::String(Cow::Borrowed(text)),
            serde_json::Value::Array(elements) => {
                Value::Array(elements.iter().map(Value::of).collect())
            }
            serde_json::Value::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, value)| (name.as_str().into(), Value::of(value)));
                Value::Object(members.collect())
            }
            scalar => Value::Scalar(Cow::Owned(scalar.to_string())),
        }
    }

    /// Opens an array or object of the original, one level deep, so that it can be changed.
    pub(super) fn open(&mut self) -> Result<(), Invalid> {
        let Value::Node(node) = *self else {
            return Ok(());
        };
        match node.content()? {
            Content::Array(elements) => {
                *self = Value::Array(elements.iter().map(Value::Node).collect());
            }
            Content::Object(members) => {
                let mut seen = HashSet::with_capacity(members.len());
                let last = members.iter().rev().filter(|(name, _)| seen.insert(name));
                let mut opened: Vec<_> = last
                    .map(|(name, node)| (Cow::Borrowed(&**name), Value::Node(node)))
                    .collect();
                opened.reverse();
                *self = Value::Object(opened);
            }
            _ => {}
        }
        Ok(())
    }

    /// The value at a path below this one.
    pub(super) fn find(&mut self, path: &[Segment]) -> Result<Option<&mut Self>, Invalid> {
        let mut value = self;
        for segment in path {
            match value.child(segment)? {
                Some(child) => value = child,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    fn child(&mut self, segment: &Segment) -> Result<Option<&mut Self>, Invalid> {
        self.open()?;
        Ok(match self {
            Value::Object(members) => {
                let found = members.iter_mut().find(|(name, _)| **name == *segment.name);
                found.map(|(_, value)| value)
            }
            Value::Array(elements) => segment.index.and_then(|at| elements.get_mut(at)),
            _ => None,
        })
    }

    /// Puts a value at a path; `false`, and nothing changed, where something is in the way.
    pub(super) fn set(&mut self, path: &'n [Segment], new: Self) -> Result<bool, Invalid> {
        let can = self.can_put(path)?;
        if can {
            self.put(path, new)?;
        }
        Ok(can)
    }

    fn can_put(&mut self, path: &[Segment]) -> Result<bool, Invalid> {
        let Some((segment, rest)) = path.split_first() else {
            return Ok(true);
        };
        if self.is_null()? {
            return Ok(true);
        }
        self.open()?;
        match self {
            Value::Array(elements) => match segment.index {
                Some(at) if at < elements.len() => elements[at].can_put(rest),
                Some(at) => Ok(at == elements.len()),
                None => Ok(false),
            },
            Value::Object(_) => match self.child(segment)? {
                Some(child) => child.can_put(rest),
                None => Ok(true),
            },
            _ => Ok(false),
        }
    }

    /// Only after [`Self::can_put`]: whatever is in the way is replaced, and an element's number is as good as the end.
    fn put(&mut self, path: &'n [Segment], new: Self) -> Result<(), Invalid> {
        let Some((segment, rest)) = path.split_first() else {
            *self = new;
            return Ok(());
        };
        self.open()?;
        if let Value::Array(elements) = self {
            let at = segment.index.unwrap_or(elements.len()).min(elements.len());
            if at == elements.len() {
                elements.push(Value::Scalar(Cow::Borrowed("null")));
            }
            return elements[at].put(rest, new);
        }
        if !matches!(self, Value::Object(_)) {
            *self = Value::Object(Vec::new());
        }
        if let Value::Object(members) = self {
            let found = members.iter().position(|(name, _)| **name == *segment.name);
            let at = found.unwrap_or_else(|| {
                let null = Value::Scalar(Cow::Borrowed("null"));
                members.push((Cow::Borrowed(&*segment.name), null));
                members.len() - 1
            });
            return members[at].1.put(rest, new);
        }
        Ok(())
    }

    /// Moves what is at `from` to `to`.
    pub(super) fn rename(&mut self, from: &[Segment], to: &'n [Segment]) -> Result<bool, Invalid> {
        let (Some((old, parent)), Some((new, new_parent))) = (from.split_last(), to.split_last())
        else {
            return Ok(false);
        };
        if from == to || self.find(from)?.is_none() || !self.can_put(to)? {
            return Ok(false);
        }
        let Some(holder) = self.find(parent)? else {
            return Ok(false);
        };
        if let (Value::Object(members), true) = (&mut *holder, parent == new_parent) {
            members.retain(|(name, _)| **name != *new.name);
            if let Some((name, _)) = members.iter_mut().find(|(name, _)| **name == *old.name) {
                *name = Cow::Borrowed(&*new.name);
            }
            return Ok(true);
        }
        let taken = match holder {
            Value::Object(members) => {
                let at = members.iter().position(|(name, _)| **name == *old.name);
                at.map(|at| members.remove(at).1)
            }
            Value::Array(elements) => old.index.map(|at| elements.remove(at)),
            _ => None,
        };
        match taken {
            Some(value) => self.put(to, value).map(|()| true),
            None => Ok(false),
        }
    }

    /// Replaces all but the last `keep_last` characters by `*`.
    pub(super) fn mask(&mut self, keep_last: usize, depth: usize) -> Result<bool, Invalid> {
        if depth > MASK_DEPTH_MAX {
            *self = Value::String(Cow::Borrowed("*"));
            return Ok(true);
        }
        if self.is_null()? {
            return Ok(false);
        }
        self.open()?;
        let masked = match self {
            Value::Array(elements) => return mask_all(elements.iter_mut(), keep_last, depth),
            Value::Object(members) => {
                return mask_all(members.iter_mut().map(|(_, value)| value), keep_last, depth);
            }
            Value::String(text) | Value::Scalar(text) => mask(text, keep_last),
            Value::Node(node) => match node.content()? {
                Content::String(text) => mask(text, keep_last),
                _ => mask(node.raw(), keep_last),
            },
        };
        *self = Value::String(Cow::Owned(masked));
        Ok(true)
    }

    fn is_null(&self) -> Result<bool, Invalid> {
        Ok(match self {
            Value::Node(node) => matches!(node.content()?, Content::Null),
            Value::Scalar(text) => text == "null",
            _ => false,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Node(node) => out.extend_from_slice(node.raw().as_bytes()),
            Value::Scalar(text) => out.extend_from_slice(text.as_bytes()),
            Value::String(text) => put_string(text, out),
            Value::Array(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    element.write(out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    put_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn mask_all<'v, 'n: 'v, 'a: 'n>(
    values: impl Iterator<Item = &'v mut Value<'n, 'a>>,
    keep_last: usize,
    depth: usize,
) -> Result<bool, Invalid> {
    let mut changed = false;
    for value in values {
        changed |= value.mask(keep_last, depth + 1)?;
    }
    Ok(changed)
}

fn mask(text: &str, keep_last: usize) -> String {
    let hidden = text.chars().count().saturating_sub(keep_last);
    let shown = text.chars().skip(hidden);
    std::iter::repeat_n('*', hidden).chain(shown).collect()
}

/// Keeps the elements for which `keep` says so; it is told each one's place before anything was removed.
pub(super) fn retain<T>(
    elements: &mut Vec<T>,
    mut keep: impl FnMut(usize, &mut T) -> Result<bool, Invalid>,
) -> Result<(), Invalid> {
    let (mut at, mut result) = (0, Ok(()));
    elements.retain_mut(|element| {
        let kept = match result {
            Ok(()) => keep(at, element).unwrap_or_else(|invalid| {
                result = Err(invalid);
                true
            }),
            Err(_) => true,
        };
        at += 1;
        kept
    });
    result
}
