//! From what a customer entered to what a call needs, or to what is wrong with it. Pure.

use pushrail_egress::{Rules, Target};
use pushrail_sink_core::{FieldError, Secret};

use crate::config::{Authentication, Secrets};

const REGION_LEN_MAX: usize = 32;

/// Where a service is.
#[derive(Clone, Debug)]
pub struct Place {
    pub region: Box<str>,
    /// Instead of AWS's own: scheme, host and port.
    pub endpoint: Option<Box<str>>,
}

/// How we are let in.
#[derive(Clone)]
pub enum Access {
    Role {
        arn: Box<str>,
    },
    Keys {
        access_key_id: Box<str>,
        secret_access_key: Secret,
    },
}

/// Holds region and endpoint to the rules. An endpoint's own address is vetted again when it is connected to.
pub fn place(
    region: &str,
    endpoint: Option<&str>,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Place> {
    let before = errors.len();
    // It becomes part of a host name.
    let is_label = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edges = region.starts_with('-') || region.ends_with('-');
    if region.is_empty() || region.len() > REGION_LEN_MAX || edges || !region.bytes().all(is_label)
    {
        let message = "must be the name of a region, such as eu-central-1";
        errors.push(FieldError::new("config.region", message));
    }
    if let Some(endpoint) = endpoint {
        let mut wrong = |message: String| errors.push(FieldError::new("config.endpoint", message));
        match Target::parse(endpoint, &rules.guard, rules.allow_plaintext) {
            Err(message) => wrong(message),
            Ok(target) if target.path != "/" => {
                wrong("must end after the host and port; it has a path".to_owned());
            }
            Ok(_) => {}
        }
    }
    (errors.len() == before).then(|| Place {
        region: region.into(),
        endpoint: endpoint.map(|text| text.trim_end_matches('/').into()),
    })
}

/// Refuses an endpoint's name that is loopback whoever is asked, so that its owner is told at once. What other names lead to is
/// judged when they are resolved, which is what the guard rests on.
pub fn endpoint_name(field: &str, place: &Place, rules: &Rules) -> Result<(), Vec<FieldError>> {
    let Some(endpoint) = &place.endpoint else {
        return Ok(());
    };
    Target::parse(endpoint, &rules.guard, rules.allow_plaintext)
        .and_then(|target| target.check_name(&rules.guard))
        .map_err(|message| vec![FieldError::new(field, message)])
}

/// Holds role or keys to the rules, and each secret to being used.
pub fn access(
    authentication: &Authentication,
    secrets: &Secrets,
    errors: &mut Vec<FieldError>,
) -> Option<Access> {
    let secret = secrets.secret_access_key.as_ref();
    match authentication {
        Authentication::AssumeRole { role_arn } => {
            if secret.is_some() {
                let message = "is not used with a role; remove it";
                errors.push(FieldError::new("secrets.secretAccessKey", message));
            }
            let is_role = arn(role_arn, "iam").is_some_and(|parts| {
                let name = parts.resource.strip_prefix("role/");
                parts.account.is_some() && name.is_some_and(|name| !name.is_empty())
            });
            if !is_role {
                let message =
                    "must be a role's ARN, such as arn:aws:iam::123456789012:role/pushrail";
                errors.push(FieldError::new("config.authentication.roleArn", message));
                return None;
            }
            Some(Access::Role {
                arn: role_arn.clone(),
            })
        }
        Authentication::AccessKey { access_key_id } => {
            let is_id = access_key_id.len() >= 3
                && access_key_id.len() <= 128
                && access_key_id
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'/' && b != b',');
            if !is_id {
                let message = "must be an access key's id, such as AKIAIOSFODNN7EXAMPLE";
                errors.push(FieldError::new(
                    "config.authentication.accessKeyId",
                    message,
                ));
            }
            let usable = |secret: &&Secret| {
                let text = secret.expose();
                text.len() >= 8 && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
            };
            let secret = secret.filter(usable);
            if secret.is_none() {
                let message = "is needed with `accessKeyId`: the secret access key, without spaces or line breaks";
                errors.push(FieldError::new("secrets.secretAccessKey", message));
            }
            match (is_id, secret) {
                (true, Some(secret)) => Some(Access::Keys {
                    access_key_id: access_key_id.clone(),
                    secret_access_key: secret.clone(),
                }),
                _ => None,
            }
        }
    }
}

/// The parts of an ARN that destinations look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arn<'a> {
    /// Twelve digits; `None` where the ARN has none.
    account: Option<&'a str>,
    resource: &'a str,
}

/// Takes `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE` apart; `None` when it is not one of `service`.
fn arn<'a>(text: &'a str, service: &str) -> Option<Arn<'a>> {
    let graphic = text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic());
    let mut parts = text.splitn(6, ':');
    let is_ours =
        parts.next()? == "arn" && parts.next()?.starts_with("aws") && parts.next()? == service;
    let (_region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (graphic && is_ours && (account.is_empty() || is_account) && !resource.is_empty()).then_some(
        Arn {
            account: is_account.then_some(account),
            resource,
        },
    )
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;

    use super::*;

    fn told(errors: &[FieldError]) -> Vec<String> {
        let told = |error: &FieldError| format!("{}: {}", error.field, error.message);
        errors.iter().map(told).collect()
    }

    #[test]
    fn no_region_or_endpoint_leads_where_it_should_not() {
        let rules = Rules::new(&Context::default());
        let table = [
            ("eu-central-1", None, ""),
            ("", None, "config.region"),
            ("evil.example/", None, "config.region"),
            ("a@b", None, "config.region"),
            ("-x", None, "config.region"),
            (
                "us-east-1",
                Some("http://minio.example"),
                "must begin with https://",
            ),
            (
                "us-east-1",
                Some("https://10.0.0.1"),
                "not a public address",
            ),
            (
                "us-east-1",
                Some("https://0x7f.1:9000"),
                "not a public address",
            ),
            (
                "us-east-1",
                Some("https://minio.example/path"),
                "has a path",
            ),
            (
                "us-east-1",
                Some("https://u:p@minio.example"),
                "user name or password",
            ),
            ("us-east-1", Some("https://minio.example:9000/"), ""),
        ];
        for (region, endpoint, expected) in table {
            let mut errors = Vec::new();
            let place = place(region, endpoint, &rules, &mut errors);
            let told = told(&errors).join("\n");
            assert_eq!(
                place.is_some(),
                expected.is_empty(),
                "{region} {endpoint:?}: {told}"
            );
            assert!(told.contains(expected), "{region} {endpoint:?}: {told}");
        }
    }

    #[test]
    fn a_name_that_is_always_loopback_is_told_at_once() {
        let rules = Rules::new(&Context::default());
        let named = |endpoint: &str| {
            let mut errors = Vec::new();
            let place = place("us-east-1", Some(endpoint), &rules, &mut errors).unwrap();
            endpoint_name("config.endpoint", &place, &rules)
        };
        assert!(named("https://minio.localhost:9000").is_err());
        assert!(named("https://minio.example").is_ok());
    }

    #[test]
    fn each_mistake_about_access_names_its_field_and_quotes_no_secret() {
        let role = |arn: &str| Authentication::AssumeRole {
            role_arn: arn.into(),
        };
        let keys = |id: &str| Authentication::AccessKey {
            access_key_id: id.into(),
        };
        let secret = |text: &str| Secrets {
            secret_access_key: Some(Secret::new(text)),
        };
        let good = "arn:aws:iam::123456789012:role/team/pushrail";
        let table = [
            (role(good), Secrets::default(), ""),
            (
                role("arn:aws-cn:iam::123456789012:role/x"),
                Secrets::default(),
                "",
            ),
            (
                role(good),
                secret("hunter2hunter2"),
                "secrets.secretAccessKey: is not used",
            ),
            (
                role("arn:aws:iam::12:role/x"),
                Secrets::default(),
                "config.authentication.roleArn",
            ),
            (
                role("arn:aws:iam:::role/x"),
                Secrets::default(),
                "config.authentication.roleArn",
            ),
            (
                role("arn:aws:iam::123456789012:role/"),
                Secrets::default(),
                "config.authentication.roleArn",
            ),
            (
                role("arn:aws:iam::123456789012:user/x"),
                Secrets::default(),
                "config.authentication.roleArn",
            ),
            (keys("AKIAIOSFODNN7EXAMPLE"), secret("hunter2hunter2"), ""),
            (
                keys("AKIAIOSFODNN7EXAMPLE"),
                Secrets::default(),
                "secrets.secretAccessKey: is needed",
            ),
            (
                keys("AKIAIOSFODNN7EXAMPLE"),
                secret("hunter2 \n hunter2"),
                "secrets.secretAccessKey",
            ),
            (
                keys("a b"),
                secret("hunter2hunter2"),
                "config.authentication.accessKeyId",
            ),
        ];
        for (authentication, secrets, expected) in table {
            let mut errors = Vec::new();
            access(&authentication, &secrets, &mut errors);
            let told = told(&errors).join("\n");
            assert_eq!(errors.is_empty(), expected.is_empty(), "{told}");
            assert!(
                told.contains(expected) && !told.contains("hunter2"),
                "{told}"
            );
        }
    }
}
