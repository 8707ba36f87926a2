//! Times as the log has them: a number, where millions of texts would be read and written.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type, ValueRef as _};

/// From the Unix epoch to the one of PostgreSQL, 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A `timestamptz`: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// The start of its minute.
    pub fn minute(self) -> Self {
        Micros(self.0.div_euclid(MINUTE_US) * MINUTE_US)
    }

    /// Days since the Unix epoch, in UTC.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_US)
    }
}

pub const MINUTE_US: i64 = 60_000_000;
pub const HOUR_US: i64 = 60 * MINUTE_US;
pub const DAY_US: i64 = 24 * HOUR_US;

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0.saturating_sub(EPOCH_US).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary || value.is_null() {
            return Err("a time that is not in binary".into());
        }
        let bytes: [u8; 8] = value.as_bytes()?.try_into()?;
        Ok(Micros(i64::from_be_bytes(bytes).saturating_add(EPOCH_US)))
    }
}
