//! Tokens that we sign: RS256, which is what Google's token endpoints take of keys and of issuers alike.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64};
use pushrail_sink_core::Secret;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// A private RSA key.
pub(crate) struct SigningKey(RsaKeyPair);

/// What is no such key.
#[derive(Debug)]
pub(crate) struct NotAKey;

impl SigningKey {
    /// A new one, in PEM.
    pub(crate) fn generate() -> Result<Secret, NotAKey> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| NotAKey)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| NotAKey)?;
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        let lines = lines.join("\n");
        Ok(Secret::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"
        )))
    }

    pub(crate) fn from_pem(pem: &str) -> Result<Self, NotAKey> {
        let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(NotAKey),
        };
        key.map(SigningKey).map_err(|_| NotAKey)
    }

    /// A signed token with these claims.
    pub(crate) fn sign(&self, key_id: &str, claims: &Value) -> Result<String, NotAKey> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": key_id});
        let mut token = BASE64.encode(header.to_string());
        token.push('.');
        BASE64.encode_string(claims.to_string(), &mut token);
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
            .map_err(|_| NotAKey)?;
        token.push('.');
        BASE64.encode_string(&signature, &mut token);
        Ok(token)
    }

    /// Its public half as a JSON Web Key.
    pub(crate) fn public(&self) -> Value {
        let key = self.0.public_key();
        let number = |bytes: &[u8]| BASE64.encode(bytes);
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id(),
            "n": number(key.modulus().big_endian_without_leading_zero()),
            "e": number(key.exponent().big_endian_without_leading_zero()),
        })
    }

    /// A name for the key that only this one has.
    pub(crate) fn id(&self) -> String {
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.public_key().as_ref());
        BASE64.encode(&digest.as_ref()[..16])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// A key in PEM, made here and used nowhere else.
    pub(crate) fn pem() -> String {
        SigningKey::generate().unwrap().expose().to_owned()
    }

    #[test]
    fn a_token_is_verified_by_the_public_half_and_names_it() {
        let key = SigningKey::from_pem(&pem()).unwrap();
        let token = key.sign(&key.id(), &json!({"sub": "x"})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            key.0.public_key().as_ref().to_vec(),
        );
        let signature = BASE64.decode(signature).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
        let header = BASE64.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["kid"], key.public()["kid"]);
        assert_eq!(header["alg"], "RS256");
    }
}
