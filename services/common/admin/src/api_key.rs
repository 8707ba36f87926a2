//! API keys: `psh_<id>_<secret>`, of which only the id and a digest are kept.
//!
//! The secret has 256 random bits, so a plain SHA-256 keeps it: there is no dictionary to try.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pushrail_schemas::config::ApiKey;
use pushrail_schemas::identity;
use zeroize::Zeroizing;

use crate::secret::random;
use crate::{Error, FieldError};

/// What every key begins with, so that scanners for leaked credentials can know it.
const PREFIX: &str = "psh_";
const OPERATOR_PREFIX: &str = "psh_operator_";
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 32;
/// A key that was not made here must at least not be guessable.
const KNOWN_LEN_MIN: usize = 20;
const KNOWN_LEN_MAX: usize = 512;

/// A key that nobody has seen yet.
pub struct NewApiKey {
    /// What is stored.
    pub record: ApiKey,
    /// The key itself: shown once.
    pub key: Zeroizing<String>,
}

/// Makes a key for a tenant.
pub fn api_key(tenant_id: &str) -> Result<NewApiKey, Error> {
    let id = hex::encode(&*random(ID_LEN)?);
    let mut key = Zeroizing::new(format!("{PREFIX}{id}_"));
    URL_SAFE_NO_PAD.encode_string(&*random(SECRET_LEN)?, &mut key);
    Ok(NewApiKey {
        record: record(tenant_id, &id, &key)?,
        key,
    })
}

/// A new key for the operator, who has no record.
pub fn operator_key() -> Result<Zeroizing<String>, Error> {
    let mut key = Zeroizing::new(OPERATOR_PREFIX.to_owned());
    URL_SAFE_NO_PAD.encode_string(&*random(SECRET_LEN)?, &mut key);
    Ok(key)
}

/// The record of a key that was made elsewhere; its id follows from it, so that repeating this changes nothing.
pub fn known_api_key(tenant_id: &str, key: &str) -> Result<ApiKey, Error> {
    let plain = key.bytes().all(|b| b.is_ascii_graphic());
    if !plain || !(KNOWN_LEN_MIN..=KNOWN_LEN_MAX).contains(&key.len()) {
        let message =
            format!("must have {KNOWN_LEN_MIN} to {KNOWN_LEN_MAX} visible ASCII characters");
        return Err(Error::Invalid(vec![FieldError::new("key", message)]));
    }
    record(tenant_id, &sha256_hex(key)[..2 * ID_LEN], key)
}

fn record(tenant_id: &str, id: &str, key: &str) -> Result<ApiKey, Error> {
    if !identity::is_tenant_id(tenant_id) {
        let message = "must be the id of a tenant, such as acme";
        return Err(Error::Invalid(vec![FieldError::new("tenantId", message)]));
    }
    Ok(ApiKey {
        key_id: id.into(),
        tenant_id: tenant_id.into(),
        sha256: sha256_hex(key).into(),
    })
}

/// The digest that is kept of a key, hex.
pub fn sha256_hex(key: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_does_not_contain_the_key() {
        let NewApiKey { record, key } = api_key("acme").unwrap();
        let stored = serde_json::to_string(&record).unwrap();
        let (_, secret) = key.rsplit_once(&*record.key_id).unwrap();
        assert!(secret.len() > 40, "{secret}");
        assert!(!stored.contains(secret), "{stored}");
        assert_eq!(known_api_key("acme", &key).unwrap().sha256, record.sha256);
    }

    #[test]
    fn a_guessable_key_and_a_bad_tenant_are_refused() {
        for bad in [
            "",
            "short",
            "contains a space and is long",
            &"a".repeat(600),
        ] {
            assert!(known_api_key("acme", bad).is_err(), "{bad}");
        }
        assert!(api_key("ACME").is_err());
        let key = "0123456789012345678901234567890123456789";
        assert_eq!(known_api_key("acme", key), known_api_key("acme", key));
    }
}
