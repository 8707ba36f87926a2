//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.

use std::ffi::CString;
use std::sync::Arc;

use pushrail_egress::{Extra, Peer, Rules, TLS, Target};
use pushrail_sink_core::{FieldError, Secret};
use rustls::ClientConfig;

use crate::config::{Authentication, Compression, Config, Key, OAuth2, Secrets, Tls};

/// More are never needed: the first that answers names all others.
const SERVERS_MAX: usize = 32;
const TOPIC_LEN_MAX: usize = 249;
const PATH_LEN_MAX: usize = 255;

/// A configuration that holds.
pub(crate) struct Plan {
    /// What was entered, taken apart and put together again.
    pub(crate) bootstrap: String,
    pub(crate) topic: CString,
    pub(crate) key: Key,
    pub(crate) compression: Compression,
    /// `None` without TLS.
    pub(crate) tls: Option<Certificates>,
    pub(crate) proof: Proof,
    /// Names among the servers that lead to this machine whoever is asked.
    loopback: Option<String>,
}

/// What TLS adds to the public authorities, each in PEM.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) authorities: Option<Box<str>>,
    pub(crate) own: Option<(Box<str>, Secret)>,
}

/// How we name ourselves.
pub(crate) enum Proof {
    /// By certificate, or not at all.
    None,
    Password {
        mechanism: &'static str,
        username: Box<str>,
        password: Secret,
    },
    Token {
        target: Target,
        config: Box<OAuth2>,
        secret: Secret,
        /// Of the token endpoint: the destination's authorities are trusted there as well.
        tls: Arc<ClientConfig>,
    },
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let servers = servers(&config.bootstrap_servers, rules)
        .map_err(|message| errors.push(FieldError::new("config.bootstrapServers", message)))
        .ok();
    if let Some(problem) = topic_problem(&config.topic) {
        errors.push(FieldError::new("config.topic", problem));
    }
    if let Key::Payload { path } = &config.key
        && let Some(problem) = path_problem(path)
    {
        errors.push(FieldError::new("config.key.path", problem));
    }
    let proof = proof(config, secrets, rules, &mut errors);
    let tls = tls(config, secrets, rules, &mut errors);
    let topic = CString::new(&*config.topic).ok();
    match (servers, topic, proof, tls) {
        (Some(servers), Some(topic), Some(proof), Some(tls)) if errors.is_empty() => Ok(Plan {
            bootstrap: servers.text,
            topic,
            key: config.key.clone(),
            compression: config.compression,
            tls,
            proof,
            loopback: servers.loopback,
        }),
        _ => Err(errors),
    }
}

impl Plan {
    /// Refuses names that are loopback whoever is asked, so that their owner is told at once.
    pub(crate) fn check_names(&self, rules: &Rules) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        if let Some(message) = &self.loopback {
            errors.push(FieldError::new("config.bootstrapServers", message.clone()));
        }
        if let Proof::Token { target, .. } = &self.proof
            && let Err(message) = target.check_name(&rules.guard)
        {
            errors.push(FieldError::new("config.authentication.tokenUrl", message));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors),
        }
    }
}

struct Servers {
    text: String,
    loopback: Option<String>,
}

/// Each `host:port`, in the form in which all adapters have hosts vetted.
fn servers(text: &str, rules: &Rules) -> Result<Servers, String> {
    let each: Vec<&str> = text.split(',').map(str::trim).collect();
    if each.len() > SERVERS_MAX {
        return Err(format!("must name at most {SERVERS_MAX} brokers"));
    }
    let mut servers = Servers {
        text: String::new(),
        loopback: None,
    };
    for server in each {
        let (host, port) = apart(server)?;
        let target = Target::parse(&format!("https://{host}:{port}/"), &rules.guard, false)
            .map_err(|message| match message.starts_with("is not a URL") {
                true => SHAPE.to_owned(),
                false => message,
            })?;
        if let Err(message) = target.check_name(&rules.guard) {
            servers.loopback.get_or_insert(message);
        }
        if !servers.text.is_empty() {
            servers.text.push(',');
        }
        match &target.host {
            Peer::Name(name) => {
                let name = name.trim_end_matches('.');
                servers.text.push_str(&format!("{name}:{port}"));
            }
            Peer::Address(address) => servers.text.push_str(&address.to_string()),
        }
    }
    Ok(servers)
}

const SHAPE: &str = "must be host:port, or several with commas between them, such as broker-1.example.com:9093,broker-2.example.com:9093";

fn apart(server: &str) -> Result<(&str, u16), String> {
    if server.contains("://") {
        return Err("must not begin with a protocol such as SASL_SSL://; `config.tls` and `config.authentication` say it".into());
    }
    let (host, port) = server.rsplit_once(':').ok_or(SHAPE)?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let whole = match inner {
        Some(address) => address
            .chars()
            .all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.'),
        None => !host.is_empty() && host.chars().all(allowed),
    };
    let port = port.parse().ok().filter(|port| *port > 0);
    match (whole, port) {
        (true, Some(port)) => Ok((host, port)),
        _ => Err(SHAPE.to_owned()),
    }
}

fn topic_problem(topic: &str) -> Option<&'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > TOPIC_LEN_MAX || !topic.bytes().all(allowed) {
        Some(
            "must have 1 to 249 of the characters that Kafka's topics have: letters, digits, `.`, `_` and `-`",
        )
    } else if matches!(topic, "." | "..") {
        Some("must not be `.` or `..`, which Kafka does not take")
    } else {
        None
    }
}

fn path_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') || path.len() > PATH_LEN_MAX {
        Some("must be a JSON pointer of at most 255 bytes, such as /order/id")
    } else {
        None
    }
}

fn proof(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Proof> {
    let (mechanism, username) = match &config.authentication {
        Authentication::None {} => {
            unused("password", &secrets.password, errors);
            unused("clientSecret", &secrets.client_secret, errors);
            return Some(Proof::None);
        }
        Authentication::Oauthbearer(oauth) => {
            unused("password", &secrets.password, errors);
            let authorities = config.ca_certificates.as_deref();
            return token(oauth, authorities, secrets, rules, errors);
        }
        Authentication::Plain { username } => ("PLAIN", username),
        Authentication::ScramSha256 { username } => ("SCRAM-SHA-256", username),
        Authentication::ScramSha512 { username } => ("SCRAM-SHA-512", username),
    };
    unused("clientSecret", &secrets.client_secret, errors);
    if username.is_empty() || username.contains('\0') {
        let message = "must not be empty, nor contain the character U+0000";
        errors.push(FieldError::new("config.authentication.username", message));
    }
    let password = usable(&secrets.password);
    if password.is_none() {
        let message = "is needed: the user's password";
        errors.push(FieldError::new("secrets.password", message));
    }
    Some(Proof::Password {
        mechanism,
        username: username.clone(),
        password: password?,
    })
}

fn token(
    config: &OAuth2,
    authorities: Option<&str>,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Proof> {
    let mut report = |field: &str, message: &str| errors.push(FieldError::new(field, message));
    if config.client_id.is_empty() {
        report("config.authentication.clientId", "must not be empty");
    }
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic());
    let is_value = |value: &str| {
        let printable = |b: u8| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        !value.is_empty() && value.bytes().all(printable)
    };
    for (name, value) in &config.extensions {
        if !is_name(name) || &**name == "auth" || !is_value(value) {
            report(
                "config.authentication.extensions",
                "must have names of letters, not `auth`, and values of printable ASCII characters (RFC 7628)",
            );
            break;
        }
    }
    let secret = usable(&secrets.client_secret);
    if secret.is_none() {
        let message = "is needed: the client's secret at the token endpoint";
        report("secrets.clientSecret", message);
    }
    let target = Target::parse(&config.token_url, &rules.guard, rules.allow_plaintext)
        .map_err(|message| report("config.authentication.tokenUrl", &message))
        .ok();
    // What is wrong with them is said by whoever checks TLS.
    let tls = TLS.settings(Extra {
        ca_certificates: authorities,
        client_certificate: None,
        client_key: None,
    });
    Some(Proof::Token {
        target: target?,
        config: Box::new(config.clone()),
        secret: secret?,
        tls: tls.ok()?,
    })
}

fn usable(secret: &Option<Secret>) -> Option<Secret> {
    let usable = |text: &str| !text.is_empty() && !text.contains('\0');
    secret.clone().filter(|secret| usable(secret.expose()))
}

fn unused(name: &str, secret: &Option<Secret>, errors: &mut Vec<FieldError>) {
    if secret.is_some() {
        let message = "is not used with this `config.authentication`; remove it";
        errors.push(FieldError::new(format!("secrets.{name}"), message));
    }
}

/// `Some(None)` is no TLS.
fn tls(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<Option<Certificates>> {
    if config.tls == Tls::Off {
        if !rules.allow_plaintext {
            let message = "must be `required`: the operator does not allow connections in clear";
            errors.push(FieldError::new("config.tls", message));
        }
        let message = "is not used without TLS; remove it or set `config.tls` to `required`";
        for (field, given) in [
            ("config.caCertificates", config.ca_certificates.is_some()),
            (
                "config.clientCertificate",
                config.client_certificate.is_some(),
            ),
            ("secrets.clientKey", secrets.client_key.is_some()),
        ] {
            if given {
                errors.push(FieldError::new(field, message));
            }
        }
        return Some(None);
    }
    // Settings of another library, made to have every PEM read and judged as it is for all types.
    let judged = TLS.settings(Extra {
        ca_certificates: config.ca_certificates.as_deref(),
        client_certificate: config.client_certificate.as_deref(),
        client_key: secrets.client_key.as_ref(),
    });
    if let Err(mut found) = judged {
        errors.append(&mut found);
        return None;
    }
    let own = config
        .client_certificate
        .clone()
        .zip(secrets.client_key.clone());
    Some(Some(Certificates {
        authorities: config.ca_certificates.clone(),
        own,
    }))
}
