//! Filters, compiled once for a destination and evaluated on the events that its routes match.
//!
//! Semantics, beyond what `pushrail_schemas::filter` says:
//!
//! - `eq`, `ne`, `in` compare scalars. Values of two types are never equal; the string `"1"` is not the number `1`, and
//!   metadata are strings.
//! - Numbers are compared as decimals, so `1`, `1.0` and `10e-1` are equal and no digit is lost.
//! - `lt`, `lte`, `gt`, `gte` order two numbers, or two strings by code point (RFC 3339 times in one zone sort rightly).
//!   Between other types they are false.
//! - `prefix` and `suffix` look at strings. `contains` looks for a part of a string, or for an element of an array.
//! - `exists` asks whether the path is there; `null` is.
//! - Where a member occurs twice in an object, the last one counts.

use std::cmp::Ordering;

use pushrail_schemas::filter::{Condition, Filter as Declared, Op};
use pushrail_schemas::problem::Problem;
use serde_json::Value;

use crate::document::Document;
use crate::json::{Content, Invalid, Node};
use crate::number::{Decimal, exact};
use crate::path::{self, Path};

/// A filter that is ready to be evaluated.
#[derive(Debug)]
pub(crate) enum Filter {
    All(Box<[Filter]>),
    Any(Box<[Filter]>),
    Not(Box<Filter>),
    Test(Path, Test),
}

#[derive(Debug)]
pub(crate) enum Test {
    Equal(Literal),
    NotEqual(Literal),
    /// Which orders of the event's value to the operand pass.
    Order(Operand, &'static [Ordering]),
    In(Box<[Literal]>),
    Exists(bool),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Literal),
}

/// What a value is ordered against.
#[derive(Debug)]
pub(crate) enum Operand {
    Number(Box<str>),
    String(Box<str>),
}

/// A value to compare with.
#[derive(Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(Box<str>),
    String(Box<str>),
}

impl Filter {
    /// Compiles a filter; a problem's field is a JSON pointer below `at`. What `pushrail_schemas` refuses is refused
    /// there, before a filter gets here.
    pub(crate) fn compile(declared: &Declared, at: &str) -> Result<Self, Problem> {
        let list = |parts: &[Declared], name| {
            let compiled = parts.iter().enumerate();
            compiled
                .map(|(index, part)| Filter::compile(part, &format!("{at}/{name}/{index}")))
                .collect::<Result<Box<[_]>, _>>()
        };
        Ok(match declared {
            Declared::All { all } => Filter::All(list(all, "all")?),
            Declared::Any { any } => Filter::Any(list(any, "any")?),
            Declared::Not { not } => {
                Filter::Not(Box::new(Filter::compile(not, &format!("{at}/not"))?))
            }
            Declared::Condition(condition) => {
                let path = Path::parse(&condition.path)
                    .map_err(|message| Problem::new(format!("{at}/path"), message))?;
                let test = test(condition)
                    .map_err(|message| Problem::new(format!("{at}/value"), message))?;
                Filter::Test(path, test)
            }
        })
    }

    /// Whether an event passes.
    pub(crate) fn passes(&self, document: &Document<'_>) -> Result<bool, Invalid> {
        match self {
            Filter::All(parts) => {
                for part in parts {
                    if !part.passes(document)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Any(parts) => {
                for part in parts {
                    if part.passes(document)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(part) => part.passes(document).map(|passes| !passes),
            Filter::Test(path, test) => test.passes(path::find(path, document.root(path.root)?)?),
        }
    }
}

impl Test {
    fn passes(&self, node: Option<&Node<'_>>) -> Result<bool, Invalid> {
        let Some(node) = node else {
            return Ok(matches!(self, Test::NotEqual(_) | Test::Exists(false)));
        };
        let passes = match (self, node.content()?) {
            (Test::Exists(wanted), _) => *wanted,
            (Test::Equal(literal), _) => literal.equals(node)?,
            (Test::NotEqual(literal), _) => !literal.equals(node)?,
            (Test::In(literals), _) => any_equals(literals, node)?,
            (Test::Order(Operand::Number(bound), orders), Content::Number(text)) => {
                orders.contains(&Decimal::new(text).compare(&Decimal::new(bound)))
            }
            (Test::Order(Operand::String(bound), orders), Content::String(text)) => {
                orders.contains(&text.as_ref().cmp(bound))
            }
            (Test::Prefix(part), Content::String(text)) => text.starts_with(&**part),
            (Test::Suffix(part), Content::String(text)) => text.ends_with(&**part),
            (Test::Contains(Literal::String(part)), Content::String(text)) => {
                text.contains(&**part)
            }
            (Test::Contains(literal), Content::Array(elements)) => {
                for element in elements {
                    if literal.equals(element)? {
                        return Ok(true);
                    }
                }
                false
            }
            _ => false,
        };
        Ok(passes)
    }
}

fn any_equals(literals: &[Literal], node: &Node<'_>) -> Result<bool, Invalid> {
    for literal in literals {
        if literal.equals(node)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Literal {
    fn equals(&self, node: &Node<'_>) -> Result<bool, Invalid> {
        Ok(match (self, node.content()?) {
            (Literal::Null, Content::Null) => true,
            (Literal::Bool(a), Content::Bool(b)) => a == b,
            (Literal::Number(a), Content::Number(b)) => {
                Decimal::new(a).compare(&Decimal::new(b)) == Ordering::Equal
            }
            (Literal::String(a), Content::String(b)) => **a == **b,
            _ => false,
        })
    }
}

fn test(condition: &Condition) -> Result<Test, String> {
    use Ordering::{Equal, Greater, Less};
    let value = &condition.value;
    Ok(match condition.op {
        Op::Eq => Test::Equal(literal(value)?),
        Op::Ne => Test::NotEqual(literal(value)?),
        Op::Lt => Test::Order(operand(value)?, &[Less]),
        Op::Lte => Test::Order(operand(value)?, &[Less, Equal]),
        Op::Gt => Test::Order(operand(value)?, &[Greater]),
        Op::Gte => Test::Order(operand(value)?, &[Greater, Equal]),
        Op::In => match value {
            Value::Array(values) => Test::In(values.iter().map(literal).collect::<Result<_, _>>()?),
            _ => return Err("must be an array of the values to look for".to_owned()),
        },
        Op::Exists => match value {
            Value::Bool(wanted) => Test::Exists(*wanted),
            _ => return Err("must be true or false".to_owned()),
        },
        Op::Prefix => Test::Prefix(text(value)?),
        Op::Suffix => Test::Suffix(text(value)?),
        Op::Contains => Test::Contains(literal(value)?),
    })
}

fn operand(value: &Value) -> Result<Operand, String> {
    match value {
        Value::Number(number) => exact(number).map(Operand::Number),
        Value::String(text) => Ok(Operand::String(text.as_str().into())),
        _ => Err("must be a number or a string, which are what has an order".to_owned()),
    }
}

fn text(value: &Value) -> Result<Box<str>, String> {
    value
        .as_str()
        .map(Box::from)
        .ok_or_else(|| "must be a string".to_owned())
}

fn literal(value: &Value) -> Result<Literal, String> {
    Ok(match value {
        Value::Null => Literal::Null,
        Value::Bool(value) => Literal::Bool(*value),
        Value::Number(number) => Literal::Number(exact(number)?),
        Value::String(text) => Literal::String(text.as_str().into()),
        Value::Array(_) | Value::Object(_) => {
            return Err("must be a string, number, boolean or null".to_owned());
        }
    })
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
