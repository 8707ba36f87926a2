//! Random secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::CryptoError;

/// What every signing secret begins with (Standard Webhooks).
const SIGNING_PREFIX: &str = "whsec_";
/// Random bytes of a signing secret: the specification asks for 24 to 64.
const SIGNING_LEN: usize = 32;

/// `len` random bytes, wiped when dropped.
pub(crate) fn random(len: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CryptoError)?;
    Ok(bytes)
}

/// A new signing secret: `whsec_` and random bytes in base64.
pub(crate) fn signing_secret() -> Result<Zeroizing<String>, CryptoError> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    text.push_str(SIGNING_PREFIX);
    STANDARD.encode_string(&*random(SIGNING_LEN)?, &mut text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_secret_is_what_the_specification_asks_for() {
        let secret = signing_secret().unwrap();
        let bytes = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        assert!((24..=64).contains(&bytes.len()));
        assert_ne!(secret, signing_secret().unwrap());
    }
}
