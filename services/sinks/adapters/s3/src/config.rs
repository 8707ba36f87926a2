//! What a customer says about a bucket. One declaration: parsing, form, docs.

use pushrail_aws::Authentication;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where files go, and what they are.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the bucket.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: Box<str>,
    /// Region of the bucket, such as `eu-central-1`.
    #[schemars(length(min = 1, max = 32))]
    pub region: Box<str>,
    /// What every key begins with, such as `pushrail/events`. Nothing by default.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: Box<str>,
    /// How Pushrail is let in.
    pub authentication: Authentication,
    /// What a file is.
    #[serde(default)]
    pub format: Format,
    /// Encryption at rest. By default whatever the bucket does.
    #[serde(default)]
    pub encryption: Encryption,
    /// Address of another store that speaks S3's API, such as `https://minio.example.com:9000`. Must be `https`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub endpoint: Option<Box<str>>,
    /// Whether the bucket's name stands in the path and not in the host name. By default where there is an `endpoint`.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Whether an object that is there already is left alone (`If-None-Match`). Turn it off for a store that does not know it:
    /// the object is then written again, with the same content.
    #[serde(default = "yes")]
    pub skip_existing: bool,
}

fn yes() -> bool {
    true
}

/// What a file is.
// Variants have braces because serde overlooks unknown fields beside one without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Format {
    /// One event a line, as JSON.
    Ndjson {
        #[serde(default)]
        compression: Compression,
    },
    /// Parquet with a column a field, compressed with Snappy; `payload` and `metadata` are texts of JSON.
    Parquet {},
}

impl Default for Format {
    fn default() -> Self {
        Format::Ndjson {
            compression: Compression::None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Encryption at rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Encryption {
    /// Whatever the bucket does by default.
    Bucket {},
    /// Keys that S3 manages (SSE-S3).
    SseS3 {},
    /// A key in KMS (SSE-KMS); the bucket's own or `aws/s3` where none is named.
    SseKms {
        /// Id or ARN of the key.
        #[serde(default)]
        key_id: Option<Box<str>>,
    },
}

impl Default for Encryption {
    fn default() -> Self {
        Encryption::Bucket {}
    }
}
