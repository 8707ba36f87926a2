//! Redaction: the payload as it was sent, but for the values at some paths.
//!
//! A step that is there to hide something must not fail open:
//!
//! - On an array a name means every element, however deeply arrays are nested, and a number one of them. `*` is every
//!   member or element. Every one of several members with one name is meant.
//! - Whatever is at the path goes: text, number, null, a whole object.
//! - What lies deeper than [`DEPTH_MAX`] on the way to a path is hidden as a whole.
//! - A payload that is no JSON object is not shown.
//!
//! What no path leads into is copied as it was published. It is looked at once for each level on the way to a path.

use std::fmt;

use pushrail_schemas::Problem;
use pushrail_schemas::path::{self, Path, Segment};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Paths of one destination.
const PATHS_MAX: usize = 100;
/// Deepest nesting that is walked into.
const DEPTH_MAX: usize = 32;
const REDACTED: &[u8] = br#""[redacted]""#;

#[derive(Debug)]
pub(crate) struct Redaction(Box<[Path]>);

/// What is left of a path below the value at hand.
type Rest<'p> = &'p [Segment];

/// Bytes that are not JSON, or are not the object that they should be.
struct Invalid;

impl Redaction {
    pub(crate) fn of(paths: &[Box<str>], at: &str) -> Result<Self, Vec<Problem>> {
        let at = format!("{at}/paths");
        if paths.is_empty() || paths.len() > PATHS_MAX {
            let message = format!("must list 1 to {PATHS_MAX} paths, not {}", paths.len());
            return Err(vec![Problem::new(at, message)]);
        }
        let (mut parsed, mut problems) = (Vec::with_capacity(paths.len()), Vec::new());
        for (index, text) in paths.iter().enumerate() {
            match parse(text) {
                Ok(path) => parsed.push(path),
                Err(problem) => problems.push(Problem::new(format!("{at}/{index}"), problem)),
            }
        }
        if problems.is_empty() {
            Ok(Redaction(parsed.into()))
        } else {
            Err(problems)
        }
    }

    /// `None` where the payload can't be read.
    pub(crate) fn apply(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(payload).ok()?;
        let text = text.trim_matches([' ', '\n', '\r', '\t']);
        let rules: Vec<Rest<'_>> = self.0.iter().map(|path| &*path.segments).collect();
        let mut out = Vec::with_capacity(text.len());
        text.starts_with('{')
            .then(|| redact(text, &rules, DEPTH_MAX, &mut out).ok())
            .flatten()
            .map(|()| out)
    }
}

fn parse(text: &str) -> Result<Path, String> {
    if let Some(problem) = path::problem_inside(text) {
        return Err(problem);
    }
    let path = Path::parse(text)?;
    match path.root {
        path::Root::Payload => Ok(path),
        path::Root::Metadata => {
            Err("must start with payload: the audit shows no metadata".to_owned())
        }
    }
}

/// Writes `raw` without what the rules lead to.
fn redact(raw: &str, rules: &[Rest<'_>], depth: usize, out: &mut Vec<u8>) -> Result<(), Invalid> {
    if depth == 0 {
        out.extend_from_slice(REDACTED);
        return Ok(());
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = read(raw)?;
            out.push(b'{');
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name).map_err(|_| Invalid)?;
                out.push(b':');
                let named = |segment: &Segment| *segment.name == **name;
                let below = rules.iter().filter_map(|rule| match rule.split_first() {
                    Some((first, rest)) if named(first) || is_any(first) => Some(rest),
                    _ => None,
                });
                put(value, &below.collect::<Vec<_>>(), depth, out)?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = read(raw)?;
            out.push(b'[');
            for (at, value) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let below = rules.iter().filter_map(|rule| match rule.split_first() {
                    Some((first, rest)) if first.index == Some(at) || is_any(first) => Some(rest),
                    Some((first, _)) if first.index.is_none() => Some(*rule),
                    _ => None,
                });
                put(value, &below.collect::<Vec<_>>(), depth, out)?;
            }
            out.push(b']');
        }
        // No path leads into it.
        _ => out.extend_from_slice(raw.as_bytes()),
    }
    Ok(())
}

fn put(
    value: &RawValue,
    below: &[Rest<'_>],
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Invalid> {
    if below.iter().any(|rest| rest.is_empty()) {
        out.extend_from_slice(REDACTED);
        return Ok(());
    }
    if below.is_empty() {
        out.extend_from_slice(value.get().as_bytes());
        return Ok(());
    }
    redact(value.get(), below, depth - 1, out)
}

fn is_any(segment: &Segment) -> bool {
    &*segment.name == "*"
}

fn read<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T, Invalid> {
    serde_json::from_str(raw).map_err(|_| Invalid)
}

/// An object's members in their order, all of them.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}
