//! What a customer says about a PostgreSQL database. One declaration: parsing, form, docs.

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which database, as whom, and into which tables.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Host name or address, such as `db.example.com`.
    #[schemars(length(min = 1, max = 253))]
    pub host: Box<str>,
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    #[schemars(length(min = 1, max = 63))]
    pub database: Box<str>,
    #[schemars(length(min = 1, max = 63))]
    pub user: Box<str>,
    #[serde(default)]
    pub authentication: Authentication,
    /// Schema of the tables. It must be there.
    #[serde(default = "default_schema")]
    #[schemars(length(min = 1, max = 63))]
    pub schema: Box<str>,
    #[serde(default)]
    pub tables: Tables,
    /// Whether a table that is missing is created. Without this an event whose table is missing is dead-lettered, with the
    /// statement that creates it.
    #[serde(default = "yes")]
    pub create_tables: bool,
    #[serde(default)]
    pub tls: Tls,
    /// Certificate authorities (PEM) that are trusted for this destination beside the public ones, such as the bundle of
    /// your cloud.
    #[serde(default)]
    pub ca_certificates: Option<Box<str>>,
}

/// How the user proves itself.
// `Password` has braces because serde overlooks unknown fields beside a variant without them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Authentication {
    /// With the secret `password`.
    Password {},
    /// With a token of AWS IAM, made for each connection: Amazon RDS and Aurora. The database user needs `rds_iam`.
    AwsIam {
        /// Region of the database, such as `eu-central-1`.
        #[schemars(length(min = 1, max = 32))]
        region: Box<str>,
        /// Who signs the token: a role that Pushrail assumes (preferred), or an access key.
        access: pushrail_aws::Authentication,
    },
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication::Password {}
    }
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
    /// All events into one table.
    Single {
        #[serde(default = "default_table")]
        #[schemars(length(min = 1, max = 63))]
        table: Box<str>,
    },
    /// Each event type into a table of its own: `order.completed` into `order_completed`, behind the prefix.
    PerType {
        #[serde(default)]
        #[schemars(length(max = 40))]
        prefix: Box<str>,
    },
}

impl Default for Tables {
    fn default() -> Self {
        Tables::Single {
            table: default_table(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Always, and the certificate must be valid for the host.
    #[default]
    Required,
    /// Never. Only where the operator allows plaintext.
    Off,
}

/// What nobody may read back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The user's password. Not used with AWS IAM.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Secret access key, with AWS IAM and `accessKeyId`.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
}

fn default_port() -> u16 {
    5432
}

fn default_schema() -> Box<str> {
    "public".into()
}

fn default_table() -> Box<str> {
    "events".into()
}

fn yes() -> bool {
    true
}
