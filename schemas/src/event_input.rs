//! Reads what vendors publish directly, whatever schema they wrote it with.
//!
//! The writer's schema says where the fields are; they are matched by name and alias, more generously than Avro's own
//! resolution: text serves for bytes and bytes for text, any timestamp or number for a time, a map of strings for metadata.
//! Further fields are passed over, so `Event.avsc` works too, though its id and acceptance time are not believed.
//! Nothing is copied but what must be changed. What the fields hold is the caller's to judge.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::RecordSchema;

use crate::shape::{Shape, Shapes, Unit, Walk};
use crate::wire::{self, DecodeError};

/// The fields of a directly published event, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInput<'a> {
    pub event_type: Cow<'a, str>,
    pub customer_external_id: Cow<'a, str>,
    /// Should be a JSON object; not looked at here.
    pub payload: Cow<'a, [u8]>,
    /// Microseconds since the Unix epoch.
    pub occurred_at_us: Option<i64>,
    pub idempotency_key: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    /// Should be a flat JSON object of strings; not looked at here. `{}` when the writer has none.
    pub metadata: Cow<'a, [u8]>,
    /// Whom it is about.
    pub subject: Option<Cow<'a, str>>,
}

/// A writer's schema that no event can be read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the writer's schema is not a record")]
    NotRecord,
    #[error("the writer's schema has no field {0}")]
    Missing(&'static str),
}

/// A record that cannot be read with its writer's schema. Names the field where one is to blame, and never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error(transparent)]
    Wire(#[from] DecodeError),
    #[error("{field} {problem}")]
    Field {
        field: &'static str,
        problem: Cow<'static, str>,
    },
}

/// A writer's schema, ready to read with.
#[derive(Debug)]
pub struct Writer {
    shapes: Shapes,
    /// In the order in which they are written.
    fields: Vec<(Option<Role>, Shape)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    EventType,
    Customer,
    Payload,
    OccurredAt,
    IdempotencyKey,
    Source,
    Metadata,
    Subject,
}

const ROLES: [(Role, &str); 8] = [
    (Role::EventType, "event_type"),
    (Role::Customer, "customer_external_id"),
    (Role::Payload, "payload"),
    (Role::OccurredAt, "occurred_at"),
    (Role::IdempotencyKey, "idempotency_key"),
    (Role::Source, "source"),
    (Role::Metadata, "metadata"),
    (Role::Subject, "subject"),
];

impl Role {
    fn name(self) -> &'static str {
        ROLES[self as usize].1
    }

    fn required(self) -> bool {
        matches!(self, Role::EventType | Role::Customer | Role::Payload)
    }
}

impl Writer {
    /// Judges a writer's schema, once.
    pub fn new(schema: &Schema) -> Result<Self, SchemaError> {
        let Schema::Record(record) = schema else {
            return Err(SchemaError::NotRecord);
        };
        let mut roles = vec![None; record.fields.len()];
        for (role, name) in ROLES {
            match position(record, name) {
                Some(at) => roles[at] = Some(role),
                None if role.required() => return Err(SchemaError::Missing(name)),
                None => {}
            }
        }
        let mut shapes = Shapes::default();
        let top = shapes.shape(schema);
        let Shape::Record(fields) = shapes.resolve(&top).clone() else {
            return Err(SchemaError::NotRecord);
        };
        Ok(Writer {
            shapes,
            fields: roles.into_iter().zip(fields).collect(),
        })
    }

    /// Reads a value in Confluent wire format; its schema's id is the caller's to judge.
    pub fn decode<'a>(&self, value: &'a [u8]) -> Result<EventInput<'a>, InputError> {
        wire::split(value)?;
        let mut walk = Walk::new(
            &self.shapes,
            wire::Reader::new(value, wire::PREFIX_LEN),
            value.len(),
        );
        let (mut event_type, mut customer, mut payload) = (None, None, None);
        let (mut occurred_at_us, mut idempotency_key, mut source, mut metadata) =
            (None, None, None, None);
        let mut subject = None;
        for (role, shape) in &self.fields {
            let Some(role) = *role else {
                walk.skip(shape)?;
                continue;
            };
            let shape = walk.branch(shape).map_err(unreadable(role))?;
            if matches!(shape, Shape::Null) {
                continue;
            }
            let mut field = Field {
                walk: &mut walk,
                shape,
                role,
            };
            match role {
                Role::EventType => event_type = Some(field.text()?),
                Role::Customer => customer = Some(field.text()?),
                Role::Payload => payload = Some(field.bytes()?),
                Role::OccurredAt => occurred_at_us = Some(field.time_us()?),
                Role::IdempotencyKey => idempotency_key = Some(field.text()?),
                Role::Source => source = Some(field.text()?),
                Role::Metadata => metadata = Some(field.metadata()?),
                Role::Subject => subject = Some(field.text()?),
            }
        }
        walk.reader.end()?;
        let null = |role: Role| InputError::Field {
            field: role.name(),
            problem: "is null".into(),
        };
        Ok(EventInput {
            event_type: event_type.ok_or_else(|| null(Role::EventType))?,
            customer_external_id: customer.ok_or_else(|| null(Role::Customer))?,
            payload: payload.ok_or_else(|| null(Role::Payload))?,
            occurred_at_us,
            idempotency_key,
            source,
            metadata: metadata.unwrap_or(Cow::Borrowed(b"{}")),
            subject,
        })
    }
}

/// Where a writer's record has the field that we call `name`: by its own name, or by one of its aliases.
fn position(record: &RecordSchema, name: &str) -> Option<usize> {
    let by_name = record.fields.iter().position(|field| field.name == name);
    by_name.or_else(|| {
        record
            .fields
            .iter()
            .position(|field| field.aliases.iter().any(|alias| alias == name))
    })
}

fn unreadable(role: Role) -> impl Fn(DecodeError) -> InputError {
    move |error| InputError::Field {
        field: role.name(),
        problem: format!("cannot be read: {error}").into(),
    }
}

/// A field that is about to be read, and the shape that it has there.
struct Field<'w, 's, 'a> {
    walk: &'w mut Walk<'s, 'a>,
    shape: &'s Shape,
    role: Role,
}

impl<'a> Field<'_, '_, 'a> {
    fn problem(&self, problem: impl Into<Cow<'static, str>>) -> InputError {
        InputError::Field {
            field: self.role.name(),
            problem: problem.into(),
        }
    }

    fn raw(&mut self) -> Result<Option<&'a [u8]>, InputError> {
        let read = match self.shape {
            Shape::Bytes => self.walk.reader.slice(),
            Shape::Fixed(size) => self.walk.reader.take(*size),
            _ => return Ok(None),
        };
        read.map(Some).map_err(unreadable(self.role))
    }

    fn text(&mut self) -> Result<Cow<'a, str>, InputError> {
        if let Some(raw) = self.raw()? {
            let text = std::str::from_utf8(raw).map_err(|_| self.problem("is not UTF-8"))?;
            return Ok(Cow::Borrowed(text));
        }
        let Shape::Enum(symbols) = self.shape else {
            return Err(self.problem(format!("must be a string, and is {}", kind(self.shape))));
        };
        let number = self.walk.reader.long().map_err(unreadable(self.role))?;
        let symbol = usize::try_from(number)
            .ok()
            .and_then(|number| symbols.get(number));
        let symbol =
            symbol.ok_or_else(|| self.problem("is a symbol that its enum does not have"))?;
        Ok(Cow::Owned(symbol.to_string()))
    }

    fn bytes(&mut self) -> Result<Cow<'a, [u8]>, InputError> {
        match self.raw()? {
            Some(raw) => Ok(Cow::Borrowed(raw)),
            None => Err(self.problem(format!(
                "must be JSON text as bytes or string, and is {}",
                kind(self.shape)
            ))),
        }
    }

    fn time_us(&mut self) -> Result<i64, InputError> {
        let unit = match self.shape {
            Shape::Number => Unit::Micros,
            Shape::Time(unit) if *unit != Unit::Other => *unit,
            other => {
                let problem = format!(
                    "must be a timestamp or a long of microseconds, and is {}",
                    kind(other)
                );
                return Err(self.problem(problem));
            }
        };
        let time = self.walk.reader.long().map_err(unreadable(self.role))?;
        match unit {
            Unit::Millis => time
                .checked_mul(1_000)
                .ok_or_else(|| self.problem("is out of range")),
            Unit::Nanos => Ok(time.div_euclid(1_000)),
            Unit::Micros | Unit::Other => Ok(time),
        }
    }

    fn metadata(&mut self) -> Result<Cow<'a, [u8]>, InputError> {
        let Shape::Map(values) = self.shape else {
            return self.bytes();
        };
        // Sorted, so that the same record always becomes the same bytes.
        let mut texts: BTreeMap<Cow<'a, str>, Cow<'a, str>> = BTreeMap::new();
        let role = self.role;
        self.walk.blocks(|walk| {
            let name = walk.reader.str().map_err(unreadable(role))?;
            let shape = walk.branch(values).map_err(unreadable(role))?;
            let mut value = Field { walk, shape, role };
            texts.insert(Cow::Borrowed(name), value.text()?);
            Ok::<(), InputError>(())
        })?;
        Ok(Cow::Owned(
            serde_json::to_vec(&texts).expect("a map of strings is JSON"),
        ))
    }
}

fn kind(shape: &Shape) -> &'static str {
    match shape {
        Shape::Null => "null",
        Shape::Boolean => "a boolean",
        Shape::Number => "a number",
        Shape::Time(_) => "a date or time",
        Shape::Bytes | Shape::Fixed(_) => "bytes",
        Shape::Enum(_) => "an enum",
        Shape::Array(_) => "an array",
        Shape::Map(_) => "a map",
        Shape::Union(_) => "a union",
        Shape::Record(_) | Shape::Named(_) => "a record",
    }
}

#[cfg(test)]
#[path = "event_input_tests.rs"]
mod tests;
