//! JSON that is opened only where somebody looks.
//!
//! A [`Node`] is a stretch of the event's bytes. Asking for a member opens one object, which checks its syntax and notes
//! where each member lies; what nobody asks for stays text. So a number keeps its digits, a value that is passed on keeps
//! its bytes, and a filter on `payload.kind` costs one pass over the payload however large the rest is. What has been
//! opened is kept, so a hundred filters on one event open it once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Bytes that are not JSON, or a string that does not stand for text (a lone surrogate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// A value within a document.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    raw: &'a str,
    content: OnceCell<Result<Content<'a>, Invalid>>,
}

/// What a value is, one level deep.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Null,
    Bool(bool),
    /// The number's text.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// In their order. A name may occur twice; the last one counts.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The root of a document that must be an object. Looks at nothing but the first character.
    pub(crate) fn object(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let raw = std::str::from_utf8(bytes).map_err(|_| Invalid)?;
        let raw = raw.trim_matches([' ', '\n', '\r', '\t']);
        raw.starts_with('{').then(|| Node::new(raw)).ok_or(Invalid)
    }

    fn new(raw: &'a str) -> Self {
        Node {
            raw,
            content: OnceCell::new(),
        }
    }

    /// The value as it was published.
    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    pub(crate) fn content(&self) -> Result<&Content<'a>, Invalid> {
        let content = self.content.get_or_init(|| open(self.raw));
        content.as_ref().map_err(|invalid| *invalid)
    }

    /// The member of that name, or the element of that number; `None` where there is none.
    pub(crate) fn member(
        &self,
        name: &str,
        index: Option<usize>,
    ) -> Result<Option<&Self>, Invalid> {
        Ok(match self.content()? {
            Content::Object(members) => {
                let found = members.iter().rev().find(|(key, _)| key == name);
                found.map(|(_, node)| node)
            }
            Content::Array(elements) => index.and_then(|index| elements.get(index)),
            _ => None,
        })
    }
}

fn open(raw: &str) -> Result<Content<'_>, Invalid> {
    // Values inside a document that was opened are known to be well-formed, so the first character says what they are.
    match raw.as_bytes().first() {
        Some(b'{') => parse(raw).map(|Members(members)| Content::Object(members)),
        Some(b'[') => parse(raw).map(|Elements(elements)| Content::Array(elements)),
        Some(b'"') => parse(raw).map(|Text(text)| Content::String(text)),
        Some(b'n') => Ok(Content::Null),
        Some(b't') => Ok(Content::Bool(true)),
        Some(b'f') => Ok(Content::Bool(false)),
        Some(_) => Ok(Content::Number(raw)),
        None => Err(Invalid),
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T, Invalid> {
    serde_json::from_str(raw).map_err(|_| Invalid)
}

struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);
struct Elements<'a>(Vec<Node<'a>>);
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Text(name), value)) =
                    map.next_entry::<Text<'de>, &'de RawValue>()?
                {
                    members.push((name, Node::new(value.get())));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(value) = seq.next_element::<&'de RawValue>()? {
                    elements.push(Node::new(value.get()));
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Walk)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// Writes `text` as a JSON string.
pub(crate) fn put_string(text: &str, out: &mut Vec<u8>) {
    // A vector accepts everything, so there is no error to report.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_stays_text() {
        let root = Node::object(br#" {"a": {"b": [1, 12345678901234567890.50]}, "c": "x\u00e9"} "#);
        let root = root.unwrap();
        let a = root.member("a", None).unwrap().unwrap();
        assert!(a.content.get().is_none(), "not opened yet");
        let b = a.member("b", None).unwrap().unwrap();
        let number = b.member("1", Some(1)).unwrap().unwrap();
        assert_eq!(number.raw(), "12345678901234567890.50");
        let c = root.member("c", None).unwrap().unwrap();
        assert!(matches!(c.content(), Ok(Content::String(text)) if text == "xé"));
    }

    #[test]
    fn the_last_of_two_members_with_one_name_counts() {
        let root = Node::object(br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(root.member("a", None).unwrap().unwrap().raw(), "2");
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for bad in [
            &b""[..],
            b"null",
            b"[1]",
            b"\xff{}",
            b"{",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":1}x",
            b"{\"a\":01}",
            b"{\"\\ud800\":1}",
        ] {
            let opened = Node::object(bad).and_then(|root| root.member("a", None).map(|_| ()));
            assert_eq!(opened, Err(Invalid), "{:?}", String::from_utf8_lossy(bad));
        }
        let lone = Node::object(br#"{"a":"\ud800"}"#).unwrap();
        let lone = lone.member("a", None).unwrap().unwrap();
        assert!(lone.content().is_err());
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let root = Node::object(deep.as_bytes()).unwrap();
        assert!(root.member("a", None).unwrap().is_some());
    }
}
