//! What a payload breaks, in words: where, and what was expected. What was found is never shown, for it may be a secret, and
//! an answer that repeats payloads is as long as they are.

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde_json::Value;

use crate::cost::Detail;

/// Problems told of one payload.
pub const PROBLEMS_MAX: usize = 10;

/// Characters of a place; a payload's keys can be as long as it is.
const POINTER_LEN_MAX: usize = 200;
/// Characters of what a schema says.
const SAID_LEN_MAX: usize = 100;

/// One rule that a payload breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where in the payload, as a JSON pointer; empty for the whole.
    pub pointer: String,
    /// What was expected there: `must be a number`.
    pub problem: String,
}

pub(crate) fn problems(validator: &Validator, payload: &Value, detail: Detail) -> Vec<Broken> {
    let mut broken = Vec::new();
    match detail {
        Detail::All => {
            for error in validator.iter_errors(payload) {
                tell(&error, &mut broken);
                if broken.len() >= PROBLEMS_MAX {
                    break;
                }
            }
        }
        Detail::First => {
            if let Err(error) = validator.validate(payload) {
                tell(&error, &mut broken);
            }
        }
        Detail::Nothing => {}
    }
    if broken.is_empty() {
        broken.push(Broken {
            pointer: String::new(),
            problem: "does not satisfy the schema of its type, and is too large to say where"
                .into(),
        });
    }
    broken.truncate(PROBLEMS_MAX);
    broken
}

fn tell(error: &ValidationError<'_>, broken: &mut Vec<Broken>) {
    let at = error.instance_path().as_str();
    let mut push = |pointer: &str, problem: String| {
        let pointer = shown_pointer(pointer);
        broken.push(Broken { pointer, problem });
    };
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            push(
                &below(property.as_str().unwrap_or_default()),
                "is required".into(),
            );
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            for name in unexpected.iter().take(PROBLEMS_MAX) {
                push(
                    &below(name),
                    "is not among the properties that are allowed".into(),
                );
            }
        }
        kind => push(at, problem(kind)),
    }
}

/// What was expected.
pub(crate) fn problem(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Required { property } => format!("must have {}", json(property)),
        Kind::AdditionalProperties { .. } => "has a property that is not allowed".into(),
        Kind::Enum { options } => format!("must be one of {}", json(options)),
        Kind::Constant { expected_value } => format!("must be {}", json(expected_value)),
        Kind::Minimum { limit } => format!("must be at least {}", json(limit)),
        Kind::Maximum { limit } => format!("must be at most {}", json(limit)),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {}", json(limit)),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {}", json(limit)),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::Pattern { pattern } => format!("must match `{}`", cut(pattern, SAID_LEN_MAX)),
        Kind::PropertyNames { error } => {
            format!("has a property whose name {}", problem(error.kind()))
        }
        Kind::UniqueItems => "must not have an item twice".into(),
        Kind::Contains => "must have items as `contains` says".into(),
        Kind::AnyOf { context } => {
            format!(
                "must be as one of the {} alternatives of `anyOf` says",
                context.len()
            )
        }
        Kind::OneOfNotValid { context } => {
            format!(
                "must be as one of the {} alternatives of `oneOf` says",
                context.len()
            )
        }
        Kind::OneOfMultipleValid { context } => {
            format!(
                "must be as only one of the {} alternatives of `oneOf` says",
                context.len()
            )
        }
        Kind::Not { .. } => "must not be as `not` says".into(),
        Kind::FalseSchema => "is not allowed".into(),
        other => format!("must be as `{}` says", cut(other.keyword(), SAID_LEN_MAX)),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => named(&one.to_string()).into(),
        TypeKind::Multiple(several) => {
            let names: Vec<_> = several.iter().map(|one| one.to_string()).collect();
            let names: Vec<_> = names.iter().map(|name| named(name)).collect();
            names.join(" or ")
        }
    }
}

/// With its article.
fn named(name: &str) -> &str {
    match name {
        "array" => "an array",
        "boolean" => "a boolean",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "an object",
        "string" => "a string",
        other => other,
    }
}

fn json(value: &Value) -> String {
    let text = match value {
        Value::Array(options) => {
            let options: Vec<_> = options.iter().take(20).map(Value::to_string).collect();
            options.join(", ")
        }
        other => other.to_string(),
    };
    cut(&text, SAID_LEN_MAX)
}

pub(crate) fn shown_pointer(pointer: &str) -> String {
    cut(pointer, POINTER_LEN_MAX).replace(char::is_control, "\u{fffd}")
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
