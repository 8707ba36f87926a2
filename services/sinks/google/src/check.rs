//! From what a customer entered to what a token is asked with, or to what is wrong with it. Pure.

use pushrail_egress::{Rules, Target};
use pushrail_sink_core::{FieldError, Secret};
use serde::Deserialize;

use crate::config::{Authentication, Secrets};
use crate::jwt::SigningKey;

/// Google's own token endpoints, as key files have named them over the years. A key file that names another one would have us
/// sign for whoever is there.
const TOKEN_URIS: [&str; 3] = [
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
];
const KEY_FILE_LEN_MAX: usize = 16 * 1024;

/// How we are let in.
#[derive(Clone)]
pub enum Access {
    Key(Key),
    Federation {
        /// `//iam.googleapis.com/projects/…`
        audience: Box<str>,
        service_account: Option<Box<str>>,
    },
}

impl Access {
    /// The service account that calls are made as, where there is one.
    pub fn email(&self) -> Option<&str> {
        match self {
            Access::Key(key) => Some(&key.email),
            Access::Federation {
                service_account, ..
            } => service_account.as_deref(),
        }
    }
}

/// A service account's key.
#[derive(Clone)]
pub struct Key {
    pub(crate) email: Box<str>,
    pub(crate) key_id: Box<str>,
    /// In PEM.
    pub(crate) private_key: Secret,
    pub(crate) token_uri: Box<str>,
}

/// What a key file has and we need.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(default, rename = "type")]
    kind: Box<str>,
    #[serde(default)]
    client_email: Box<str>,
    #[serde(default)]
    private_key_id: Box<str>,
    #[serde(default)]
    private_key: Box<str>,
    #[serde(default)]
    token_uri: Box<str>,
}

/// Holds identity or key to the rules, and each secret to being used.
pub fn access(
    authentication: &Authentication,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Access> {
    let secret = secrets.service_account_key.as_ref();
    match authentication {
        Authentication::WorkloadIdentity {
            provider,
            service_account,
        } => {
            let before = errors.len();
            let mut wrong = |field: &str, message: &str| {
                errors.push(FieldError::new(field, message));
            };
            if secret.is_some() {
                wrong(
                    "secrets.serviceAccountKey",
                    "is not used with Workload Identity Federation; remove it",
                );
            }
            let name = provider_name(provider);
            if name.is_none() {
                wrong(
                    "config.authentication.provider",
                    "must be a provider's resource name, such as projects/123456789012/locations/global/\
                     workloadIdentityPools/pushrail/providers/pushrail",
                );
            }
            if let Some(email) = service_account
                && !is_service_account(email)
            {
                wrong(
                    "config.authentication.serviceAccount",
                    "must be a service account's address, such as pushrail@my-project.iam.gserviceaccount.com",
                );
            }
            (errors.len() == before).then(|| Access::Federation {
                audience: format!("//iam.googleapis.com/{}", name.unwrap_or_default()).into(),
                service_account: service_account.clone(),
            })
        }
        Authentication::ServiceAccount {} => {
            let key = match secret {
                None => Err("is needed: the JSON key file of the service account".to_owned()),
                Some(secret) => key(secret, rules),
            };
            key.map_err(|message| {
                errors.push(FieldError::new("secrets.serviceAccountKey", message))
            })
            .ok()
            .map(Access::Key)
        }
    }
}

/// The resource name of a provider, with or without the service before it.
fn provider_name(text: &str) -> Option<&str> {
    let name = text.trim_start_matches("https:");
    let name = name.strip_prefix("//iam.googleapis.com/").unwrap_or(name);
    let parts: Vec<_> = name.split('/').collect();
    let &[
        "projects",
        project,
        "locations",
        "global",
        "workloadIdentityPools",
        pool,
        "providers",
        provider,
    ] = &parts[..]
    else {
        return None;
    };
    let is_id = |text: &str| {
        (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_number = !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
    (is_number && is_id(pool) && is_id(provider)).then_some(name)
}

/// It becomes part of a path.
fn is_service_account(email: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let Some((user, host)) = email.split_once('@') else {
        return false;
    };
    email.len() <= 256
        && !user.is_empty()
        && user.bytes().all(plain)
        && host.bytes().all(plain)
        && host.ends_with(".gserviceaccount.com")
}

/// Reads a key file. No message has anything of it.
fn key(secret: &Secret, rules: &Rules) -> Result<Key, String> {
    let text = secret.expose();
    if text.len() > KEY_FILE_LEN_MAX {
        return Err(format!("must have at most {KEY_FILE_LEN_MAX} bytes"));
    }
    let file: KeyFile = serde_json::from_str(text).map_err(|_| {
        "must be the whole JSON key file of a service account, which begins with {".to_owned()
    })?;
    if &*file.kind != "service_account" {
        return Err(
            "must be the key file of a service account (\"type\": \"service_account\")".into(),
        );
    }
    let is_ours = rules.allow_plaintext
        && Target::parse(&file.token_uri, &rules.guard, rules.allow_plaintext).is_ok();
    if !TOKEN_URIS.contains(&&*file.token_uri) && !is_ours {
        return Err(format!("must have Google's token_uri: {}", TOKEN_URIS[0]));
    }
    if !is_service_account(&file.client_email) {
        return Err("must have the service account's address as client_email".into());
    }
    let is_id = |b: u8| b.is_ascii_alphanumeric();
    if file.private_key_id.len() > 128 || !file.private_key_id.bytes().all(is_id) {
        return Err("must have the key's id as private_key_id".into());
    }
    SigningKey::from_pem(&file.private_key)
        .map_err(|_| "must have an RSA key in PEM as private_key".to_owned())?;
    Ok(Key {
        email: file.client_email,
        key_id: file.private_key_id,
        private_key: Secret::new(&*file.private_key),
        token_uri: file.token_uri,
    })
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::tests::pem;

    fn told(authentication: Authentication, secrets: Secrets, context: &Context) -> String {
        let mut errors = Vec::new();
        let access = access(&authentication, &secrets, &Rules::new(context), &mut errors);
        assert_eq!(access.is_some(), errors.is_empty());
        let told = errors.iter().map(|e| format!("{}: {}", e.field, e.message));
        told.collect::<Vec<_>>().join("\n")
    }

    fn with_key(change: impl FnOnce(&mut Value)) -> Secrets {
        let mut file = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "0123abc",
            "private_key": pem(), "client_email": "pushrail@p.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        change(&mut file);
        Secrets {
            service_account_key: Some(Secret::new(file.to_string())),
        }
    }

    #[test]
    fn each_mistake_about_a_key_file_is_named_and_nothing_of_it_shown() {
        let table: Vec<(Secrets, &str)> = vec![
            (with_key(|_| {}), ""),
            (Secrets::default(), "is needed"),
            (
                Secrets {
                    service_account_key: Some(Secret::new("s3cret, no JSON")),
                },
                "whole JSON key file",
            ),
            (
                with_key(|f| f["type"] = json!("s3cret_user")),
                "service_account",
            ),
            (
                with_key(|f| f["token_uri"] = json!("https://s3cret.example/token")),
                "Google's token_uri",
            ),
            (
                with_key(|f| f["token_uri"] = json!("http://127.0.0.1:1/token")),
                "Google's token_uri",
            ),
            (
                with_key(|f| f["private_key"] = json!("s3cret")),
                "private_key",
            ),
            (
                with_key(|f| f["client_email"] = json!("s3cret")),
                "client_email",
            ),
            (
                with_key(|f| f["client_email"] = json!("a/../b@p.iam.gserviceaccount.com")),
                "client_email",
            ),
        ];
        for (secrets, expected) in table {
            let told = told(
                Authentication::ServiceAccount {},
                secrets,
                &Context::default(),
            );
            assert_eq!(told.is_empty(), expected.is_empty(), "{told}");
            assert!(
                told.contains(expected) && !told.contains("s3cret"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_token_endpoint_of_ones_own_is_for_those_whose_operator_allows_plaintext() {
        let context = Context {
            allowed_networks: vec!["127.0.0.0/8".into()],
            allow_plaintext: true,
        };
        let local = with_key(|f| f["token_uri"] = json!("http://127.0.0.1:1/token"));
        assert_eq!(told(Authentication::ServiceAccount {}, local, &context), "");
        let blocked = with_key(|f| f["token_uri"] = json!("http://10.0.0.1/token"));
        let told = told(Authentication::ServiceAccount {}, blocked, &context);
        assert!(told.contains("token_uri"), "{told}");
    }

    #[test]
    fn each_mistake_about_a_pool_names_its_field() {
        let good = "projects/123/locations/global/workloadIdentityPools/pool/providers/pushrail";
        let of = |provider: &str, account: Option<&str>| Authentication::WorkloadIdentity {
            provider: provider.into(),
            service_account: account.map(Into::into),
        };
        let long = format!("//iam.googleapis.com/{good}");
        let url = format!("https://iam.googleapis.com/{good}");
        let account = Some("pushrail@p.iam.gserviceaccount.com");
        let table = [
            (of(good, None), ""),
            (of(&long, account), ""),
            (of(&url, account), ""),
            (
                of(
                    "projects/name/locations/global/workloadIdentityPools/a/providers/b",
                    None,
                ),
                "provider",
            ),
            (
                of(
                    "projects/1/locations/eu/workloadIdentityPools/a/providers/b",
                    None,
                ),
                "provider",
            ),
            (
                of(
                    "projects/1/locations/global/workloadIdentityPools/a/providers/b/c",
                    None,
                ),
                "provider",
            ),
            (
                of(
                    "projects/1/locations/global/workloadIdentityPools/../providers/b",
                    None,
                ),
                "provider",
            ),
            (of(good, Some("someone@example.com")), "serviceAccount"),
            (
                of(good, Some("a?b@p.iam.gserviceaccount.com")),
                "serviceAccount",
            ),
        ];
        for (authentication, expected) in table {
            let told = told(authentication, Secrets::default(), &Context::default());
            assert_eq!(told.is_empty(), expected.is_empty(), "{told}");
            assert!(told.contains(expected), "{told}");
        }
        let told = told(of(good, None), with_key(|_| {}), &Context::default());
        assert!(
            told.contains("secrets.serviceAccountKey: is not used"),
            "{told}"
        );
    }
}
