//! What PostHog is told of an event.
//!
//! The payload's fields become properties. Objects in it are flattened as PostHog's own Property Flattener does it, with two
//! underscores between the names: `{"cart": {"total": 12}}` becomes `cart__total`; lists stay lists. Values are copied byte
//! for byte, so that no number changes. What PostHog knows by a name of its own (`$set`, `$groups` …) is left as it is.

use std::borrow::Cow;
use std::fmt;

use pushrail_schemas::Event;
use pushrail_sink_core::rfc3339;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::fmt::Hyphenated;

/// How deep objects are flattened; what is deeper stays an object.
const DEPTH_MAX: usize = 8;
/// What names, times and ids take around the payload.
const FRAME_LEN_MAX: usize = 768;

/// How events are named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naming {
    pub(crate) prefix: Box<str>,
    pub(crate) group_type: Option<Box<str>>,
}

/// A little more than what [`write`] appends for most events. Flattening repeats names, so that a deep payload may take more;
/// limits on a call are far below what PostHog takes.
pub(crate) fn len_max(event: &Event) -> usize {
    FRAME_LEN_MAX + event.value().len() * 5 / 4
}

/// Appends the event; `false`, and nothing appended, where its payload or metadata is no JSON object.
pub(crate) fn write(event: &Event, naming: &Naming, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut id = [0u8; Hyphenated::LENGTH];
    let id = event.event_id().hyphenated().encode_lower(&mut id);
    out.extend_from_slice(b"{\"event\":");
    match naming.prefix.is_empty() {
        true => string(event.event_type(), out),
        false => string(&format!("{}{}", naming.prefix, event.event_type()), out),
    }
    out.extend_from_slice(b",\"distinct_id\":");
    string(event.customer_external_id(), out);
    out.extend_from_slice(b",\"uuid\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":\"");
    rfc3339::write(event.occurred_at_us(), out);
    out.extend_from_slice(b"\",\"properties\":{");
    let ok = flatten(event.payload(), "", out) && flatten(event.metadata(), METADATA, out);
    if !ok {
        out.truncate(start);
        return false;
    }
    // Ours come last: the last of two properties with one name counts.
    for (name, value) in [
        ("pushrail__source", event.source()),
        ("pushrail__idempotency_key", event.idempotency_key()),
    ] {
        if let Some(value) = value {
            property(name, out);
            string(value, out);
            out.push(b',');
        }
    }
    property("pushrail__received_at", out);
    out.push(b'"');
    rfc3339::write(event.received_at_us(), out);
    out.extend_from_slice(b"\",");
    if let Some(group_type) = &naming.group_type {
        out.extend_from_slice(b"\"$groups\":{");
        property(group_type, out);
        string(event.customer_external_id(), out);
        out.extend_from_slice(b"},");
    }
    property("$insert_id", out);
    out.push(b'"');
    out.extend_from_slice(id.as_bytes());
    // Where we are says nothing of where the customer is.
    out.extend_from_slice(
        concat!(
            "\",\"$lib\":\"pushrail\",\"$lib_version\":\"",
            env!("CARGO_PKG_VERSION"),
            "\",\"$geoip_disable\":true,\"$is_server\":true}}"
        )
        .as_bytes(),
    );
    true
}

const METADATA: &str = "pushrail__metadata__";

fn property(name: &str, out: &mut Vec<u8>) {
    string(name, out);
    out.push(b':');
}

pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    // Writing a string into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends the fields of an object, each with a comma behind it. `false` where it is none.
fn flatten(json: &[u8], prefix: &str, out: &mut Vec<u8>) -> bool {
    if json.is_empty() {
        return true;
    }
    let mut name = prefix.to_owned();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let fields = Fields {
        out,
        name: &mut name,
        depth: 0,
    };
    fields.deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

struct Fields<'a> {
    out: &'a mut Vec<u8>,
    /// Names on the way here.
    name: &'a mut String,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let base = self.name.len();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = map.next_value()?;
            let text = value.get();
            self.name.push_str(&key);
            let is_theirs = base == 0 && key.starts_with('$');
            if text.starts_with('{') && !is_theirs && self.depth < DEPTH_MAX {
                self.name.push_str("__");
                let inner = Fields {
                    out: self.out,
                    name: self.name,
                    depth: self.depth + 1,
                };
                let mut deserializer = serde_json::Deserializer::from_str(text);
                inner
                    .deserialize(&mut deserializer)
                    .map_err(serde::de::Error::custom)?;
            } else {
                property(self.name, self.out);
                self.out.extend_from_slice(text.as_bytes());
                self.out.push(b',');
            }
            self.name.truncate(base);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pushrail_schemas::event::Parts;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn event(payload: &[u8]) -> Event {
        let parts = Parts {
            event_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            event_type: "order.completed",
            occurred_at_us: 1_767_323_045_123_456,
            customer_external_id: "cust-1",
            idempotency_key: Some("order-42"),
            source: Some("shop"),
            payload,
            metadata: br#"{"env":"prod"}"#,
            received_at_us: 1_767_323_046_000_000,
            subject_id: None,
            sealing: None,
        };
        let mut value = Vec::new();
        parts.encode(1, &mut value);
        Event::parse(Bytes::from(value)).unwrap()
    }

    fn told(payload: &str, naming: &Naming) -> Value {
        let mut out = Vec::new();
        assert!(write(&event(payload.as_bytes()), naming, &mut out));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_has_the_fields_that_posthogs_own_library_sends() {
        let naming = Naming {
            prefix: "shop.".into(),
            group_type: Some("company".into()),
        };
        let ours = told(r#"{"total":12.5}"#, &naming);
        let theirs: Value =
            serde_json::from_str(include_str!("../tests/posthog/sdk.json")).unwrap();
        let theirs = &theirs["batch"][0];
        for field in ["distinct_id", "uuid"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
        assert_eq!(ours["event"], "shop.order.completed");
        assert_eq!(ours["timestamp"], "2026-01-02T03:04:05.123456Z");
        assert_eq!(theirs["timestamp"], "2026-01-02T03:04:05.123456+00:00");
        for property in ["total", "$groups", "$geoip_disable", "$is_server"] {
            let (ours, theirs) = (&ours["properties"], &theirs["properties"]);
            assert_eq!(ours[property], theirs[property], "{property}");
        }
        let names = |value: &Value| {
            let fields = value.as_object().unwrap().keys();
            let mut names: Vec<_> = fields.cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(theirs));
    }

    #[test]
    fn objects_are_flattened_and_values_stay_as_they_are() {
        let payload = r#"{"a":{"b":{"c":1.10},"d":[{"e":1}]},"big":12345678901234567890123,
            "none":{},"$set":{"plan":{"name":"pro"}},"x":null,"t":"\"\n"}"#;
        let mut out = Vec::new();
        assert!(write(
            &event(payload.as_bytes()),
            &Naming::default(),
            &mut out
        ));
        let text = String::from_utf8(out.clone()).unwrap();
        for kept in [r#""a__b__c":1.10,"#, r#""big":12345678901234567890123,"#] {
            assert!(text.contains(kept), "{text}");
        }
        let told: Value = serde_json::from_slice(&out).unwrap();
        let properties = &told["properties"];
        assert_eq!(properties["a__d"], json!([{"e": 1}]));
        assert_eq!(properties["$set"], json!({"plan": {"name": "pro"}}));
        assert_eq!(properties["x"], Value::Null);
        assert_eq!(properties["t"], "\"\n");
        assert_eq!(properties["pushrail__metadata__env"], "prod");
        assert_eq!(properties["pushrail__source"], "shop");
        assert_eq!(properties["pushrail__idempotency_key"], "order-42");
        assert_eq!(properties["$insert_id"], told["uuid"]);
    }

    #[test]
    fn what_only_we_may_say_cannot_be_said_by_a_payload() {
        let naming = Naming {
            group_type: Some("company".into()),
            ..Naming::default()
        };
        let told = told(
            r#"{"$insert_id":"x","$groups":{"company":"other"}}"#,
            &naming,
        );
        assert_eq!(told["properties"]["$insert_id"], told["uuid"]);
        assert_eq!(told["properties"]["$groups"], json!({"company": "cust-1"}));
    }

    #[test]
    fn what_is_too_deep_stays_an_object_and_what_is_no_object_is_refused() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
        let told = told(&deep, &Naming::default());
        let name = ["a"; DEPTH_MAX + 1].join("__");
        assert!(told["properties"][&name].is_object());
        for bad in ["[1]", "7", "{", r#"{"a":1} x"#] {
            let mut out = b"before".to_vec();
            assert!(
                !write(&event(bad.as_bytes()), &Naming::default(), &mut out),
                "{bad}"
            );
            assert_eq!(out, b"before");
        }
    }
}
