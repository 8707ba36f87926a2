//! Who this installation is in AWS: the principal that customers' trust policies name.

use std::fmt;

use aws_credential_types::Credentials;

/// Where the credentials that assume roles come from.
#[derive(Clone, Default)]
pub enum Operator {
    /// The SDK's default chain: environment, profile, web identity, container, instance. `AWS_REGION` and
    /// `AWS_ENDPOINT_URL_STS` count too.
    #[default]
    Chain,
    /// These, at this STS.
    Given {
        endpoint: Box<str>,
        region: Box<str>,
        credentials: Credentials,
    },
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Chain => "Chain",
            Operator::Given { .. } => "Given",
        })
    }
}
