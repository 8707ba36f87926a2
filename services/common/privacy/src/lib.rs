//! Private Payload Mode: what an audit record shows of a payload, and of whatever else might repeat it.
//!
//! Router, sink and the control plane's test delivery ask here, so that no record shows what another one hides. It fails
//! closed: what cannot be redacted or sealed as it was asked for is omitted.
//!
//! | mode | payload | response and composed error texts |
//! | --- | --- | --- |
//! | full | as it was sent | shown |
//! | redact | as it was sent, but for the values at some paths | omitted: a destination may echo what it got |
//! | seal | an age file in its armor, for the key that the customer gave | omitted |
//! | off | omitted | omitted |
//!
//! It owns no payload and changes no delivery: this is about what is said of one.

mod key;
mod redact;
mod seal;

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use pushrail_schemas::Problem;
use pushrail_schemas::config::PayloadMode;
use pushrail_shred::{PayloadKey, form, part};

use redact::Redaction;

/// Longest payload that an audit record carries, in the form that it has there: with response and ids the record stays
/// below Kafka's usual 1 MiB.
pub const PAYLOAD_LEN_MAX: usize = 768 * 1024;

/// A mode, made ready once and applied to many payloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Privacy(Rule);

#[derive(Clone, Debug)]
enum Rule {
    Full,
    Off,
    Redact(Arc<Redaction>),
    Seal(Arc<age::x25519::Recipient>),
}

/// A payload as the audit record has it: `payload` and `payload_form`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    pub payload: Option<Cow<'a, [u8]>>,
    pub form: &'static str,
}

impl Shown<'_> {
    pub const OMITTED: Shown<'static> = Shown {
        payload: None,
        form: "omitted",
    };
}

impl Privacy {
    /// Metadata only.
    pub const OFF: Privacy = Privacy(Rule::Off);

    /// Reads a mode; or what is wrong with it, each named by its JSON pointer below `at`. No message repeats a key.
    pub fn of(mode: &PayloadMode, at: &str) -> Result<Self, Vec<Problem>> {
        Ok(Privacy(match mode {
            PayloadMode::Full => Rule::Full,
            PayloadMode::Off => Rule::Off,
            PayloadMode::Redact(paths) => Rule::Redact(Arc::new(Redaction::of(paths, at)?)),
            PayloadMode::Seal(public_key) => {
                let key = key::parse(public_key);
                let key =
                    key.map_err(|message| vec![Problem::new(format!("{at}/publicKey"), message)])?;
                Rule::Seal(Arc::new(key))
            }
        }))
    }

    /// As [`Privacy::of`], for configuration that has been judged before. What it can't read shows nothing.
    pub fn or_off(mode: &PayloadMode) -> Self {
        Self::of(mode, "/payloadMode").unwrap_or(Self::OFF)
    }

    /// The same where many events of others wait meanwhile: what would be sealed is omitted.
    pub fn without_sealing(self) -> Self {
        match self.0 {
            Rule::Seal(_) => Self::OFF,
            _ => self,
        }
    }

    /// As `self`, for a payload whose paths are not those of what is sent: nothing is left to redact it by.
    pub fn of_another_shape(self) -> Self {
        match self.0 {
            Rule::Redact(_) => Self::OFF,
            _ => self,
        }
    }

    /// Whether showing a payload costs what sealing costs: it should be shown once.
    pub fn seals(&self) -> bool {
        matches!(self.0, Rule::Seal(_))
    }

    pub fn payload<'a>(&self, payload: &'a [u8]) -> Shown<'a> {
        // No form is shorter than what a redaction leaves, and sealing only adds.
        let (shown, form) = match &self.0 {
            Rule::Off => return Shown::OMITTED,
            Rule::Full => (Some(Cow::Borrowed(payload)), "json"),
            Rule::Redact(redaction) => (redaction.apply(payload).map(Cow::Owned), "redacted"),
            Rule::Seal(_) if payload.len() > PAYLOAD_LEN_MAX => return Shown::OMITTED,
            Rule::Seal(key) => (seal::seal(key, payload).map(Cow::Owned), "sealed"),
        };
        match shown.filter(|shown| shown.len() <= PAYLOAD_LEN_MAX) {
            Some(shown) => Shown {
                payload: Some(shown),
                form,
            },
            None => Shown::OMITTED,
        }
    }

    /// What is shown of a payload that travels sealed: sealed too, so that it can be erased with the event. `key` opens it,
    /// where it must be changed; without a key it is omitted then.
    pub fn sealed<'a>(&self, payload: &'a [u8], key: Option<&PayloadKey>) -> Shown<'a> {
        if matches!(self.0, Rule::Full) {
            let shown = Shown {
                payload: Some(Cow::Borrowed(payload)),
                form: form::sealed("json"),
            };
            return match payload.len() <= PAYLOAD_LEN_MAX {
                true => shown,
                false => Shown::OMITTED,
            };
        }
        let changed = key.and_then(|key| {
            let clear = key.open(part::PAYLOAD, payload).ok()?;
            let shown = self.payload(&clear);
            let sealed = key.sealed(part::PAYLOAD, &shown.payload?).ok()?;
            Some((sealed, form::sealed(shown.form)))
        });
        match changed {
            Some((payload, form)) => Shown {
                payload: Some(Cow::Owned(payload)),
                form,
            },
            None => Shown::OMITTED,
        }
    }

    /// What the destination answered: it may be what it was sent.
    pub fn response<T>(&self, response: Option<T>) -> Option<T> {
        response.filter(|_| self.shows_all())
    }

    /// What is said of a failure. A text that was put together when it failed may quote the payload, as a database quotes
    /// the value that it refuses; a sentence that is part of the program can't.
    #[allow(clippy::ptr_arg, reason = "whether it is borrowed is what decides")]
    pub fn error<'a>(&self, text: &'a Cow<'static, str>) -> Option<&'a str> {
        match text {
            Cow::Borrowed(sentence) => Some(sentence),
            Cow::Owned(text) => Some(&**text).filter(|_| self.shows_all()),
        }
    }

    fn shows_all(&self) -> bool {
        matches!(self.0, Rule::Full)
    }
}

/// The modes in use, each made ready once, however many destinations and deliveries have it.
#[derive(Debug, Default)]
pub struct Modes(HashMap<PayloadMode, Privacy>);

impl Modes {
    /// Then it starts anew: modes that nobody has any more must go at some time.
    const LEN_MAX: usize = 1_024;

    pub fn get(&mut self, mode: &PayloadMode) -> Privacy {
        match mode {
            PayloadMode::Full => return Privacy(Rule::Full),
            PayloadMode::Off => return Privacy::OFF,
            PayloadMode::Redact(_) | PayloadMode::Seal(_) => {}
        }
        if let Some(known) = self.0.get(mode) {
            return known.clone();
        }
        if self.0.len() >= Self::LEN_MAX {
            self.0.clear();
        }
        let privacy = Privacy::or_off(mode);
        self.0.insert(mode.clone(), privacy.clone());
        privacy
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
