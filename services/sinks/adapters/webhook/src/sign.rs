//! Signatures: Standard Webhooks, and the plain pair of headers.
//!
//! Both are HMAC-SHA256 with the bytes that the secret's base64 stands for. Standard Webhooks signs
//! `id.timestamp.body`; the plain signature covers `timestamp.body`. During a rotation every secret signs, the newest
//! first, so a receiver passes with whichever it knows.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine, alphabet};
use hmac::{Hmac, KeyInit as _, Mac as _};
use pushrail_sink_core::Secret;
use sha2::Sha256;
use smallvec::SmallVec;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
/// What the Standard Webhooks specification asks for, in bytes.
const KEY_LEN_MIN: usize = 24;
const KEY_LEN_MAX: usize = 64;

/// People lose the `=` when they copy.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Makes a signing secret from 32 random bytes.
pub fn generate_secret() -> Secret {
    let mut bytes = Zeroizing::new([0u8; 32]);
    // aws-lc reseeds from the operating system and aborts rather than fail here.
    aws_lc_rs::rand::fill(bytes.as_mut()).expect("the system's source of randomness");
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_ref())))
}

/// A key, hashed as far as it can be without a message.
pub(crate) type Key = Hmac<Sha256>;

/// Prepared keys of one destination, the current one first.
pub(crate) struct Signer {
    keys: SmallVec<[Key; 1]>,
}

impl Signer {
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Signer {
            keys: keys.into_iter().collect(),
        }
    }

    /// Hands out `v1,<base64>` per key, separated by spaces.
    pub(crate) fn standard(
        &self,
        id: &[u8],
        timestamp: &[u8],
        body: &[u8],
        mut put: impl FnMut(&[u8]),
    ) {
        for (nth, key) in self.keys.iter().enumerate() {
            put(if nth == 0 { b"v1," } else { b" v1," });
            let tag = sign(key, &[id, b".", timestamp, b".", body]);
            let mut text = [0u8; 44];
            // 32 bytes are 44 characters.
            let _ = STANDARD.encode_slice(tag, &mut text);
            put(&text);
        }
    }

    /// Hands out lower-case hex per key, separated by commas.
    pub(crate) fn plain(&self, timestamp: &[u8], body: &[u8], mut put: impl FnMut(&[u8])) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for (nth, key) in self.keys.iter().enumerate() {
            if nth > 0 {
                put(b",");
            }
            let tag = sign(key, &[timestamp, b".", body]);
            let mut text = [0u8; 64];
            for (pair, byte) in text.chunks_exact_mut(2).zip(tag) {
                pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            put(&text);
        }
    }

    /// Bytes that both signatures of all keys take.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() * (48 + 65)
    }
}

fn sign(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = key.clone();
    for part in parts {
        context.update(part);
    }
    context.finalize().into_bytes().into()
}

/// Reads `whsec_<base64>`. The message never quotes the secret.
pub(crate) fn parse_secret(secret: &Secret) -> Result<Key, &'static str> {
    let text = secret.expose().trim();
    let encoded = text
        .strip_prefix(PREFIX)
        .ok_or("must be whsec_ followed by 24 to 64 random bytes in base64")?;
    let bytes = Zeroizing::new(
        LENIENT
            .decode(encoded)
            .map_err(|_| "is not valid base64 after whsec_")?,
    );
    if bytes.len() < KEY_LEN_MIN {
        return Err("is too short: it must hold at least 24 random bytes");
    }
    if bytes.len() > KEY_LEN_MAX {
        return Err("is too long: it must hold at most 64 bytes");
    }
    // HMAC takes keys of any length.
    Key::new_from_slice(&bytes).map_err(|_| "has a length that HMAC does not take")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn signer(secrets: &[&str]) -> Signer {
        Signer::new(
            secrets
                .iter()
                .map(|s| parse_secret(&Secret::new(*s)).unwrap()),
        )
    }

    fn standard(signer: &Signer, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut out = Vec::new();
        signer.standard(id.as_bytes(), timestamp.as_bytes(), body, |part| {
            out.extend_from_slice(part)
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_published_vector_of_standard_webhooks_comes_out() {
        let signature = standard(
            &signer(&[OLD]),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_plain_signature_is_hmac_over_timestamp_dot_body() {
        let mut out = Vec::new();
        signer(&[OLD]).plain(b"1614265330", b"{}", |part| out.extend_from_slice(part));
        // python3: hmac.new(b64decode("MfKQ..."), b"1614265330.{}", "sha256").hexdigest()
        assert_eq!(String::from_utf8(out).unwrap(), PLAIN);
        let guide = include_str!("guide.md");
        assert!(
            guide.contains(PLAIN) && guide.contains(OLD),
            "the guide tells the same vector"
        );
    }

    const PLAIN: &str = "0dc3c49d8b682e966b8db935231f291b943f4a2d812eed18ef7a090c021dde59";

    #[test]
    fn rotation_signs_with_the_new_and_the_old_secret() {
        let signature = standard(&signer(&[NEW, OLD]), "id", "1", b"x");
        let (new, old) = signature.split_once(' ').unwrap();
        assert_eq!(new, standard(&signer(&[NEW]), "id", "1", b"x"));
        assert_eq!(old, standard(&signer(&[OLD]), "id", "1", b"x"));
        let mut plain = Vec::new();
        signer(&[NEW, OLD]).plain(b"1", b"x", |part| plain.extend_from_slice(part));
        assert_eq!(plain.len(), 64 + 1 + 64);
        assert_eq!(plain[64], b',');
    }

    #[test]
    fn a_weak_or_garbled_secret_is_refused_without_being_quoted() {
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!!!!",
            "whsec_c2hvcnQ=",
            &format!("whsec_{}", STANDARD.encode([1u8; 65])),
        ] {
            let error = parse_secret(&Secret::new(bad)).unwrap_err();
            assert!(bad.len() < 8 || !error.contains(&bad[6..]), "{error}");
        }
    }

    #[test]
    fn a_generated_secret_is_accepted_and_never_the_same() {
        let (one, two) = (generate_secret(), generate_secret());
        assert!(parse_secret(&one).is_ok() && parse_secret(&two).is_ok());
        assert_ne!(one.expose(), two.expose());
    }
}
