//! Assuming a customer's role with the operator's credentials.

use std::borrow::Cow;

use aws_config::meta::region::RegionProviderChain;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use pushrail_schemas::headers::Delivery;
use tokio::sync::OnceCell;

use crate::credentials::{Lease, Source};
use crate::failure::Failure;
use crate::http::Http;
use crate::operator::Operator;

/// Where the installation's account is asked when nothing names a region.
const REGION_DEFAULT: &str = "us-east-1";

/// One worker's client of STS, made when the first role is assumed.
pub(crate) struct Sts {
    operator: Operator,
    http: Http,
    client: OnceCell<Client>,
}

impl Sts {
    pub(crate) fn new(operator: Operator, http: Http) -> Self {
        Sts {
            operator,
            http,
            client: OnceCell::new(),
        }
    }

    /// A session of the role `arn` for the owner of `delivery`. The external id is the customer's, whatever its configuration
    /// says; the session's name shows in the customer's trail which destination it was.
    pub(crate) async fn assume(&self, arn: &str, delivery: &Delivery) -> Result<Lease, Failure> {
        let client = self.client.get_or_init(|| self.connect()).await;
        let call = client
            .assume_role()
            .role_arn(arn)
            .external_id(delivery.customer_id.to_string())
            .role_session_name(format!("pushrail-{}", delivery.destination_id))
            .send()
            .await;
        let granted = call.map_err(|error| failed(&error))?.credentials;
        let granted = granted.ok_or(Failure::Unreadable { status: 200 })?;
        let (id, secret) = (granted.access_key_id, granted.secret_access_key);
        let token = Some(granted.session_token);
        Ok(Lease {
            credentials: Credentials::new(id, secret, token, None, "pushrail"),
            expires_ms: granted.expiration.to_millis().unwrap_or(0),
        })
    }

    async fn connect(&self) -> Client {
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(self.http.clone())
            .app_name(crate::credentials::app_name());
        let loader = match &self.operator {
            Operator::Chain => loader.region(
                RegionProviderChain::default_provider().or_else(Region::new(REGION_DEFAULT)),
            ),
            Operator::Given {
                endpoint,
                region,
                credentials,
            } => loader
                .endpoint_url(endpoint.as_ref())
                .region(Region::new(region.to_string()))
                .credentials_provider(credentials.clone()),
        };
        let config = aws_sdk_sts::config::Builder::from(&loader.load().await)
            // The engine retries, and the call's deadline covers this one too.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled());
        Client::from_conf(config.build())
    }
}

fn failed(error: &SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError>) -> Failure {
    if let Some(detail) = credentials_failed(error) {
        return Failure::Operator(detail);
    }
    match Failure::of(error, &Source::none()) {
        Failure::Refused(refusal) => {
            tracing::debug!(code = error.code(), "role.refused");
            Failure::Role(refusal)
        }
        failure => failure,
    }
}

/// Whether it never came to a request, because there was nothing to sign it with.
fn credentials_failed(error: &(dyn std::error::Error + 'static)) -> Option<Cow<'static, str>> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            // What exactly is for the operator; the customer can do nothing about it.
            tracing::error!(%error, "operator_credentials.unavailable");
            return Some("this Pushrail installation has no AWS credentials of its own".into());
        }
        next = error.source();
    }
    None
}
