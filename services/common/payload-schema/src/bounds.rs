//! What a schema may say at all, wherever it says it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::Unusable;
use crate::keywords::subschemas;
use crate::patterns::Patterns;

/// Schemas in one another, as they stand in the document.
const DEPTH_MAX: usize = 64;

/// Drafts that are understood, by `$schema` without `#`. Older ones call `$id` differently.
const DRAFTS: [&str; 4] = [
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// Keywords that are refused, and what to do instead.
const REFUSED: [(&str, &str); 4] = [
    ("$dynamicRef", "use `$ref`"),
    ("$recursiveRef", "a schema can't refer to itself"),
    ("unevaluatedProperties", "use `additionalProperties`"),
    ("unevaluatedItems", "use `items`"),
];

/// The schemas of a document by their JSON pointer: where references may lead.
pub(crate) type Places<'s> = HashMap<String, &'s Value>;

/// Finds all schemas of `document`, and refuses what none of them may say.
pub(crate) fn check(document: &Value) -> Result<Places<'_>, Unusable> {
    let Value::Object(root) = document else {
        return Err(Unusable::new("", "must be a JSON object"));
    };
    if let Some(draft) = root.get("$schema") {
        let draft = draft.as_str().unwrap_or_default().trim_end_matches('#');
        let known = DRAFTS.contains(&draft);
        known.then_some(()).ok_or_else(|| {
            Unusable::new(
                "/$schema",
                "must be draft 6, 7, 2019-09 or 2020-12 of json-schema.org",
            )
        })?;
    }
    let mut checking = Checking {
        places: Places::new(),
        references: Vec::new(),
        patterns: Patterns::default(),
    };
    checking.visit(document, &mut String::new(), 0)?;
    for (pointer, reference) in checking.references {
        if target(reference, &checking.places).is_none() {
            return Err(Unusable::new(
                pointer,
                "must lead to a schema of this document, such as `#/$defs/address`: nothing is looked up elsewhere",
            ));
        }
    }
    Ok(checking.places)
}

/// Where `reference` leads.
pub(crate) fn target<'s>(reference: &str, places: &Places<'s>) -> Option<&'s Value> {
    let pointer = reference.strip_prefix('#')?;
    // Encoded it would lead elsewhere than it says.
    (!pointer.contains('%')).then(|| places.get(pointer).copied())?
}

struct Checking<'s> {
    places: Places<'s>,
    /// With the pointer of the keyword.
    references: Vec<(String, &'s str)>,
    patterns: Patterns,
}

impl<'s> Checking<'s> {
    fn visit(
        &mut self,
        schema: &'s Value,
        pointer: &mut String,
        depth: usize,
    ) -> Result<(), Unusable> {
        if depth > DEPTH_MAX {
            let problem = format!("is nested deeper than {DEPTH_MAX} schemas");
            return Err(Unusable::new(pointer.clone(), problem));
        }
        self.places.insert(pointer.clone(), schema);
        let Value::Object(members) = schema else {
            return Ok(());
        };
        self.members(members, pointer, depth)?;
        let at = pointer.len();
        for (_, keyword, name, value) in subschemas(members) {
            step(pointer, keyword);
            if let Some(name) = name {
                step(pointer, &name);
            }
            self.visit(value, pointer, depth + 1)?;
            pointer.truncate(at);
        }
        Ok(())
    }

    fn members(
        &mut self,
        members: &'s Map<String, Value>,
        pointer: &str,
        depth: usize,
    ) -> Result<(), Unusable> {
        let at = |keyword: &str| format!("{pointer}/{keyword}");
        for (keyword, instead) in REFUSED {
            if members.contains_key(keyword) {
                let problem = format!("is not supported: {instead}");
                return Err(Unusable::new(at(keyword), problem));
            }
        }
        for keyword in ["$id", "$schema"] {
            if depth > 0 && members.contains_key(keyword) {
                let problem = "may stand at the top of the schema only";
                return Err(Unusable::new(at(keyword), problem));
            }
        }
        if let Some(reference) = members.get("$ref") {
            let Some(reference) = reference.as_str() else {
                return Err(Unusable::new(at("$ref"), "must be a string"));
            };
            self.references.push((at("$ref"), reference));
        }
        if let Some(pattern) = members.get("pattern").and_then(Value::as_str) {
            let taken = self.patterns.take(pattern);
            taken.map_err(|problem| Unusable::new(at("pattern"), problem))?;
        }
        let matching = members.get("patternProperties").and_then(Value::as_object);
        for pattern in matching.into_iter().flat_map(Map::keys) {
            let taken = self.patterns.take(pattern);
            taken.map_err(|problem| Unusable::new(at("patternProperties"), problem))?;
        }
        Ok(())
    }
}

fn step(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}
