//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.
//!
//! Checking and connecting take the same path, so what passes the check is what connects.

use pushrail_aws::{Access, Place, Secrets};
use pushrail_egress::Rules;
use pushrail_sink_core::FieldError;

use crate::config::{Config, Encryption, Format};

const PREFIX_LEN_MAX: usize = 512;

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) bucket: Box<str>,
    /// Empty, or ends with a slash.
    pub(crate) prefix: Box<str>,
    pub(crate) place: Place,
    pub(crate) path_style: bool,
    pub(crate) access: Access,
    pub(crate) format: Format,
    pub(crate) encryption: Encryption,
    pub(crate) skip_existing: bool,
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    if !is_bucket(&config.bucket) {
        let message =
            "must be a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens";
        errors.push(FieldError::new("config.bucket", message));
    }
    let prefix = prefix(&config.prefix, &mut errors);
    if let Encryption::SseKms { key_id: Some(key) } = &config.encryption {
        let is_key = |b: u8| b.is_ascii_alphanumeric() || b":/_-".contains(&b);
        if key.is_empty() || key.len() > 2048 || !key.bytes().all(is_key) {
            let message = "must be the id or the ARN of a key in KMS";
            errors.push(FieldError::new("config.encryption.keyId", message));
        }
    }
    let endpoint = config.endpoint.as_deref();
    let place = pushrail_aws::place(&config.region, endpoint, rules, &mut errors);
    let access = pushrail_aws::access(&config.authentication, secrets, &mut errors);
    match (place, access) {
        (Some(place), Some(access)) if errors.is_empty() => Ok(Plan {
            bucket: config.bucket.clone(),
            prefix,
            path_style: config.path_style.unwrap_or(place.endpoint.is_some()),
            place,
            access,
            format: config.format,
            encryption: config.encryption.clone(),
            skip_existing: config.skip_existing,
        }),
        _ => Err(errors),
    }
}

/// AWS's rules for the names of buckets; the name may become a part of a host name.
fn is_bucket(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    let is_address = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && !name.contains("..")
        && !is_address
}

fn prefix(text: &str, errors: &mut Vec<FieldError>) -> Box<str> {
    let trimmed = text.trim_matches('/');
    // Characters that S3 calls safe, and `=` for partitions.
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()=/".contains(&b);
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let message = if text.len() > PREFIX_LEN_MAX {
        "must have at most 512 characters"
    } else if !trimmed.bytes().all(safe) {
        "must have letters, digits and the characters - _ . = / only"
    } else if !trimmed.is_empty() && trimmed.split('/').any(odd) {
        "must not have an empty part, nor one of dots"
    } else if trimmed.is_empty() {
        return "".into();
    } else {
        return format!("{trimmed}/").into();
    };
    errors.push(FieldError::new("config.prefix", message));
    "".into()
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;
    use serde_json::{Value, json};

    use super::*;

    fn checked(changes: Value) -> Result<Plan, String> {
        let mut config = json!({
            "bucket": "acme-events", "region": "eu-central-1",
            "authentication": {"type": "access_key", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"},
        });
        let fields = config.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        let config = serde_json::from_value(config).unwrap();
        let secrets = json!({"secretAccessKey": "hunter2hunter2"});
        let secrets = serde_json::from_value(secrets).unwrap();
        let rules = Rules::new(&Context::default());
        plan(&config, &secrets, &rules).map_err(|errors| {
            let told = |e: &FieldError| format!("{}: {}", e.field, e.message);
            errors.iter().map(told).collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn each_mistake_names_its_field() {
        let table = [
            (json!({}), ""),
            (json!({"bucket": "Acme"}), "config.bucket"),
            (json!({"bucket": "a"}), "config.bucket"),
            (json!({"bucket": "127.0.0.1"}), "config.bucket"),
            (json!({"bucket": "a..b"}), "config.bucket"),
            (json!({"bucket": "a/b"}), "config.bucket"),
            (json!({"bucket": "evil.example#"}), "config.bucket"),
            (json!({"prefix": "a/../b"}), "config.prefix"),
            (json!({"prefix": "a//b"}), "config.prefix"),
            (json!({"prefix": "a b"}), "config.prefix"),
            (json!({"prefix": "x".repeat(513)}), "config.prefix"),
            (json!({"region": "moon"}), ""),
            (json!({"region": "a.b"}), "config.region"),
            (
                json!({"endpoint": "https://169.254.169.254"}),
                "config.endpoint",
            ),
            (
                json!({"encryption": {"type": "sse_kms", "keyId": "a b"}}),
                "config.encryption.keyId",
            ),
        ];
        for (changes, expected) in table {
            let told = checked(changes.clone()).err().unwrap_or_default();
            assert_eq!(told.is_empty(), expected.is_empty(), "{changes}: {told}");
            assert!(
                told.contains(expected) && !told.contains("hunter2"),
                "{changes}: {told}"
            );
        }
    }

    #[test]
    fn prefix_and_path_style_are_what_one_would_think() {
        assert_eq!(
            &*checked(json!({"prefix": "/a/b=c/"})).unwrap().prefix,
            "a/b=c/"
        );
        assert_eq!(&*checked(json!({"prefix": "/"})).unwrap().prefix, "");
        let style = |changes| checked(changes).unwrap().path_style;
        assert!(!style(json!({})));
        assert!(style(json!({"endpoint": "https://minio.example"})));
        assert!(!style(
            json!({"endpoint": "https://minio.example", "pathStyle": false})
        ));
    }
}
