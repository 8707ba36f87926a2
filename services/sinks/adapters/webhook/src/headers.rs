//! Custom headers: which names a customer may set, and which are ours or the protocol's.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};
use pushrail_sink_core::{FieldError, Secret};

/// Most custom headers, clear and secret together.
const COUNT_MAX: usize = 32;
/// Longest value, in bytes.
const VALUE_LEN_MAX: usize = 4096;

/// Names that the protocol or Pushrail sets itself.
const RESERVED: [&str; 19] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "x-pushrail-", "x-forwarded-"];
/// Names whose values are credentials, so that they may only be set where values are kept secret.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
];

pub(crate) type Fixed = Vec<(HeaderName, HeaderValue)>;

/// Turns the custom headers into ones that can be sent, and says everything that is wrong with them.
pub(crate) fn parse(
    clear: &BTreeMap<Box<str>, Box<str>>,
    secret: &BTreeMap<Box<str>, Secret>,
    authenticates: bool,
    errors: &mut Vec<FieldError>,
) -> Fixed {
    let mut fixed = Fixed::new();
    if clear.len() + secret.len() > COUNT_MAX {
        let message = format!("must have at most {COUNT_MAX} entries, secret ones included");
        errors.push(FieldError::new("config.headers", message));
        return fixed;
    }
    let clear = clear.iter().map(|(name, value)| ("config", name, &**value));
    let secret = secret
        .iter()
        .map(|(name, value)| ("secrets", name, value.expose()));
    for (part, name, value) in clear.chain(secret) {
        match one(part, name, value, authenticates, &fixed) {
            Ok(header) => fixed.push(header),
            Err(message) => errors.push(FieldError::new(format!("{part}.headers.{name}"), message)),
        }
    }
    fixed
}

fn one(
    part: &str,
    name: &str,
    value: &str,
    authenticates: bool,
    before: &Fixed,
) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::try_from(name)
        .map_err(|_| "is not a valid header name: use letters, digits and hyphens".to_owned())?;
    let text = name.as_str();
    if RESERVED.contains(&text) || RESERVED_PREFIXES.iter().any(|p| text.starts_with(p)) {
        return Err("is set by Pushrail or by HTTP itself and cannot be overridden".to_owned());
    }
    if name == header::AUTHORIZATION && authenticates {
        return Err("is set by `config.authentication`; use one of the two".to_owned());
    }
    if part == "config" && CREDENTIALS.contains(&text) {
        return Err("carries a credential; put it into `secrets.headers`".to_owned());
    }
    if before.iter().any(|(other, _)| *other == name) {
        return Err("is given twice (names ignore case)".to_owned());
    }
    if value.len() > VALUE_LEN_MAX {
        return Err(format!(
            "must have a value of at most {VALUE_LEN_MAX} bytes"
        ));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "must have a value of visible ASCII characters and spaces".to_owned())?;
    value.set_sensitive(part == "secrets");
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(
        clear: &[(&str, &str)],
        secret: &[(&str, &str)],
        authenticates: bool,
    ) -> Vec<FieldError> {
        let clear = clear
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        let secret = secret
            .iter()
            .map(|(n, v)| ((*n).into(), Secret::new(*v)))
            .collect();
        let mut errors = Vec::new();
        parse(&clear, &secret, authenticates, &mut errors);
        errors
    }

    #[test]
    fn no_custom_header_overrides_the_signature_or_the_framing() {
        for name in RESERVED
            .iter()
            .copied()
            .chain(["Webhook-Id", "X-Pushrail-Signature", "HOST"])
        {
            for (clear, secret) in [(vec![(name, "x")], vec![]), (vec![], vec![(name, "x")])] {
                let errors = problems(&clear, &secret, false);
                assert_eq!(errors.len(), 1, "{name}");
                assert!(errors[0].message.contains("cannot be overridden"), "{name}");
            }
        }
    }

    #[test]
    fn a_credential_in_the_clear_half_is_refused() {
        let errors = problems(
            &[("Authorization", "Bearer x"), ("x-api-key", "k")],
            &[],
            false,
        );
        assert!(errors.iter().all(|e| e.message.contains("secrets.headers")));
        assert_eq!(errors.len(), 2);
        assert!(
            problems(
                &[],
                &[("Authorization", "Token x"), ("x-api-key", "k")],
                false
            )
            .is_empty()
        );
        assert_eq!(problems(&[], &[("authorization", "x")], true).len(), 1);
    }

    #[test]
    fn a_secret_value_is_never_quoted() {
        let errors = problems(&[], &[("X-Key", "line\nbreak-s3cret")], false);
        assert_eq!(errors[0].field, "secrets.headers.X-Key");
        assert!(!errors[0].message.contains("s3cret"));
    }

    #[test]
    fn duplicates_bad_names_and_floods_are_refused() {
        assert_eq!(problems(&[("X-A", "1"), ("x-a", "2")], &[], false).len(), 1);
        assert_eq!(problems(&[("X-A", "1")], &[("x-a", "2")], false).len(), 1);
        assert_eq!(
            problems(
                &[("X A", "1"), ("", "1"), ("X-B", "\r\nHost: x")],
                &[],
                false
            )
            .len(),
            3
        );
        let long = "x".repeat(VALUE_LEN_MAX + 1);
        assert_eq!(problems(&[("X-A", &long)], &[], false).len(), 1);
        let names: Vec<_> = (0..=COUNT_MAX).map(|n| format!("x-{n}")).collect();
        let many: Vec<_> = names.iter().map(|n| (n.as_str(), "1")).collect();
        assert_eq!(problems(&many, &[], false).len(), 1);
    }
}
