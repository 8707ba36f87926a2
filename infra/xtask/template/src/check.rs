//! From what was entered to what is called. Pure.

use pushrail_egress::{Rules, Target};
use pushrail_sink_core::{FieldError, Secret};

use crate::config::{Config, Secrets};

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) token: Secret,
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let target = Target::parse(&config.url, &rules.guard, rules.allow_plaintext);
    let target = target.map_err(|message| vec![FieldError::new("config.url", message)])?;
    Ok(Plan {
        target,
        token: secrets.token.clone(),
    })
}
