//! Confluent's wire format: a zero byte, the schema's id (big endian, 4 bytes), then Avro binary; and the few Avro
//! primitives that the hot path reads and writes by hand.

use std::ops::Range;

use uuid::Uuid;

/// Length of what stands before the Avro bytes.
pub const PREFIX_LEN: usize = 5;

/// A value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the value has {0} bytes, fewer than the 5 of a schema id")]
    Short(usize),
    #[error("the value starts with byte {0}, not with 0 as Confluent's wire format does")]
    Magic(u8),
    #[error("the value ends at byte {0}, in the middle of a field")]
    Truncated(usize),
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    #[error("the field at byte {at} is {problem}")]
    Field { at: usize, problem: &'static str },
}

/// Splits a value into its schema id and Avro bytes.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [0, ..] | [] => Err(DecodeError::Short(value.len())),
        [first, ..] => Err(DecodeError::Magic(*first)),
    }
}

/// Starts a value that is written with `schema_id`.
pub fn start(schema_id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

pub(crate) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

pub(crate) fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    put_long(value.len() as i64, out);
    out.extend_from_slice(value);
}

pub(crate) fn put_uuid(value: Uuid, out: &mut Vec<u8>) {
    put_bytes(
        value
            .hyphenated()
            .encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH])
            .as_bytes(),
        out,
    );
}

/// A union of null and something else, in this order.
pub(crate) fn put_optional<T>(
    value: Option<T>,
    out: &mut Vec<u8>,
    put: impl FnOnce(T, &mut Vec<u8>),
) {
    match value {
        None => put_long(0, out),
        Some(value) => {
            put_long(1, out);
            put(value, out);
        }
    }
}

/// Reads Avro binary without copying: text and bytes come back as ranges of the value.
pub(crate) struct Reader<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(value: &'a [u8], at: usize) -> Self {
        Reader { value, at }
    }

    pub(crate) fn long(&mut self) -> Result<i64, DecodeError> {
        let (start, mut zigzag, mut shift) = (self.at, 0u64, 0);
        loop {
            let byte = *self
                .value
                .get(self.at)
                .ok_or(DecodeError::Truncated(self.value.len()))?;
            self.at += 1;
            // The tenth byte carries bit 63 and nothing more.
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Field {
                    at: start,
                    problem: "a number of more than 64 bits",
                });
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
            shift += 7;
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Range<usize>, DecodeError> {
        let start = self.at;
        let len = usize::try_from(self.long()?).map_err(|_| DecodeError::Field {
            at: start,
            problem: "of negative length",
        })?;
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.value.len());
        let end = end.ok_or(DecodeError::Truncated(self.value.len()))?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    pub(crate) fn text(&mut self) -> Result<Range<usize>, DecodeError> {
        let start = self.at;
        let range = self.bytes()?;
        match std::str::from_utf8(&self.value[range.clone()]) {
            Ok(_) => Ok(range),
            Err(_) => Err(DecodeError::Field {
                at: start,
                problem: "not UTF-8",
            }),
        }
    }

    /// Where in the value the next field starts.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.value.get(self.at..).unwrap_or_default();
        let taken = rest
            .get(..len)
            .ok_or(DecodeError::Truncated(self.value.len()))?;
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let range = self.bytes()?;
        Ok(&self.value[range])
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        std::str::from_utf8(self.slice()?).map_err(|_| DecodeError::Field {
            at: start,
            problem: "not UTF-8",
        })
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let start = self.at;
        let range = self.bytes()?;
        Uuid::try_parse_ascii(&self.value[range]).map_err(|_| DecodeError::Field {
            at: start,
            problem: "not a UUID",
        })
    }

    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let start = self.at;
        match self.long()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(DecodeError::Field {
                at: start,
                problem: "a branch that the union does not have",
            }),
        }
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.value.len() - self.at {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}
