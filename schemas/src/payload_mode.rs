//! What of a payload the audit record shows: all of it, nothing, all but some values, or a form that only its owner can open.
//!
//! This is how it is written and read. What a rule does, and whether a path or a key is any good, is `pushrail-privacy`'s
//! to say.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// What of a payload the audit record shows. Cheap to clone: it goes along with every delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Written", into = "Written")]
pub enum PayloadMode {
    #[default]
    Full,
    /// Metadata only: the audit record carries no payload.
    Off,
    /// Without the values at these paths.
    Redact(Arc<[Box<str>]>),
    /// Sealed to this public key of age.
    Seal(Arc<str>),
}

/// What of a payload the audit record shows: `"full"`, `"off"` (metadata only), or a rule.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "PayloadMode")]
enum Written {
    Named(Named),
    Ruled(Ruled),
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Named {
    Full,
    Off,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "mode",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
#[schemars(inline)]
enum Ruled {
    /// The payload as it was sent.
    Full {},
    /// No payload: metadata only.
    Off {},
    /// The payload with `"[redacted]"` in the place of the values at these paths.
    Redact {
        /// Such as `payload.card.number`. On an array a name means every element, a number one of them; `*` is every
        /// member or element.
        #[schemars(length(min = 1, max = 100), inner(length(max = 512)))]
        paths: Vec<Box<str>>,
    },
    /// The payload sealed to a public key whose private key only its owner has: an age file, for `age -d -i key.txt`.
    Seal {
        /// A recipient of age, as `age-keygen -y key.txt` prints it.
        #[schemars(length(max = 100), regex(pattern = "^age1[02-9ac-hj-np-z]{58}$"))]
        public_key: Box<str>,
    },
}

impl From<Written> for PayloadMode {
    fn from(written: Written) -> Self {
        match written {
            Written::Named(Named::Full) | Written::Ruled(Ruled::Full {}) => PayloadMode::Full,
            Written::Named(Named::Off) | Written::Ruled(Ruled::Off {}) => PayloadMode::Off,
            Written::Ruled(Ruled::Redact { paths }) => PayloadMode::Redact(paths.into()),
            Written::Ruled(Ruled::Seal { public_key }) => PayloadMode::Seal(public_key.into()),
        }
    }
}

impl From<PayloadMode> for Written {
    fn from(mode: PayloadMode) -> Self {
        match mode {
            PayloadMode::Full => Written::Named(Named::Full),
            PayloadMode::Off => Written::Named(Named::Off),
            PayloadMode::Redact(paths) => Written::Ruled(Ruled::Redact {
                paths: paths.to_vec(),
            }),
            PayloadMode::Seal(public_key) => Written::Ruled(Ruled::Seal {
                public_key: (&*public_key).into(),
            }),
        }
    }
}

/// By hand, because an untagged enum says of every mistake only that nothing matched. No message repeats a text: whoever
/// mixes things up might have put a key there.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#""full", "off", {"mode": "redact", "paths": ["payload.card"]} or {"mode": "seal", "publicKey": "age1..."}"#,
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
                match text {
                    "full" => Ok(Written::Named(Named::Full)),
                    "off" => Ok(Written::Named(Named::Off)),
                    "redact" | "seal" => Err(E::custom(format_args!(
                        "{text} needs an object: must be {}",
                        &self as &dyn serde::de::Expected
                    ))),
                    _ => Err(E::custom(format_args!(
                        "must be {}",
                        &self as &dyn serde::de::Expected
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Ruled::deserialize(MapAccessDeserializer::new(map)).map(Written::Ruled)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    #[test]
    fn it_is_read_as_it_always_was_and_written_as_it_is_read() {
        let table = [
            (json!("full"), PayloadMode::Full),
            (json!("off"), PayloadMode::Off),
            (
                json!({"mode": "redact", "paths": ["payload.card"]}),
                PayloadMode::Redact(["payload.card".into()].into()),
            ),
            (
                json!({"mode": "seal", "publicKey": KEY}),
                PayloadMode::Seal(KEY.into()),
            ),
        ];
        for (written, mode) in table {
            let read: PayloadMode = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(read, mode);
            assert_eq!(serde_json::to_value(&mode).unwrap(), written);
            let text = serde_json::from_str::<PayloadMode>(&written.to_string()).unwrap();
            assert_eq!(text, mode);
        }
        let spelled: PayloadMode = serde_json::from_value(json!({"mode": "off"})).unwrap();
        assert_eq!(spelled, PayloadMode::Off);
    }

    #[test]
    fn a_mistake_says_what_to_write_and_repeats_no_text() {
        let table = [
            (json!("AGE-SECRET-KEY-1QQ"), "must be \"full\", \"off\""),
            (json!("redact"), "redact needs an object"),
            (json!(1), "expected \"full\", \"off\""),
            (json!({"mode": "redact"}), "missing field `paths`"),
            (json!({"mode": "seal"}), "missing field `publicKey`"),
            (
                json!({"mode": "hide"}),
                "expected one of `full`, `off`, `redact`, `seal`",
            ),
            (json!({"paths": []}), "missing field `mode`"),
            // A rule that is not followed must not look as if it were.
            (
                json!({"mode": "full", "publicKey": KEY}),
                "unknown field `publicKey`",
            ),
            (
                json!({"mode": "seal", "publicKey": KEY, "paths": []}),
                "unknown field `paths`",
            ),
        ];
        for (written, says) in table {
            let error = serde_json::from_value::<PayloadMode>(written.clone()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(says), "{written}: {error}");
            assert!(!error.contains("AGE-SECRET-KEY"), "{error}");
        }
    }

    #[test]
    fn its_schema_shows_every_form() {
        let schema = Value::from(schemars::schema_for!(PayloadMode)).to_string();
        for part in [
            "\"full\"",
            "\"redact\"",
            "\"publicKey\"",
            "\"maxItems\":100",
        ] {
            assert!(schema.contains(part), "{part} in {schema}");
        }
    }
}
