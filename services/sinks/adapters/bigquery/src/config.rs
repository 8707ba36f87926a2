//! What a customer says about a dataset. One declaration: parsing, form, docs.

use pushrail_google::Authentication;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which dataset, as whom, and into which tables.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Project of the dataset, such as `my-project`.
    #[schemars(length(min = 1, max = 128))]
    pub project: Box<str>,
    /// Dataset of the tables. It must be there.
    #[schemars(length(min = 1, max = 1024))]
    pub dataset: Box<str>,
    pub authentication: Authentication,
    #[serde(default)]
    pub tables: Tables,
    /// Whether a table that is missing is created, and a column that is missing appended. Without this an event whose table is
    /// missing is dead-lettered, with the statement that creates it.
    #[serde(default = "yes")]
    pub create_tables: bool,
    /// Instead of `https://bigquery.googleapis.com`: scheme, host and port, such as those of a private endpoint.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<Box<str>>,
    /// Instead of `https://bigquerystorage.googleapis.com`: scheme, host and port.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub storage_endpoint: Option<Box<str>>,
}

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Tables {
    /// Each event type into a table of its own: `order.completed` into `order_completed`, behind the prefix.
    PerType {
        #[serde(default)]
        #[schemars(length(max = 64))]
        prefix: Box<str>,
    },
    /// All events into one wide table.
    Single {
        #[serde(default = "default_table")]
        #[schemars(length(min = 1, max = 256))]
        table: Box<str>,
    },
}

impl Default for Tables {
    fn default() -> Self {
        Tables::PerType { prefix: "".into() }
    }
}

fn default_table() -> Box<str> {
    "events".into()
}

fn yes() -> bool {
    true
}
