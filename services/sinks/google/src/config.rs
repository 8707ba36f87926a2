//! What a customer says about access. One declaration, used by every destination in Google Cloud.

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// How Pushrail is let into the customer's project.
// `ServiceAccount` has braces because serde overlooks unknown fields beside a variant without them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Authentication {
    /// Workload Identity Federation: the customer's pool trusts Pushrail's tokens, whose subject is this customer's id.
    WorkloadIdentity {
        /// The provider's resource name, such as
        /// `projects/123456789012/locations/global/workloadIdentityPools/pushrail/providers/pushrail`.
        #[schemars(length(min = 20, max = 512))]
        provider: Box<str>,
        /// A service account that is impersonated, such as `pushrail@my-project.iam.gserviceaccount.com`. Without it the
        /// federated identity needs the roles itself.
        #[serde(default)]
        #[schemars(length(max = 256))]
        service_account: Option<Box<str>>,
    },
    /// The key file of a service account, as the secret `serviceAccountKey`.
    ServiceAccount {},
}

/// What nobody may read back.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The whole JSON key file of a service account. Not used with Workload Identity Federation.
    #[serde(default)]
    pub service_account_key: Option<Secret>,
}
