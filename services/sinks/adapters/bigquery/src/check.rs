//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.

use pushrail_egress::{Rules, Target};
use pushrail_google::{Access, Authentication, Secrets};
use pushrail_sink_core::FieldError;

use crate::config::{Config, Tables};
use crate::table::{Layout, TABLE_LEN_MAX};

const REST: &str = "https://bigquery.googleapis.com";
const STORAGE: &str = "https://bigquerystorage.googleapis.com";
const PROJECT_LEN_MAX: usize = 128;
const DATASET_LEN_MAX: usize = 1024;
const PREFIX_LEN_MAX: usize = 64;

/// Stands for the customer's id, which a delivery has and no configuration.
pub(crate) const CUSTOMER: &str = "CUSTOMER_ID";

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) rest: Target,
    pub(crate) rest_url: Box<str>,
    pub(crate) storage: Target,
    pub(crate) storage_url: Box<str>,
    pub(crate) access: Access,
    pub(crate) layout: Layout,
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut report = |field: &str, message: &str| errors.push(FieldError::new(field, message));
    // They become parts of paths and of statements.
    let is_project = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
    if !fits(&config.project, PROJECT_LEN_MAX, is_project) || config.project.contains("..") {
        report(
            "config.project",
            "must be a project's id, such as my-project",
        );
    }
    let is_dataset = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !fits(&config.dataset, DATASET_LEN_MAX, is_dataset) {
        report(
            "config.dataset",
            "must be a dataset's name without its project: letters, digits and _",
        );
    }
    let is_table = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match &config.tables {
        Tables::Single { table } if !fits(table, TABLE_LEN_MAX, is_table) => report(
            "config.tables.table",
            "must be a table's name without its dataset: letters, digits, - and _",
        ),
        Tables::PerType { prefix }
            if !prefix.is_empty() && !fits(prefix, PREFIX_LEN_MAX, is_table) =>
        {
            report(
                "config.tables.prefix",
                "must have at most 64 letters, digits, - and _",
            );
        }
        _ => {}
    }
    let rest = endpoint(
        "config.endpoint",
        &config.endpoint,
        REST,
        rules,
        &mut errors,
    );
    let storage = endpoint(
        "config.storageEndpoint",
        &config.storage_endpoint,
        STORAGE,
        rules,
        &mut errors,
    );
    let access = pushrail_google::access(&config.authentication, secrets, rules, &mut errors);
    match (rest, storage, access) {
        (Some((rest, rest_url)), Some((storage, storage_url)), Some(access))
            if errors.is_empty() =>
        {
            Ok(Plan {
                rest,
                rest_url,
                storage,
                storage_url,
                layout: Layout::of(config, member(&config.authentication, &access)),
                access,
            })
        }
        _ => Err(errors),
    }
}

fn fits(name: &str, len_max: usize, allowed: impl Fn(u8) -> bool) -> bool {
    !name.is_empty() && name.len() <= len_max && name.bytes().all(allowed)
}

fn endpoint(
    field: &str,
    given: &Option<Box<str>>,
    default: &str,
    rules: &Rules,
    errors: &mut Vec<FieldError>,
) -> Option<(Target, Box<str>)> {
    let url = given.as_deref().unwrap_or(default).trim_end_matches('/');
    match Target::parse(url, &rules.guard, rules.allow_plaintext) {
        Err(message) => errors.push(FieldError::new(field, message)),
        Ok(target) if target.path != "/" => {
            let message = "must end after the host and port; it has a path";
            errors.push(FieldError::new(field, message));
        }
        Ok(target) => return Some((target, url.into())),
    }
    None
}

/// Who needs the roles, as IAM names it.
fn member(authentication: &Authentication, access: &Access) -> String {
    match (access.email(), authentication) {
        (Some(email), _) => format!("serviceAccount:{email}"),
        (None, Authentication::WorkloadIdentity { provider, .. }) => {
            let pool = provider.split("/providers/").next().unwrap_or_default();
            let at = pool.find("projects/").unwrap_or_default();
            format!(
                "principal://iam.googleapis.com/{}/subject/{CUSTOMER}",
                &pool[at..]
            )
        }
        (None, Authentication::ServiceAccount {}) => "serviceAccount:…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;
    use serde_json::{Value, json};

    use super::*;

    const PROVIDER: &str =
        "projects/123/locations/global/workloadIdentityPools/pool/providers/pushrail";

    fn told(change: impl FnOnce(&mut Value)) -> String {
        let mut config = json!({
            "project": "my-project", "dataset": "events",
            "authentication": {"type": "workload_identity", "provider": PROVIDER},
        });
        change(&mut config);
        let config = serde_json::from_value(config).unwrap();
        let rules = Rules::new(&Context::default());
        match plan(&config, &Secrets::default(), &rules) {
            Ok(_) => String::new(),
            Err(errors) => {
                let told = errors.iter().map(|e| format!("{}: {}", e.field, e.message));
                told.collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn each_mistake_names_its_field() {
        assert_eq!(told(|_| {}), "");
        assert_eq!(told(|c| c["project"] = json!("example.com:my-project")), "");
        assert_eq!(
            told(|c| c["endpoint"] = json!("https://bigquery-x.p.googleapis.com/")),
            ""
        );
        for (field, value) in [
            ("project", "a/b"),
            ("project", ".."),
            ("project", ""),
            ("dataset", "p.d"),
            ("dataset", "a/../b"),
            ("endpoint", "http://bigquery.example"),
            ("endpoint", "https://10.0.0.1"),
            ("endpoint", "https://bigquery.example/path"),
            ("storageEndpoint", "https://127.1:9060"),
        ] {
            let told = told(|config| config[field] = json!(value));
            assert!(told.starts_with(&format!("config.{field}: ")), "{told}");
        }
        for (tables, field) in [
            (
                json!({"type": "single", "table": "a.b"}),
                "config.tables.table",
            ),
            (
                json!({"type": "single", "table": ""}),
                "config.tables.table",
            ),
            (
                json!({"type": "per_type", "prefix": "a`"}),
                "config.tables.prefix",
            ),
        ] {
            let told = told(|config| config["tables"] = tables);
            assert!(told.starts_with(field), "{told}");
        }
    }
}
