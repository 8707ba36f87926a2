//! Tokens of AWS IAM: a request to `connect` that is signed and never sent. What signs it proves the user for 15 minutes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use pushrail_aws::Source;
use pushrail_schemas::headers::Delivery;
use pushrail_sink_core::Secret;
use url::Url;

use crate::failure::Failure;

/// What AWS gives a token at most. It is needed for as long as a connection takes to open.
const LIFE: Duration = Duration::from_secs(900);

/// Who signs, and for where.
pub(crate) struct Iam {
    pub(crate) region: Box<str>,
    pub(crate) source: Source,
}

impl Iam {
    /// A token for one connection, on behalf of the owner of `delivery`. The host must be the name that the customer gave.
    pub(crate) async fn token(
        &self,
        delivery: &Delivery,
        host: &str,
        port: u16,
        user: &str,
    ) -> Result<Secret, Failure> {
        let ready = self.source.ready(delivery).await;
        ready.map_err(|failure| Failure::Access(Box::new(failure)))?;
        let internal = |what| Failure::Access(Box::new(pushrail_aws::Failure::Internal(what)));
        let credentials = self.source.provide_credentials().await;
        let credentials = credentials.map_err(|_| internal("there are no credentials"))?;
        let now = UNIX_EPOCH + Duration::from_millis(pushrail_clock::now_ms().unsigned_abs());
        let token = token(credentials, &self.region, (host, port, user), now);
        token.ok_or_else(|| internal("the token could not be signed"))
    }

    /// It was not believed: the next call gets a new session, where there is a role.
    pub(crate) fn forget(&self) {
        self.source.forget();
    }
}

fn token(
    credentials: Credentials,
    region: &str,
    (host, port, user): (&str, u16, &str),
    now: SystemTime,
) -> Option<Secret> {
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFE);
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .ok()?;
    let mut url = Url::parse(&format!("https://{host}:{port}/")).ok()?;
    let encoded: String = user.bytes().map(encoded).collect();
    url.set_query(Some(&format!("Action=connect&DBUser={encoded}")));
    let headers = std::iter::empty();
    let request = SignableRequest::new("GET", url.as_str(), headers, SignableBody::Bytes(&[]));
    let signed = sign(request.ok()?, &parameters.into()).ok()?;
    let (instructions, _) = signed.into_parts();
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    Some(Secret::new(url.as_str().strip_prefix("https://")?))
}

/// As AWS encodes, which is not what URLs have by themselves.
fn encoded(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What botocore 1.43's `generate_db_auth_token` made at the same time.
    const STOCK: [(&str, Option<&str>, &str); 2] = [
        (
            "load er@x",
            None,
            "b4d3c035ebd0c6f7bdd6f5daf502522ca540a790f19928aaf2b7ca1cdea16258",
        ),
        (
            "pushrail",
            Some("tok/en+1=="),
            "059edb638deaa0ab4473c5728397d5f0d29bc7df85dfaba972ca36d7cd277c1e",
        ),
    ];

    #[test]
    fn a_token_is_what_the_stock_library_makes() {
        for (user, session, signature) in STOCK {
            let credentials = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session.map(str::to_owned),
                None,
                "test",
            );
            let host = "db.cluster-x.eu-central-1.rds.amazonaws.com";
            // 2026-01-02T03:04:05Z
            let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
            let token = token(credentials, "eu-central-1", (host, 5432, user), now).unwrap();
            let url = Url::parse(&format!("https://{}", token.expose())).unwrap();
            let pairs: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
            let get = |name: &str| pairs.get(name).map(String::as_str);
            assert_eq!(get("X-Amz-Signature"), Some(signature));
            assert_eq!(get("DBUser"), Some(user));
            assert_eq!(get("X-Amz-Security-Token"), session);
            assert_eq!(get("X-Amz-Expires"), Some("900"));
            assert!(
                token
                    .expose()
                    .starts_with(&format!("{host}:5432/?Action=connect&DBUser="))
            );
        }
    }
}
