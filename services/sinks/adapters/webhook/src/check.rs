//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.
//!
//! Checking and connecting take the same path, so what passes the check is what connects.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use pushrail_egress::{Extra, Rules, TLS, Target};
use pushrail_sink_core::{FieldError, Secret};
use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::config::{Authentication, Config, OAuth2, Secrets};
use crate::headers::{self, Fixed};
use crate::oauth::Grant;
use crate::sign::{self, Signer};

/// Most secrets that are being replaced at the same time.
const PREVIOUS_SECRETS_MAX: usize = 4;

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Headers that are the same on every request; the host first.
    pub(crate) fixed: Fixed,
    pub(crate) signer: Signer,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) grant: Option<Box<Grant>>,
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let target = target("config.url", &config.url, rules, &mut errors);
    let signer = signer(secrets, &mut errors);
    let (authorization, grant) = authentication(config, secrets, rules, &mut errors);
    unused(config, secrets, &mut errors);
    let authenticates = !matches!(config.authentication, Authentication::None {});
    let custom = headers::parse(
        &config.headers,
        &secrets.headers,
        authenticates,
        &mut errors,
    );
    let tls = tls(config, secrets, target.as_ref(), &mut errors);
    match (target, tls) {
        (Some(target), Some(tls)) if errors.is_empty() => {
            let mut fixed = vec![(header::HOST, target.host_header.clone())];
            fixed.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
            fixed.extend(custom);
            Ok(Plan {
                target,
                fixed,
                signer,
                tls,
                grant,
            })
        }
        _ => Err(errors),
    }
}

fn target(field: &str, url: &str, rules: &Rules, errors: &mut Vec<FieldError>) -> Option<Target> {
    Target::parse(url, &rules.guard, rules.allow_plaintext)
        .map_err(|message| errors.push(FieldError::new(field, message)))
        .ok()
}

fn signer(secrets: &Secrets, errors: &mut Vec<FieldError>) -> Signer {
    let previous = &secrets.previous_signing_secrets;
    if previous.len() > PREVIOUS_SECRETS_MAX {
        errors.push(FieldError::new(
            "secrets.previousSigningSecrets",
            format!("must have at most {PREVIOUS_SECRETS_MAX} entries; remove the oldest"),
        ));
    }
    let mut keys = Vec::new();
    let named = std::iter::once(("secrets.signingSecret".to_owned(), &secrets.signing_secret));
    let older = previous.iter().enumerate();
    let older = older.map(|(n, s)| (format!("secrets.previousSigningSecrets[{n}]"), s));
    for (field, secret) in named.chain(older) {
        match sign::parse_secret(secret) {
            Ok(key) => keys.push(key),
            Err(message) => errors.push(FieldError::new(field, message)),
        }
    }
    Signer::new(keys)
}

type Authorization = (Option<HeaderValue>, Option<Box<Grant>>);

fn authentication(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Authorization {
    match &config.authentication {
        Authentication::None {} => (None, None),
        Authentication::Basic { username } => {
            if username.contains(|c: char| c == ':' || c.is_control()) {
                let message = "must not contain a colon or control characters";
                errors.push(FieldError::new("config.authentication.username", message));
            }
            let password = required("password", &secrets.password, errors);
            (
                password.map(|password| basic(username, password.expose())),
                None,
            )
        }
        Authentication::Bearer {} => {
            let token = required("bearerToken", &secrets.bearer_token, errors);
            let value = token.map(|token| bearer(token.expose()));
            if let Some(None) = value {
                let message = "must be visible ASCII characters without line breaks";
                errors.push(FieldError::new("secrets.bearerToken", message));
            }
            (value.flatten(), None)
        }
        Authentication::Oauth2(oauth) => (None, grant(oauth, secrets, rules, errors)),
    }
}

fn grant(
    oauth: &OAuth2,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Box<Grant>> {
    let field = "config.authentication.tokenUrl";
    let target = target(field, &oauth.token_url, rules, errors);
    if oauth.client_id.is_empty() {
        let message = "must not be empty";
        errors.push(FieldError::new("config.authentication.clientId", message));
    }
    let secret = required("clientSecret", &secrets.client_secret, errors)?;
    Some(Box::new(Grant::new(target?, oauth, secret)))
}

fn required<'a>(
    name: &str,
    secret: &'a Option<Secret>,
    errors: &mut Vec<FieldError>,
) -> Option<&'a Secret> {
    let found = secret.as_ref().filter(|secret| !secret.expose().is_empty());
    if found.is_none() {
        let message = "is needed for this kind of authentication";
        errors.push(FieldError::new(format!("secrets.{name}"), message));
    }
    found
}

/// A credential that would never be sent is a mistake that looks like a protected endpoint.
fn unused(config: &Config, secrets: &Secrets, errors: &mut Vec<FieldError>) {
    let chosen = &config.authentication;
    let table = [
        (
            "password",
            &secrets.password,
            "basic",
            matches!(chosen, Authentication::Basic { .. }),
        ),
        (
            "bearerToken",
            &secrets.bearer_token,
            "bearer",
            matches!(chosen, Authentication::Bearer {}),
        ),
        (
            "clientSecret",
            &secrets.client_secret,
            "oauth2",
            matches!(chosen, Authentication::Oauth2(_)),
        ),
    ];
    for (name, secret, kind, used) in table {
        if secret.is_some() && !used {
            let message =
                format!("is not used; set `config.authentication.type` to {kind} or remove it");
            errors.push(FieldError::new(format!("secrets.{name}"), message));
        }
    }
}

fn tls(
    config: &Config,
    secrets: &Secrets,
    target: Option<&Target>,
    errors: &mut Vec<FieldError>,
) -> Option<Arc<ClientConfig>> {
    let extra = Extra {
        ca_certificates: config.ca_certificates.as_deref(),
        client_certificate: config.client_certificate.as_deref(),
        client_key: secrets.client_key.as_ref(),
    };
    if target.is_some_and(|target| target.server_name.is_none()) && !extra.is_empty() {
        let message = "must begin with https:// for certificates to be used";
        errors.push(FieldError::new("config.url", message));
    }
    TLS.settings(extra)
        .map_err(|mut found| errors.append(&mut found))
        .ok()
}

/// `Authorization: Basic`, marked as sensitive. Base64 is always a valid header value.
pub(crate) fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

/// `Authorization: Bearer`, marked as sensitive; `None` when the token cannot stand in a header.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn problems(config: Value, secrets: Value) -> Vec<String> {
        let config: Config = serde_json::from_value(config).unwrap();
        let secrets: Secrets = serde_json::from_value(secrets).unwrap();
        let rules = Rules::new(&Context::default());
        match plan(&config, &secrets, &rules) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .into_iter()
                .map(|e| format!("{}: {}", e.field, e.message))
                .collect(),
        }
    }

    #[test]
    fn each_mistake_names_its_field_and_the_way_out() {
        let url = "https://example.com/hook";
        let table = [
            (
                json!({"url": "http://example.com"}),
                json!({"signingSecret": SECRET}),
                "config.url: must begin with https://",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": "s3cret"}),
                "secrets.signingSecret: must be whsec_",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "previousSigningSecrets": [SECRET, "x"]}),
                "secrets.previousSigningSecrets[1]: must be whsec_",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "previousSigningSecrets": [SECRET, SECRET, SECRET, SECRET, SECRET]}),
                "at most 4",
            ),
            (
                json!({"url": url, "authentication": {"type": "basic", "username": "u"}}),
                json!({"signingSecret": SECRET}),
                "secrets.password: is needed",
            ),
            (
                json!({"url": url, "authentication": {"type": "basic", "username": "u:v"}}),
                json!({"signingSecret": SECRET, "password": "p"}),
                "config.authentication.username: must not contain a colon",
            ),
            (
                json!({"url": url, "authentication": {"type": "bearer"}}),
                json!({"signingSecret": SECRET}),
                "secrets.bearerToken: is needed",
            ),
            (
                json!({"url": url, "authentication": {"type": "bearer"}}),
                json!({"signingSecret": SECRET, "bearerToken": "a\nb"}),
                "secrets.bearerToken: must be visible ASCII",
            ),
            (
                json!({"url": url, "authentication": {"type": "oauth2", "tokenUrl": "https://127.0.0.1/t", "clientId": "c"}}),
                json!({"signingSecret": SECRET, "clientSecret": "s"}),
                "config.authentication.tokenUrl: 127.0.0.1 is loopback",
            ),
            (
                json!({"url": url, "authentication": {"type": "oauth2", "tokenUrl": "https://example.com/t", "clientId": ""}}),
                json!({"signingSecret": SECRET}),
                "config.authentication.clientId: must not be empty",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "bearerToken": "t"}),
                "secrets.bearerToken: is not used",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "password": "t"}),
                "secrets.password: is not used",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "clientSecret": "t"}),
                "secrets.clientSecret: is not used",
            ),
            (
                json!({"url": url, "headers": {"Host": "x"}}),
                json!({"signingSecret": SECRET}),
                "config.headers.Host: is set by Pushrail",
            ),
            (
                json!({"url": url, "caCertificates": "nonsense"}),
                json!({"signingSecret": SECRET}),
                "config.caCertificates: must be one or more certificates",
            ),
            (
                json!({"url": url, "clientCertificate": "nonsense"}),
                json!({"signingSecret": SECRET}),
                "secrets.clientKey: is needed",
            ),
            (
                json!({"url": url}),
                json!({"signingSecret": SECRET, "clientKey": "nonsense"}),
                "config.clientCertificate: is needed",
            ),
        ];
        for (config, secrets, expected) in table {
            let found = problems(config.clone(), secrets);
            assert!(
                found.iter().any(|p| p.contains(expected)),
                "{config}: {found:?}"
            );
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_secret_is_quoted() {
        let found = problems(
            json!({"url": "https://10.0.0.1/", "headers": {"te": "x"}, "authentication": {"type": "bearer"}}),
            json!({"signingSecret": "hunter2-hunter2", "password": "hunter2", "headers": {"x-a": "hunter2\n"}}),
        );
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(
            found.iter().all(|problem| !problem.contains("hunter2")),
            "{found:?}"
        );
    }
}
