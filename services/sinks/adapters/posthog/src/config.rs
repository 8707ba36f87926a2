//! What a customer says about a PostHog project. One declaration: parsing, form, docs.

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which instance, and how events are named there.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where the project takes events: `https://us.i.posthog.com`, `https://eu.i.posthog.com`, or an instance of your own.
    #[serde(default = "us")]
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub instance_url: Box<str>,
    /// Put before the event type to make the event's name in PostHog, such as `shop.`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub event_prefix: Box<str>,
    /// The group type of your project whose groups are your customers, such as `company`. Without it events belong to no group.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    pub group_type: Option<Box<str>>,
}

/// What nobody may read back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The project's API key; it begins with `phc_`.
    pub project_api_key: Secret,
}

fn us() -> Box<str> {
    "https://us.i.posthog.com".into()
}
