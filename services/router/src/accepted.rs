//! A record of `events`, read as far as routing needs.

use pushrail_schemas::event::Event;
use pushrail_schemas::headers::{self, HeaderError};
use pushrail_schemas::wire::DecodeError;
use uuid::Uuid;

/// See the module.
pub struct Accepted<'a> {
    pub event: Event,
    /// From whoever authenticated the publisher, never from the event.
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    /// Whether a repeat of the id is a duplicate.
    pub deduplicate: bool,
    pub traceparent: Option<&'a str>,
}

/// Why a record cannot be routed, now or ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the record has no value")]
    Empty,
    #[error(transparent)]
    Value(#[from] DecodeError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("Kafka would not take what was made of it: {0}")]
    Refused(String),
}

impl Unreadable {
    /// For the header that says so.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Unreadable::Empty => "empty",
            Unreadable::Value(_) => "value",
            Unreadable::Header(_) => "header",
            Unreadable::Refused(_) => "refused",
        }
    }
}

impl<'a> Accepted<'a> {
    pub fn read(
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Unreadable> {
        let (mut tenant_id, mut customer_id, mut traceparent) = (None, None, None);
        let mut deduplicate = false;
        for (name, value) in headers {
            match name {
                headers::TENANT_ID => {
                    tenant_id = Some(headers::parse_text(headers::TENANT_ID, value)?)
                }
                headers::CUSTOMER_ID => {
                    customer_id = Some(headers::parse_uuid(headers::CUSTOMER_ID, value)?);
                }
                headers::DEDUPLICATE => deduplicate = value == b"1",
                // Broken tracing must not cost an event.
                headers::TRACEPARENT => traceparent = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        let missing = |header| HeaderError {
            header,
            problem: "missing",
        };
        let value = value.ok_or(Unreadable::Empty)?;
        Ok(Accepted {
            event: Event::parse(value.to_vec().into())?,
            tenant_id: tenant_id.ok_or(missing(headers::TENANT_ID))?,
            customer_id: customer_id.ok_or(missing(headers::CUSTOMER_ID))?,
            deduplicate,
            traceparent,
        })
    }
}
