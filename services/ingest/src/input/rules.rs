//! What an event must be, wherever it comes from. Every rule says what is wrong and what would be right; all that are
//! broken are reported together.

use std::borrow::Cow;

use pushrail_http::FieldProblem;
use pushrail_schemas::identity;

use super::Draft;
use super::names::Name;
use crate::json::{self, Kind, Scanner, SyntaxError, Value};

/// Bytes of `customerExternalId`, `idempotencyKey`, `source` and `subject`.
pub const TEXT_LEN_MAX: usize = 256;
/// Bytes of `metadata`: it travels as headers and attributes, which services limit to a few KiB.
pub const METADATA_LEN_MAX: usize = 16 * 1024;
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Bytes of a key in `metadata`.
pub const METADATA_KEY_LEN_MAX: usize = 128;
/// 2000-01-01T00:00:00Z. Earlier times are seconds or milliseconds taken for microseconds more often than history.
pub const OCCURRED_AT_US_MIN: i64 = 946_684_800_000_000;
/// How far a vendor's clock or time zone may be ahead of ours: a day.
pub const OCCURRED_AHEAD_US_MAX: i64 = 86_400_000_000;

/// Broken rules reported for one event. More of them help nobody, and a hostile batch would make a large answer.
const ERRORS_MAX: usize = 10;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of `payload`.
    pub payload_len_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_len_max: 256 * 1024,
        }
    }
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub errors: Vec<FieldProblem>,
    pub cause: Cause,
}

/// What kind of rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// One of those that hold for all.
    Invalid,
    /// The payload exceeds its limit, and that is all that is wrong.
    TooLarge,
    /// The schema that the tenant gave the type.
    Schema,
    /// The type is not in the tenant's catalogue.
    Uncatalogued,
    /// Nothing is wrong with it: we can't take it at the moment.
    NotNow,
}

impl Rejection {
    pub fn of(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let errors = vec![FieldProblem {
            field: field.into(),
            message: message.into(),
        }];
        Rejection {
            errors,
            cause: Cause::Invalid,
        }
    }
}

/// Judges one event, rule by rule.
pub struct Rules<'l> {
    limits: &'l Limits,
    now_us: i64,
    errors: Vec<FieldProblem>,
    too_large: bool,
    /// Required fields that are there but were refused already, as bits of [`Name`].
    seen: u8,
}

impl<'l> Rules<'l> {
    /// `now_us`: microseconds since the Unix epoch.
    pub fn new(limits: &'l Limits, now_us: i64) -> Self {
        Rules {
            limits,
            now_us,
            errors: Vec::new(),
            too_large: false,
            seen: 0,
        }
    }

    pub fn refuse(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(FieldProblem {
                field: field.into(),
                message: message.into(),
            });
        }
    }

    /// `name` was sent and refused: it is not missing.
    pub fn seen(&mut self, name: Name) {
        self.seen |= 1 << name as u8;
    }

    fn missing(&mut self, name: Name, message: &'static str) {
        if self.seen & (1 << name as u8) == 0 {
            self.refuse(name.as_str(), message);
        }
    }

    pub fn rejection(self) -> Rejection {
        Rejection {
            cause: match self.too_large && self.errors.len() == 1 {
                true => Cause::TooLarge,
                false => Cause::Invalid,
            },
            errors: self.errors,
        }
    }

    pub fn passed(self, draft: Draft<'_>) -> Result<Draft<'_>, Rejection> {
        match self.errors.is_empty() {
            true => Ok(draft),
            false => Err(self.rejection()),
        }
    }

    pub fn event_type(&mut self, text: Option<&str>) {
        const NAME: &str = "eventType";
        let Some(text) = text else {
            return self.missing(
                Name::EventType,
                "is required: a dotted name such as `order.completed`",
            );
        };
        if let Some(problem) = identity::event_type_problem(text) {
            let shown = json::shown(text);
            self.refuse(NAME, format!("{problem}; it is `{shown}`"));
        } else if identity::is_reserved_event_type(text) {
            self.refuse(
                NAME,
                "must not begin with `pushrail.`, which names events of our own",
            );
        }
    }

    pub fn customer_external_id(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.label("customerExternalId", text),
            None => self.missing(
                Name::CustomerExternalId,
                "is required: your own id of the customer whose event this is",
            ),
        }
    }

    pub fn idempotency_key(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.label("idempotencyKey", text);
        }
    }

    pub fn source(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.label("source", text);
        }
    }

    pub fn subject(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.label("subject", text);
        }
    }

    /// Ids and labels: two that look the same must be the same, so nothing invisible stands in or around them.
    pub fn label(&mut self, name: &'static str, text: &str) {
        if text.is_empty() {
            self.refuse(name, "must not be empty");
        } else if text.len() > TEXT_LEN_MAX {
            let len = text.len();
            self.refuse(
                name,
                format!("has {len} bytes: at most {TEXT_LEN_MAX} are allowed"),
            );
        } else if text.chars().any(char::is_control) {
            self.refuse(name, "must not contain control characters");
        } else if text.trim().len() != text.len() {
            self.refuse(name, "must not begin or end with white space");
        }
    }

    pub fn occurred_at_text(&mut self, text: &str) -> Option<i64> {
        match super::time::parse(text) {
            Some(us) => self.occurred_at_us(us),
            None => {
                self.refuse(
                    "occurredAt",
                    "must be an RFC 3339 time with an offset, such as `2026-07-01T12:00:00.000Z`",
                );
                None
            }
        }
    }

    /// Microseconds since the Unix epoch.
    pub fn occurred_at_us(&mut self, us: i64) -> Option<i64> {
        if us < OCCURRED_AT_US_MIN {
            self.refuse("occurredAt", "is before the year 2000: check its unit");
        } else if us > self.now_us.saturating_add(OCCURRED_AHEAD_US_MAX) {
            self.refuse("occurredAt", "is more than 24 hours ahead of our clock: check its unit, its offset and the clock that it comes from");
        } else {
            return Some(us);
        }
        None
    }

    pub fn payload(&mut self, value: Option<&Value<'_>>) {
        const NAME: &str = "payload";
        let Some(value) = value else {
            return self.missing(Name::Payload, "is required: a JSON object, `{}` at least");
        };
        let (len, max) = (value.raw.len(), self.limits.payload_len_max);
        if value.kind != Kind::Object {
            let kind = value.kind.named();
            self.refuse(NAME, format!("must be a JSON object, not {kind}"));
        } else if len > max {
            self.too_large = true;
            self.refuse(
                NAME,
                format!(
                    "has {len} bytes: at most {max} are allowed; send a reference to larger data"
                ),
            );
        } else if let Some(flaw) = &value.flaw {
            self.refuse(NAME, flaw.to_string());
        }
    }

    pub fn metadata(&mut self, value: Option<&Value<'_>>) {
        const NAME: &str = "metadata";
        let Some(value) = value else { return };
        let len = value.raw.len();
        if value.kind != Kind::Object {
            let kind = value.kind.named();
            self.refuse(
                NAME,
                format!("must be a flat JSON object of strings, not {kind}"),
            );
        } else if len > METADATA_LEN_MAX {
            self.refuse(
                NAME,
                format!("has {len} bytes: at most {METADATA_LEN_MAX} are allowed; larger data belongs into `payload`"),
            );
        } else if let Some(flaw) = &value.flaw {
            self.refuse(NAME, flaw.to_string());
        } else {
            self.metadata_entries(value.raw);
        }
    }

    fn metadata_entries(&mut self, raw: &str) {
        let mut entries = 0;
        // It was scanned before, so there is no error to come.
        let _ = Scanner::new(raw).members::<SyntaxError>(|scanner, key| {
            let value = scanner.value()?;
            entries += 1;
            let decoded = key.decode().unwrap_or_default();
            let field = || format!("metadata.{}", json::shown(&decoded));
            if value.kind != Kind::String {
                let kind = value.kind.named();
                self.refuse(
                    field(),
                    format!(
                        "must be a string, not {kind}: nested or typed data belongs into `payload`"
                    ),
                );
            }
            if decoded.is_empty() || decoded.len() > METADATA_KEY_LEN_MAX {
                self.refuse(
                    field(),
                    format!(
                        "has a key of {} bytes: 1 to {METADATA_KEY_LEN_MAX} are allowed",
                        decoded.len()
                    ),
                );
            }
            Ok(())
        });
        if entries > METADATA_ENTRIES_MAX {
            self.refuse(
                "metadata",
                format!("has {entries} entries: at most {METADATA_ENTRIES_MAX} are allowed"),
            );
        }
    }
}
