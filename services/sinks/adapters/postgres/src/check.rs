//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.

use std::sync::{Arc, LazyLock};

use pushrail_aws::Access;
use pushrail_egress::{Extra, Rules, TLS, Target};
use pushrail_sink_core::{FieldError, Secret};
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::config::{Authentication, Config, Secrets, Tables, Tls};
use crate::table::{IDENTIFIER_LEN_MAX, Layout};

/// A configuration that holds.
pub(crate) struct Plan {
    /// Of its parts: host, port, and the name that the certificate must bear.
    pub(crate) target: Target,
    /// `None` without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) user: Box<str>,
    pub(crate) database: Box<str>,
    pub(crate) proof: Proof,
    pub(crate) layout: Layout,
}

/// What the user proves itself with.
pub(crate) enum Proof {
    Password(Secret),
    Iam { region: Box<str>, access: Access },
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut report = |field: &str, message: &str| errors.push(FieldError::new(field, message));
    for (field, name) in [
        ("config.database", &config.database),
        ("config.user", &config.user),
        ("config.schema", &config.schema),
    ] {
        if let Some(problem) = identifier_problem(name) {
            report(field, problem);
        }
    }
    match &config.tables {
        Tables::Single { table } => {
            if let Some(problem) = identifier_problem(table) {
                report("config.tables.table", problem);
            }
        }
        Tables::PerType { prefix } if prefix.contains('\0') || prefix.len() > 40 => {
            report("config.tables.prefix", "must have at most 40 bytes");
        }
        Tables::PerType { .. } => {}
    }
    if config.port == 0 {
        report("config.port", "must be between 1 and 65535");
    }
    if config.tls == Tls::Off && !rules.allow_plaintext {
        report(
            "config.tls",
            "must be `required`: the operator does not allow connections in clear",
        );
    }
    if config.tls == Tls::Off && config.ca_certificates.is_some() {
        report(
            "config.caCertificates",
            "is not used without TLS; remove it or set `config.tls` to `required`",
        );
    }
    let proof = proof(config, secrets, rules, &mut errors);
    let target = target(config, rules)
        .map_err(|message| errors.push(FieldError::new("config.host", message)))
        .ok();
    let tls = tls(config)
        .map_err(|mut found| errors.append(&mut found))
        .ok();
    match (target, tls, proof) {
        (Some(target), Some(tls), Some(proof)) if errors.is_empty() => Ok(Plan {
            target,
            tls,
            user: config.user.clone(),
            database: config.database.clone(),
            proof,
            layout: Layout::of(config),
        }),
        _ => Err(errors),
    }
}

fn proof(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Proof> {
    let unused = |name: &str, secret: &Option<Secret>, errors: &mut Vec<FieldError>| {
        if secret.is_some() {
            let message = "is not used with this `config.authentication`; remove it";
            errors.push(FieldError::new(format!("secrets.{name}"), message));
        }
    };
    match &config.authentication {
        Authentication::Password {} => {
            unused("secretAccessKey", &secrets.secret_access_key, errors);
            let usable =
                |secret: &&Secret| !secret.expose().is_empty() && !secret.expose().contains('\0');
            let password = secrets.password.as_ref().filter(usable);
            if password.is_none() {
                let message = "is needed: the user's password";
                errors.push(FieldError::new("secrets.password", message));
            }
            Some(Proof::Password(password?.clone()))
        }
        Authentication::AwsIam { region, access } => {
            unused("password", &secrets.password, errors);
            if config.tls == Tls::Off {
                let message = "must be `required` with AWS IAM: the token is sent as a password";
                errors.push(FieldError::new("config.tls", message));
            }
            let keys = pushrail_aws::Secrets {
                secret_access_key: secrets.secret_access_key.clone(),
            };
            let mut found = Vec::new();
            let place = pushrail_aws::place(region, None, rules, &mut found);
            let access = pushrail_aws::access(access, &keys, &mut found);
            errors.extend(found.into_iter().map(|mut error| {
                // Here they are one deeper.
                let access = "config.authentication.access.";
                error.field = match error.field.strip_prefix("config.authentication.") {
                    Some(field) => format!("{access}{field}"),
                    None => error
                        .field
                        .replace("config.region", "config.authentication.region"),
                };
                error
            }));
            Some(Proof::Iam {
                region: place?.region,
                access: access?,
            })
        }
    }
}

/// The host in the form in which all adapters have theirs vetted.
fn target(config: &Config, rules: &Rules) -> Result<Target, String> {
    let host = &*config.host;
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(allowed) {
        return Err("must be a host name or an address, such as db.example.com".to_owned());
    }
    let port = config.port.max(1);
    let url = match host.contains(':') {
        true => format!("https://[{host}]:{port}/"),
        false => format!("https://{host}:{port}/"),
    };
    Target::parse(&url, &rules.guard, false).map_err(|message| {
        match message.starts_with("is not a URL") {
            true => "must be a host name or an address, and nothing else".to_owned(),
            false => message,
        }
    })
}

fn tls(config: &Config) -> Result<Option<Arc<ClientConfig>>, Vec<FieldError>> {
    if config.tls == Tls::Off {
        return Ok(None);
    }
    static SHARED: LazyLock<Arc<ClientConfig>> =
        LazyLock::new(|| for_postgres(&TLS.shared(), SESSIONS_SHARED));
    if config.ca_certificates.is_none() {
        return Ok(Some(Arc::clone(&SHARED)));
    }
    let settings = TLS.settings(Extra {
        ca_certificates: config.ca_certificates.as_deref(),
        client_certificate: None,
        client_key: None,
    })?;
    Ok(Some(for_postgres(&settings, SESSIONS_OWN)))
}

/// Sessions that can be resumed.
const SESSIONS_SHARED: usize = 512;
const SESSIONS_OWN: usize = 4;

/// The settings with the protocol's name, without which PostgreSQL 17 closes a connection that names another one.
fn for_postgres(settings: &ClientConfig, sessions: usize) -> Arc<ClientConfig> {
    let mut settings = settings.clone();
    settings.alpn_protocols = vec![b"postgresql".to_vec()];
    settings.resumption = Resumption::in_memory_sessions(sessions);
    Arc::new(settings)
}

fn identifier_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("must not be empty")
    } else if name.len() > IDENTIFIER_LEN_MAX {
        Some("must have at most 63 bytes, which is what PostgreSQL's names have")
    } else if name.contains(char::is_control) {
        Some("must not contain control characters")
    } else {
        None
    }
}
