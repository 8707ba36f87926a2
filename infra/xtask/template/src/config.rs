//! What a customer says about {label}. One declaration: parsing, form, docs.

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// TODO Where events go.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// TODO Address of the service, such as `https://example.com`.
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub url: Box<str>,
}

/// What nobody may read back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// TODO What lets us in.
    pub token: Secret,
}
