//! Where a schema has schemas in it. What stands elsewhere (`const`, `enum`, `examples`, names of its own making) is data.

use serde_json::{Map, Value};

/// What a subschema is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'s> {
    /// The same value.
    Here,
    /// As [`Place::Here`], where only some of several need to hold: what each says is kept until it is known.
    Alternative,
    /// The property of that name.
    Property(&'s str),
    /// Properties with a name that matches.
    Matching,
    /// Properties that the same schema does not name.
    Others,
    /// Names of properties.
    Names,
    /// Items of a list.
    Items,
    /// Nothing, unless a reference leads to it.
    Definition,
}

const ONE: [(&str, Place<'static>); 10] = [
    ("not", Place::Alternative),
    ("if", Place::Alternative),
    ("then", Place::Here),
    ("else", Place::Here),
    ("additionalProperties", Place::Others),
    ("propertyNames", Place::Names),
    ("items", Place::Items),
    ("additionalItems", Place::Items),
    ("contains", Place::Items),
    ("contentSchema", Place::Definition),
];

const LISTS: [(&str, Place<'static>); 5] = [
    ("allOf", Place::Here),
    ("anyOf", Place::Alternative),
    ("oneOf", Place::Alternative),
    ("prefixItems", Place::Items),
    ("items", Place::Items),
];

const BY_NAME: [(&str, Place<'static>); 6] = [
    ("properties", Place::Property("")),
    ("patternProperties", Place::Matching),
    ("dependentSchemas", Place::Here),
    ("dependencies", Place::Here),
    ("$defs", Place::Definition),
    ("definitions", Place::Definition),
];

/// The schemas in a schema: what each is applied to, how it is called under its keyword (`None` where it is the keyword's
/// own value), and itself.
pub(crate) fn subschemas<'s>(
    schema: &'s Map<String, Value>,
) -> impl Iterator<Item = (Place<'s>, &'static str, Option<String>, &'s Value)> {
    let one = ONE.iter().filter_map(|(keyword, place)| {
        let value = schema.get(*keyword).filter(|value| is_schema(value))?;
        Some((*place, *keyword, None, value))
    });
    let lists = LISTS.iter().flat_map(|(keyword, place)| {
        let list = schema.get(*keyword).and_then(Value::as_array);
        let items = list.into_iter().flatten().enumerate();
        items.map(|(index, value)| (*place, *keyword, Some(index.to_string()), value))
    });
    let by_name = BY_NAME.iter().flat_map(|(keyword, place)| {
        let members = schema.get(*keyword).and_then(Value::as_object);
        members.into_iter().flatten().map(move |(name, value)| {
            let place = match place {
                Place::Property(_) => Place::Property(name),
                other => *other,
            };
            (place, *keyword, Some(name.clone()), value)
        })
    });
    let all = one.chain(lists).chain(by_name);
    all.filter(|(_, _, _, value)| is_schema(value))
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}
