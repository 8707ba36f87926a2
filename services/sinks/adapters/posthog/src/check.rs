//! From what was entered to what is called. Pure.

use http::Uri;
use pushrail_egress::{Rules, Target};
use pushrail_sink_core::{FieldError, Secret};

use crate::config::{Config, Secrets};

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// `<instance>/batch/`.
    pub(crate) url: Uri,
    pub(crate) key: Secret,
    pub(crate) event_prefix: Box<str>,
    pub(crate) group_type: Option<Box<str>>,
}

const KEY_LEN_MAX: usize = 200;

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let key = &secrets.project_api_key;
    if let Some(message) = key_problem(key.expose()) {
        errors.push(FieldError::new("secrets.projectApiKey", message));
    }
    if config.event_prefix.chars().any(char::is_control) {
        let message = "must not contain control characters";
        errors.push(FieldError::new("config.eventPrefix", message));
    }
    if let Some(group) = &config.group_type
        && (group.is_empty() || group.chars().any(char::is_control))
    {
        let message = "must be the name of a group type of the project, such as company";
        errors.push(FieldError::new("config.groupType", message));
    }
    let base = config.instance_url.trim_end_matches('/');
    let text = format!("{base}/batch/");
    let target = Target::parse(&text, &rules.guard, rules.allow_plaintext);
    let target = target.and_then(|target| match base.contains('?') {
        true => Err("must not contain a query (?...)".to_owned()),
        false => Ok(target),
    });
    let uri = text.parse().map_err(|_| "is not a URL".to_owned());
    match (target, uri) {
        (Ok(target), Ok(url)) if errors.is_empty() => Ok(Plan {
            target,
            url,
            key: key.clone(),
            event_prefix: config.event_prefix.clone(),
            group_type: config.group_type.clone(),
        }),
        (target, uri) => {
            let wrong = target.err().or(uri.err());
            errors.extend(wrong.map(|message| FieldError::new("config.instanceUrl", message)));
            Err(errors)
        }
    }
}

fn key_problem(key: &str) -> Option<&'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.starts_with("phx_") {
        Some(
            "is a personal API key; the project's, which begins with phc_, is needed and may do less",
        )
    } else if key.is_empty() || key.len() > KEY_LEN_MAX || !key.chars().all(fits) {
        Some("must be the project's API key, which begins with phc_")
    } else {
        None
    }
}
