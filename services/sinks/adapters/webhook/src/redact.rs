//! Keeps credentials that were sent out of what is kept of an answer.
//!
//! Endpoints that people debug with answer with the request that they got, and gateways quote the header that they refuse.
//! What is kept of an answer goes to the audit topic, so whatever of it is a credential of the request is blotted out: in
//! full, as the parts that it is made of, decoded where it was encoded, and cut off at the end of the excerpt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use memchr::memmem;
use zeroize::Zeroizing;

use crate::headers::Fixed;

/// What stands in the place of a credential. No longer than the shortest, so that nothing grows.
const BLOT: &str = "***";
/// What is shorter is in every text, and no secret.
const LEN_MIN: usize = 4;
/// A word of a header's value is looked for by itself from this length on: `Bearer` and `Token` are not.
const WORD_LEN_MIN: usize = 8;

/// The credentials that every request carries, the longest first: one may be part of another.
pub(crate) struct Sent(Box<[Zeroizing<String>]>);

impl Sent {
    pub(crate) fn new(fixed: &Fixed) -> Self {
        let mut found = Vec::new();
        let sensitive = fixed.iter().filter(|(_, value)| value.is_sensitive());
        sensitive.for_each(|(_, value)| credentials(value, &mut found));
        Sent(found.into())
    }

    /// Blots out what was sent, `token` too, of an answer's `headers` and the start of its body.
    pub(crate) fn redact(
        &self,
        token: Option<&HeaderValue>,
        headers: &mut Box<str>,
        excerpt: &mut Vec<u8>,
    ) {
        let mut fresh = Vec::new();
        if let Some(token) = token {
            credentials(token, &mut fresh);
        }
        for credential in self.0.iter().chain(&fresh) {
            if memmem::find(headers.as_bytes(), credential.as_bytes()).is_some() {
                *headers = headers.replace(credential.as_str(), BLOT).into();
            }
            blot(excerpt, credential.as_bytes());
        }
    }
}

/// Everything that gives `value` away.
fn credentials(value: &HeaderValue, found: &mut Vec<Zeroizing<String>>) {
    // What the configuration can set is visible ASCII.
    let Ok(whole) = value.to_str() else {
        return;
    };
    let mut add = |text: &str, len_min: usize| {
        let known = |known: &Zeroizing<String>| known.as_str() == text;
        if text.len() >= len_min && !found.iter().any(known) {
            found.push(Zeroizing::new(text.to_owned()));
        }
    };
    add(whole, LEN_MIN);
    for word in whole.split_ascii_whitespace() {
        add(word, WORD_LEN_MIN);
    }
    if let Some(encoded) = whole.strip_prefix("Basic ")
        && let Ok(pair) = STANDARD.decode(encoded).map(Zeroizing::new)
        && let Some((_, password)) = std::str::from_utf8(&pair)
            .ok()
            .and_then(|p| p.split_once(':'))
    {
        add(password, LEN_MIN);
        // As a body of JSON has it.
        let escaped = Zeroizing::new(serde_json::Value::from(password).to_string());
        add(escaped.trim_matches('"'), LEN_MIN);
    }
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
}

fn blot(bytes: &mut Vec<u8>, credential: &[u8]) {
    let mut from = 0;
    while let Some(at) = memmem::find(&bytes[from..], credential) {
        let at = from + at;
        bytes.splice(at..at + credential.len(), BLOT.bytes());
        from = at + BLOT.len();
    }
    // One that the end of the excerpt cuts in two.
    let longest = (credential.len() - 1).min(bytes.len());
    let cut = (LEN_MIN..=longest).rev();
    if let Some(len) = cut
        .into_iter()
        .find(|len| bytes.ends_with(&credential[..*len]))
    {
        let end = bytes.len() - len;
        bytes.truncate(end);
        bytes.extend_from_slice(BLOT.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::check::{basic, bearer};

    fn redacted(sent: &[HeaderValue], token: Option<&str>, text: &str) -> (String, String) {
        let fixed: Fixed = sent
            .iter()
            .map(|value| (AUTHORIZATION, value.clone()))
            .chain([(
                HeaderName::from_static("x-plain"),
                HeaderValue::from_static("in the clear"),
            )])
            .collect();
        let (mut headers, mut excerpt) = (text.into(), text.as_bytes().to_vec());
        let token = token.and_then(bearer);
        Sent::new(&fixed).redact(token.as_ref(), &mut headers, &mut excerpt);
        (headers.into(), String::from_utf8(excerpt).unwrap())
    }

    #[test]
    fn a_credential_that_a_receiver_sends_back_is_not_kept() {
        let token = bearer("s3cret-bearer-token").unwrap();
        let mut custom = HeaderValue::from_static("Token s3cret-custom");
        custom.set_sensitive(true);
        let all = [token, basic("user", "s3cret\"word"), custom];
        let encoded = STANDARD.encode("user:s3cret\"word");
        for echo in [
            "you sent Bearer s3cret-bearer-token".to_owned(),
            "s3cret-bearer-token is not valid, s3cret-bearer-token".to_owned(),
            format!("Authorization: Basic {encoded}"),
            "user:s3cret\"word".to_owned(),
            r#"{"password": "s3cret\"word"}"#.to_owned(),
            "custom=s3cret-custom&x=1".to_owned(),
            "oauth s3cret-access".to_owned(),
            "at the end, s3cret-bear".to_owned(),
        ] {
            let (headers, excerpt) = redacted(&all, Some("s3cret-access"), &echo);
            let kept = [headers, excerpt];
            // Header values are kept whole or not at all, so nothing is cut there.
            let kept = &kept[usize::from(echo.starts_with("at the end"))..];
            for text in kept {
                assert!(text.contains(BLOT), "{text}");
                assert!(
                    !text.contains("s3cret") && !text.contains(&encoded),
                    "{text}"
                );
            }
        }
        let plain = "in the clear, Bearer and Token and user, s3c";
        assert_eq!(redacted(&all, None, plain), (plain.into(), plain.into()));
    }

    #[test]
    fn nothing_grows_by_being_redacted() {
        let mut short = HeaderValue::from_static("abcd");
        short.set_sensitive(true);
        let (_, excerpt) = redacted(&[short], None, &"abcd".repeat(256));
        assert_eq!(excerpt, BLOT.repeat(256));
    }
}
