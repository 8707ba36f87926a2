//! Who this installation is to others: an OIDC issuer, whose tokens say on whose behalf it comes.
//!
//! The subject is the customer's id here, as the delivery has it and no configuration can change it. A customer's pool accepts
//! one subject, its own, so that naming another customer's pool leads nowhere. A token of the machine (of a Kubernetes service
//! account, of AWS) says the same for all customers, and is not used for that reason.

use std::fmt;
use std::sync::Arc;

use pushrail_schemas::headers::Delivery;
use pushrail_sink_core::Secret;
use serde_json::{Value, json};

use crate::jwt::SigningKey;

/// How long a token of ours is good for: it is exchanged at once.
const LIFE_S: i64 = 600;
/// For a clock that is behind ours.
const SKEW_S: i64 = 30;

/// Names of the environment's variables, as with the credentials of AWS.
const ISSUER: &str = "PUSHRAIL_IDENTITY_ISSUER";
const KEY_FILE: &str = "PUSHRAIL_IDENTITY_KEY_FILE";

/// The installation as an issuer. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    issuer: Box<str>,
    key: SigningKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.0.issuer)
    }
}

impl Identity {
    /// `pem` is a private RSA key. The issuer is the URL that customers' pools name.
    pub fn new(issuer: &str, pem: &str) -> Result<Self, &'static str> {
        if !issuer.starts_with("https://") {
            return Err("the issuer must be a URL that begins with https://");
        }
        let key = SigningKey::from_pem(pem)
            .map_err(|_| "the identity's key must be a private RSA key in PEM")?;
        Ok(Identity(Arc::new(Inner {
            issuer: issuer.into(),
            key,
        })))
    }

    /// The one that the environment names, read when it is first needed.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let issuer = std::env::var(ISSUER).map_err(|_| format!("{ISSUER} is not set"))?;
        let path = std::env::var(KEY_FILE).map_err(|_| format!("{KEY_FILE} is not set"))?;
        let pem = std::fs::read_to_string(&path)
            .map_err(|error| format!("{KEY_FILE} cannot be read: {error}"))?;
        Identity::new(&issuer, &pem).map_err(ToOwned::to_owned)
    }

    /// A new key for an installation, in PEM. It is a secret.
    pub fn new_key() -> Result<Secret, &'static str> {
        SigningKey::generate().map_err(|_| "no key could be made")
    }

    /// What OIDC wants at `/.well-known/openid-configuration` below the issuer's URL.
    pub fn discovery(&self) -> Value {
        let issuer = self.0.issuer.trim_end_matches('/');
        json!({
            "issuer": &*self.0.issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["iss", "sub", "aud", "iat", "exp", "destination"],
        })
    }

    /// The keys that its tokens are verified with, to be published at the issuer's URL or uploaded to a pool (a JSON Web Key
    /// Set).
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.0.key.public()] })
    }

    /// A token for `audience`, on behalf of the owner of `delivery`.
    pub(crate) fn token(
        &self,
        audience: &str,
        delivery: &Delivery,
    ) -> Result<String, &'static str> {
        let Inner { issuer, key } = &*self.0;
        let now_s = pushrail_clock::now_ms() / 1000;
        let claims = json!({
            "iss": issuer,
            "sub": delivery.customer_id.to_string(),
            "aud": format!("https:{audience}"),
            "iat": now_s - SKEW_S,
            "exp": now_s + LIFE_S,
            "destination": delivery.destination_id.to_string(),
        });
        key.sign(&key.id(), &claims)
            .map_err(|_| "the identity's key could not sign")
    }
}
