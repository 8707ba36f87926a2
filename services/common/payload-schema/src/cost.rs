//! What an event can cost, found by walking over a schema as a payload would: all subschemas that see one value together,
//! references followed, then what they say of each property and of the items.
//!
//! What is at a fixed place in a payload is seen once, so all of that together is bounded ([`FIXED_MAX`]). What is in a
//! list, or under a name that the schema does not know, is seen as often as a vendor likes, so what sees one such value is
//! bounded ([`REPEATED_MAX`]); an event then costs that times its length at most. A schema that refers to itself never ends
//! here, and is refused by that.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Unusable;
use crate::bounds::{Places, target};
use crate::keywords::{Place, subschemas};

/// Units of all fixed places. One is about a subschema, or eight names to look up; some 20 ns.
const FIXED_MAX: usize = 5_000;
/// Units for one value of a list, or under a name that the schema does not know.
const REPEATED_MAX: usize = 100;
/// Subschemas in one another, references followed. A payload has at most 64 levels.
const DEPTH_MAX: usize = 64;

/// Problems that a payload may have for them to be collected, before the first few are told.
const PROBLEMS_MAX: usize = 10_000;
/// Values that may be copied for it: what alternatives say of a payload is kept with the values that it is about.
const COPIES_MAX: usize = 250_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Units of all that is visited, each place once.
    fixed: usize,
    /// Units of the most expensive repeated place.
    repeated: usize,
    /// Units of the most expensive place of all.
    most: usize,
    /// Alternatives in one another, at most.
    alternatives: usize,
}

/// How large a payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    values: usize,
    /// The sum of the sizes of all values, each with what is in it: what copying each would copy.
    sizes: usize,
}

/// What of a payload's problems can be told without taking too much memory for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    All,
    First,
    Nothing,
}

impl Cost {
    pub(crate) fn allows(&self, extent: &Extent) -> Detail {
        let problems = self.fixed + extent.values * self.repeated;
        let copies = extent.sizes * self.most * self.alternatives;
        match (problems <= PROBLEMS_MAX, copies <= COPIES_MAX) {
            (true, true) => Detail::All,
            // The first is found without collecting any, unless it is of alternatives.
            _ if self.alternatives == 0 => Detail::First,
            _ => Detail::Nothing,
        }
    }
}

impl Extent {
    pub(crate) fn of(value: &Value) -> Self {
        let mut extent = Extent::default();
        extent.add(value, 1);
        extent
    }

    /// The sum of the sizes of all values is the sum of their depths.
    fn add(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.sizes += depth;
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Value::Object(members) => members
                .values()
                .for_each(|member| self.add(member, depth + 1)),
            _ => {}
        }
    }
}

/// A subschema that sees a value.
#[derive(Clone, Copy)]
struct Seer<'s> {
    schema: &'s Value,
    depth: usize,
    alternatives: usize,
}

struct Walk<'s, 'p> {
    places: &'p Places<'s>,
    cost: Cost,
}

pub(crate) fn of<'s>(document: &'s Value, places: &Places<'s>) -> Result<Cost, Unusable> {
    let mut walk = Walk {
        places,
        cost: Cost::default(),
    };
    let root = Seer {
        schema: document,
        depth: 0,
        alternatives: 0,
    };
    walk.value(vec![root], false)?;
    Ok(walk.cost)
}

impl<'s> Walk<'s, '_> {
    /// Visits a value that `seers` see.
    fn value(&mut self, mut seers: Vec<Seer<'s>>, repeated: bool) -> Result<(), Unusable> {
        let (mut units, mut next) = (0, 0);
        // With all that is applied to the same value.
        while let Some(seer) = seers.get(next).copied() {
            next += 1;
            if seer.depth > DEPTH_MAX {
                return Err(too_large());
            }
            let weight = weight(seer.schema);
            units += weight;
            self.cost.fixed += weight;
            self.cost.alternatives = self.cost.alternatives.max(seer.alternatives);
            if self.cost.fixed > FIXED_MAX {
                return Err(too_large());
            }
            if repeated && units > REPEATED_MAX {
                return Err(Unusable::new(
                    "",
                    "has too many rules for one item of a list, or for one property that it does not name: \
                     say less of it, or name the properties",
                ));
            }
            let Value::Object(members) = seer.schema else {
                continue;
            };
            let reference = members.get("$ref").and_then(Value::as_str);
            let referred = reference.and_then(|reference| target(reference, self.places));
            seers.extend(referred.map(|schema| seer.next(schema, false)));
            for (place, _, _, schema) in subschemas(members) {
                match place {
                    Place::Here => seers.push(seer.next(schema, false)),
                    Place::Alternative => seers.push(seer.next(schema, true)),
                    _ => {}
                }
            }
        }
        self.cost.most = self.cost.most.max(units);
        if repeated {
            self.cost.repeated = self.cost.repeated.max(units);
        }
        self.inside(&seers, repeated)
    }

    /// Visits what is in a value that `seers` see.
    fn inside(&mut self, seers: &[Seer<'s>], repeated: bool) -> Result<(), Unusable> {
        let mut named: BTreeMap<&str, Vec<Seer<'s>>> = BTreeMap::new();
        // Whoever says something of properties that it may not name.
        let mut open = Vec::new();
        let (mut unnamed, mut names, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for seer in seers {
            let Value::Object(members) = seer.schema else {
                continue;
            };
            for (place, _, _, schema) in subschemas(members) {
                let inner = seer.next(schema, false);
                match place {
                    Place::Property(name) => named.entry(name).or_default().push(inner),
                    Place::Matching | Place::Others => {
                        open.push((place, members, inner));
                        unnamed.push(inner);
                    }
                    Place::Names => names.push(inner),
                    Place::Items => items.push(inner),
                    Place::Here | Place::Alternative | Place::Definition => {}
                }
            }
        }
        for (name, mut group) in named {
            let applies = open.iter().filter(|(place, members, _)| {
                let names_it = || {
                    members
                        .get("properties")
                        .is_some_and(|all| all.get(name).is_some())
                };
                *place == Place::Matching || !names_it()
            });
            group.extend(applies.map(|(_, _, inner)| *inner));
            self.value(group, repeated)?;
        }
        for group in [unnamed, names, items] {
            if !group.is_empty() {
                self.value(group, true)?;
            }
        }
        Ok(())
    }
}

impl<'s> Seer<'s> {
    fn next(&self, schema: &'s Value, is_alternative: bool) -> Self {
        Seer {
            schema,
            depth: self.depth + 1,
            alternatives: self.alternatives + usize::from(is_alternative),
        }
    }
}

/// What applying a schema costs, without what is in it.
fn weight(schema: &Value) -> usize {
    let names = |keyword: &str| match schema.get(keyword) {
        Some(Value::Object(members)) => members.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    // Texts are found by their hash, everything else one after the other.
    let options = match schema.get("enum").and_then(Value::as_array) {
        Some(options) if options.iter().all(Value::is_string) => 0,
        Some(options) => options.iter().map(|one| Extent::of(one).values).sum(),
        None => 0,
    };
    let looked_up = names("properties") + names("required") + names("dependentRequired") + options;
    1 + looked_up / 8 + 2 * names("patternProperties")
}

fn too_large() -> Unusable {
    Unusable::new(
        "",
        format!(
            "is too large once its references are followed: at most some {FIXED_MAX} subschemas, {DEPTH_MAX} in one another, and it can't refer to itself"
        ),
    )
}
