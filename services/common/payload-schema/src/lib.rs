//! A JSON Schema of event payloads: what one may be, and what a payload breaks of it.
//!
//! The control plane accepts schemas with [`Schema::compile`] and ingest holds events to them with the same, so that what
//! one accepts the other can use. A schema is somebody else's program that runs in ingest for every event of its type,
//! beside the events of everybody else, so it is accepted only if nothing that it can be shown makes it expensive:
//!
//! | bound | because |
//! | --- | --- |
//! | [`LEN_MAX`] | it is kept in memory and compiled |
//! | references stay inside the document, and never lead in a circle | nothing is looked up; `a = b + b, b = c + c, …` doubles with every line |
//! | subschemas, once references are followed, and how many of them see one value of a list (`cost`) | that is what an event costs |
//! | patterns that a small automaton matches in one pass (`patterns`) | the time of any other depends on the text |
//! | no `unevaluatedProperties`, `unevaluatedItems` | they evaluate again what was evaluated |
//!
//! `format` says something to people and refuses nothing, in every draft. A problem names the place and what was expected,
//! and never shows the value that was found there.

mod bounds;
mod cost;
mod explain;
mod keywords;
mod patterns;

use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use cost::{Cost, Extent};

pub use explain::{Broken, PROBLEMS_MAX};

/// Bytes of a schema.
pub const LEN_MAX: usize = 64 * 1024;

/// Why a schema can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Unusable {
    /// Where in the schema, as a JSON pointer; empty for the whole.
    pub pointer: String,
    pub problem: String,
}

impl Unusable {
    fn new(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Unusable {
            pointer: pointer.into(),
            problem: problem.into(),
        }
    }
}

/// A schema that is ready to be used. Made once, and used from any thread.
pub struct Schema {
    validator: Validator,
    cost: Cost,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Schema {
    /// Takes a schema as JSON text.
    pub fn compile(text: &str) -> Result<Self, Unusable> {
        if text.len() > LEN_MAX {
            let problem = format!("has {} bytes: at most {LEN_MAX} are allowed", text.len());
            return Err(Unusable::new("", problem));
        }
        let mut document: Value = serde_json::from_str(text)
            .map_err(|error| Unusable::new("", format!("is not JSON: {error}")))?;
        let places = bounds::check(&document)?;
        let cost = cost::of(&document, &places)?;
        // References stay inside, so its name is nothing but a way to be taken for another document.
        document.as_object_mut().and_then(|root| root.remove("$id"));
        // A defect of the library must not be one of ingest's: schemas come from outside.
        let built = catch_unwind(AssertUnwindSafe(|| build(&document)));
        let validator = built.map_err(|_| Unusable::new("", "can't be compiled"))??;
        Ok(Schema { validator, cost })
    }

    /// What `payload` breaks: nothing when it is as it should be, else the first [`PROBLEMS_MAX`] problems.
    pub fn problems(&self, payload: &Value) -> Vec<Broken> {
        if self.validator.is_valid(payload) {
            return Vec::new();
        }
        explain::problems(
            &self.validator,
            payload,
            self.cost.allows(&Extent::of(payload)),
        )
    }
}

fn build(document: &Value) -> Result<Validator, Unusable> {
    let patterns = PatternOptions::regex()
        .size_limit(patterns::PROGRAM_LEN_MAX)
        .dfa_size_limit(patterns::AUTOMATON_LEN_MAX);
    let built = jsonschema::options()
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(patterns)
        .build(document);
    built.map_err(|error| {
        let pointer = explain::shown_pointer(error.instance_path().as_str());
        let problem = match pointer.rsplit('/').next() {
            Some("type") => "must be a type of JSON, or a list of them".to_owned(),
            Some("pattern") => patterns::REFUSED.to_owned(),
            _ => explain::problem(error.kind()),
        };
        Unusable::new(pointer, format!("is not JSON Schema: {problem}"))
    })
}

#[cfg(test)]
mod tests;
