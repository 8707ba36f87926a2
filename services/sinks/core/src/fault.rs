//! What went wrong, and whose it is.

use std::borrow::Cow;
use std::fmt;

use crate::FieldError;

/// A failure of one call or one record.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    pub blame: Blame,
    /// One of the adapter's declared failure codes, such as `http_503` or `timeout`.
    pub code: Cow<'static, str>,
    /// One sentence for the customer. Never contains a credential. Under Private Payload Mode the audit shows a sentence of
    /// the program (`&'static str`) and none that was put together: it might quote the record.
    pub detail: Cow<'static, str>,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This record's: its neighbours may pass.
    Record,
    /// The destination's: its neighbours would fail too.
    Destination,
    /// Ours: a defect or a resource that ran out here.
    Us,
}

/// The uniform failure classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Delivered,
    Transient,
    Permanent,
    Suspended,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Delivered => "delivered",
            Class::Transient => "transient",
            Class::Permanent => "permanent",
            Class::Suspended => "suspended",
        }
    }
}

impl Fault {
    /// A configuration that passed its check once and does not any more: the first thing that is wrong with it.
    pub fn invalid_configuration(errors: Vec<FieldError>) -> Self {
        let first = errors.into_iter().next();
        let detail = first.map_or_else(String::new, |e| format!("{} {}", e.field, e.message));
        Fault::destination("invalid_configuration", detail)
    }

    pub fn record(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fault {
            blame: Blame::Record,
            code: code.into(),
            detail: detail.into(),
        }
    }

    pub fn destination(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fault {
            blame: Blame::Destination,
            code: code.into(),
            detail: detail.into(),
        }
    }

    pub fn us(code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Fault {
            blame: Blame::Us,
            code: code.into(),
            detail: detail.into(),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.code, self.detail, self.blame)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}
