//! A writer's schema, reduced to what reading a few fields and passing over the rest takes.
//!
//! Both the schema and the bytes are a stranger's. Decoding everything first, as a library must, lets a small record cost
//! much: memory (every number of an array becomes a value of 50 bytes), time (an array of a billion nulls has no bytes),
//! stack (a schema that contains itself). So what nobody asked for is passed over without being built, under a limit of
//! steps that grows with the record, and of depth.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, UuidSchema};

use crate::wire::{DecodeError, Reader};

/// Nesting of values.
const DEPTH_MAX: usize = 64;
/// Steps that any record may take, and steps more for each of its bytes.
const STEPS: usize = 10_000;
const STEPS_PER_BYTE: usize = 16;

/// How a value is written. Named types are numbers of [`Shapes`], because they may contain themselves.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Null,
    Boolean,
    /// An int or long without a meaning of its own.
    Number,
    Time(Unit),
    /// Text or bytes: a length and that many bytes.
    Bytes,
    Fixed(usize),
    Enum(Vec<Box<str>>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<Shape>),
    Named(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
    /// A date or a time of day: no instant.
    Other,
}

/// The named types of a schema.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    named: Vec<Shape>,
    numbers: HashMap<Name, usize>,
}

impl Shapes {
    pub(crate) fn shape(&mut self, schema: &Schema) -> Shape {
        match schema {
            Schema::Null => Shape::Null,
            Schema::Boolean => Shape::Boolean,
            Schema::Int | Schema::Long => Shape::Number,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Shape::Time(Unit::Millis),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Shape::Time(Unit::Micros),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Shape::Time(Unit::Nanos),
            Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Shape::Time(Unit::Other),
            Schema::Float => Shape::Fixed(4),
            Schema::Double => Shape::Fixed(8),
            Schema::Bytes | Schema::String | Schema::BigDecimal => Shape::Bytes,
            Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => Shape::Bytes,
            Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Bytes,
                ..
            }) => Shape::Bytes,
            Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Fixed(fixed),
                ..
            })
            | Schema::Duration(fixed)
            | Schema::Fixed(fixed) => self.name(&fixed.name, |_| Shape::Fixed(fixed.size)),
            Schema::Enum(symbols) => self.name(&symbols.name, |_| {
                Shape::Enum(
                    symbols
                        .symbols
                        .iter()
                        .map(|symbol| symbol.as_str().into())
                        .collect(),
                )
            }),
            Schema::Array(array) => Shape::Array(Box::new(self.shape(&array.items))),
            Schema::Map(map) => Shape::Map(Box::new(self.shape(&map.types))),
            Schema::Union(union) => Shape::Union(
                union
                    .variants()
                    .iter()
                    .map(|schema| self.shape(schema))
                    .collect(),
            ),
            Schema::Record(record) => self.name(&record.name, |shapes| {
                Shape::Record(
                    record
                        .fields
                        .iter()
                        .map(|field| shapes.shape(&field.schema))
                        .collect(),
                )
            }),
            // The library has refused a reference to nothing.
            Schema::Ref { name } => self
                .numbers
                .get(name)
                .map_or(Shape::Null, |number| Shape::Named(*number)),
        }
    }

    /// Gives `name` its number before its shape is known, so that the shape may refer to it.
    fn name(&mut self, name: &Name, shape: impl FnOnce(&mut Self) -> Shape) -> Shape {
        let number = self.named.len();
        self.named.push(Shape::Null);
        self.numbers.insert(name.clone(), number);
        self.named[number] = shape(self);
        Shape::Named(number)
    }

    pub(crate) fn resolve<'s>(&'s self, mut shape: &'s Shape) -> &'s Shape {
        while let Shape::Named(number) = shape {
            shape = &self.named[*number];
        }
        shape
    }
}

/// Reads one record.
pub(crate) struct Walk<'s, 'a> {
    shapes: &'s Shapes,
    pub(crate) reader: Reader<'a>,
    steps_left: usize,
}

impl<'s, 'a> Walk<'s, 'a> {
    pub(crate) fn new(shapes: &'s Shapes, reader: Reader<'a>, len: usize) -> Self {
        Walk {
            shapes,
            reader,
            steps_left: STEPS + len.saturating_mul(STEPS_PER_BYTE),
        }
    }

    /// The shape that was written here: unions are followed to the branch that they hold.
    pub(crate) fn branch(&mut self, shape: &'s Shape) -> Result<&'s Shape, DecodeError> {
        let mut shape = self.shapes.resolve(shape);
        while let Shape::Union(variants) = shape {
            let at = self.reader.at();
            let variant = usize::try_from(self.reader.long()?)
                .ok()
                .and_then(|index| variants.get(index));
            let missing = DecodeError::Field {
                at,
                problem: "a branch that the union does not have",
            };
            shape = self.shapes.resolve(variant.ok_or(missing)?);
        }
        Ok(shape)
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self, shape: &'s Shape) -> Result<(), DecodeError> {
        self.skip_at(shape, 0)
    }

    fn skip_at(&mut self, shape: &'s Shape, depth: usize) -> Result<(), DecodeError> {
        let at = self.reader.at();
        self.steps_left = self
            .steps_left
            .checked_sub(1)
            .filter(|_| depth <= DEPTH_MAX)
            .ok_or({
                DecodeError::Field {
                    at,
                    problem: "nested too deep, or too much of nothing",
                }
            })?;
        match self.branch(shape)? {
            Shape::Null => Ok(()),
            Shape::Boolean => self.reader.take(1).map(drop),
            Shape::Number | Shape::Time(_) | Shape::Enum(_) => self.reader.long().map(drop),
            Shape::Bytes => self.reader.slice().map(drop),
            Shape::Fixed(size) => self.reader.take(*size).map(drop),
            Shape::Record(fields) => fields
                .iter()
                .try_for_each(|field| self.skip_at(field, depth + 1)),
            Shape::Array(items) => self.blocks(|walk| walk.skip_at(items, depth + 1)),
            Shape::Map(values) => self.blocks(|walk| {
                walk.reader.slice()?;
                walk.skip_at(values, depth + 1)
            }),
            // `branch` follows these.
            Shape::Union(_) | Shape::Named(_) => Ok(()),
        }
    }

    /// Calls `item` for each item of an array or map.
    pub(crate) fn blocks<E: From<DecodeError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let count = self.reader.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's length in bytes, for who wants to jump.
                self.reader.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }
}
