//! Secrets that are recognised wherever they turn up: as they are, and in the forms that programs give what they pass on.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// What is shorter could be there by chance.
const FORM_LEN_MIN: usize = 16;

/// A secret that was planted.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) what: String,
    /// The part that only its owner knows.
    pub(super) text: String,
}

/// A fresh value that says what it is to whoever finds it.
pub(super) fn fresh(what: &str) -> String {
    let random = uuid::Uuid::new_v4().simple();
    format!("planted-{}-{random}", what.replace(' ', "-"))
}

/// Everything that was planted.
#[derive(Debug, Default)]
pub(super) struct Planted {
    secrets: Vec<Secret>,
}

impl Planted {
    /// Plants a fresh value, and returns it.
    pub(super) fn fresh(&mut self, what: &str) -> String {
        let value = fresh(what);
        self.add(what, &value);
        value
    }

    /// Adds a secret that somebody else made. What may be known of it is left out: a prefix, or the id in front.
    pub(super) fn add(&mut self, what: &str, text: &str) {
        let text = match text.strip_prefix("psh_") {
            Some(key) => key.split_once('_').map_or(key, |(_, secret)| secret),
            None => text.strip_prefix("whsec_").unwrap_or(text),
        };
        self.secrets.push(Secret {
            what: what.to_owned(),
            text: text.to_owned(),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// The texts that `text` may show: those of secrets that it has.
    pub(super) fn shown_in(&self, text: &str) -> Vec<String> {
        let secrets = self.secrets.iter().map(|secret| &secret.text);
        secrets
            .filter(|secret| text.contains(*secret))
            .cloned()
            .collect()
    }

    pub(super) fn needles(&self) -> anyhow::Result<Needles> {
        let mut needles = Vec::new();
        let mut names = Vec::new();
        for secret in &self.secrets {
            for (form, bytes) in forms(&secret.text) {
                names.push(Name {
                    what: secret.what.clone(),
                    form,
                    text: secret.text.clone(),
                });
                needles.push(bytes);
            }
        }
        Ok(Needles {
            automaton: AhoCorasick::new(&needles)?,
            names,
        })
    }
}

#[derive(Debug)]
struct Name {
    what: String,
    form: &'static str,
    text: String,
}

/// All forms of all secrets, looked for at once.
#[derive(Debug)]
pub(super) struct Needles {
    automaton: AhoCorasick,
    names: Vec<Name>,
}

/// A secret where none should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    pub(super) secret: String,
    pub(super) form: &'static str,
    pub(super) place: String,
}

impl Needles {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Looks through `bytes`. `shown` are texts of secrets that may be there, once shown to whom they are for.
    pub(super) fn search(
        &self,
        bytes: &[u8],
        place: &str,
        shown: &[String],
        findings: &mut Vec<Finding>,
    ) {
        for found in self.automaton.find_overlapping_iter(bytes) {
            let name = &self.names[found.pattern().as_usize()];
            if !shown.contains(&name.text) {
                findings.push(Finding {
                    secret: name.what.clone(),
                    form: name.form,
                    place: place.to_owned(),
                });
            }
        }
    }
}

/// A secret in every form, each once.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("as it is", text.as_bytes().to_vec())];
    let mut add = |form, bytes: Vec<u8>| {
        if bytes.len() >= FORM_LEN_MIN && forms.iter().all(|(_, known)| *known != bytes) {
            forms.push((form, bytes));
        }
    };
    let escaped = serde_json::Value::from(text).to_string();
    add("JSON", escaped.trim_matches('"').as_bytes().to_vec());
    let percent: String = text.bytes().map(percent).collect();
    add("percent-encoded", percent.into_bytes());
    // What base64 and hex encode may itself be what an encoding stands for.
    let mut values = vec![text.as_bytes().to_vec()];
    if let Ok(decoded) = STANDARD.decode(text) {
        add("what its base64 stands for", decoded.clone());
        values.push(decoded);
    }
    for value in values {
        add("hex", hex::encode(&value).into_bytes());
        add("hex", hex::encode_upper(&value).into_bytes());
        for before in 0..3 {
            let inner = base64_inside(&value, before);
            add(
                "base64",
                inner.replace('+', "-").replace('/', "_").into_bytes(),
            );
            add("base64", inner.into_bytes());
        }
    }
    forms
}

fn percent(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

/// The characters that `value` has in the base64 of something in which so many bytes stand before it, whatever they are
/// and whatever follows.
fn base64_inside(value: &[u8], before: usize) -> String {
    let padded = [&[0; 3][..before], value].concat();
    let encoded = STANDARD.encode(&padded);
    let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    encoded[first..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_at_every_place() {
        let mut planted = Planted::default();
        let secret = planted.fresh("token");
        let needles = planted.needles().unwrap();
        let found = |bytes: &[u8], shown: &[String]| {
            let mut findings = Vec::new();
            needles.search(bytes, "here", shown, &mut findings);
            !findings.is_empty()
        };
        for before in ["", "u:", "user:", "x"] {
            let whole = format!("{before}{secret}, and more");
            assert!(found(whole.as_bytes(), &[]));
            assert!(found(STANDARD.encode(&whole).as_bytes(), &[]), "{whole}");
            assert!(found(hex::encode(&whole).as_bytes(), &[]));
            assert!(!found(whole.as_bytes(), std::slice::from_ref(&secret)));
        }
        assert!(!found(b"nothing of the kind", &[]));
    }

    #[test]
    fn what_is_public_of_a_key_is_not_looked_for() {
        let mut planted = Planted::default();
        planted.add("api key", "psh_0a1b2c_secretsecretsecret");
        planted.add(
            "signing secret",
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        );
        let needles = planted.needles().unwrap();
        let mut findings = Vec::new();
        needles.search(b"psh_0a1b2c_ whsec_", "here", &[], &mut findings);
        assert_eq!(findings, []);
        needles.search(
            b"0123456789abcdef0123456789abcdef",
            "here",
            &[],
            &mut findings,
        );
        assert_eq!(findings.len(), 1);
    }
}
