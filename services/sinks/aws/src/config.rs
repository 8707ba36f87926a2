//! What a customer says about access. One declaration, used by every destination in AWS.

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// How Pushrail is let into the customer's account.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Authentication {
    /// A role that Pushrail assumes. Its trust policy must name Pushrail's principal, and this customer's id as
    /// `sts:ExternalId`.
    AssumeRole {
        /// Such as `arn:aws:iam::123456789012:role/pushrail`.
        #[schemars(length(min = 20, max = 2048))]
        role_arn: Box<str>,
    },
    /// Keys of a user; the secret one is the secret `secretAccessKey`.
    AccessKey {
        /// Such as `AKIAIOSFODNN7EXAMPLE`.
        #[schemars(length(min = 3, max = 128))]
        access_key_id: Box<str>,
    },
}

/// What nobody may read back.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Secret access key of the user whose `accessKeyId` is configured. Not used with a role.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
}
