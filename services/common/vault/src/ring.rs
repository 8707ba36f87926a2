//! The key ring: `id:base64key[,id:base64key]`, the current key first.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushrail_schemas::config::{PayloadKey, Sealed};
use zeroize::Zeroizing;

use crate::aad::{self, Aad};

const KEY_LEN: usize = 32;
const ID_LEN_MAX: usize = 32;

/// Keys to seal and open with.
pub struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: Box<str>,
    cipher: LessSafeKey,
    /// Kept to write the ring down again ([`KeyRing::to_text`]).
    material: Zeroizing<[u8; KEY_LEN]>,
}

/// What was sealed; wiped when dropped.
pub type Opened = Zeroizing<Vec<u8>>;

/// Why text is no key ring. Names the key's place and id, never its material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("the key ring is empty; it must be id:base64key[,id:base64key], the current key first")]
    Empty,
    #[error("key {place} of the key ring must be written as id:base64key")]
    Form { place: usize },
    #[error("key {place} of the key ring must have an id of 1 to 32 letters, digits, - or _")]
    Id { place: usize },
    #[error("key \"{id}\" of the key ring must be 32 bytes in base64")]
    Material { id: String },
    #[error("key \"{id}\" is twice in the key ring")]
    Twice { id: String },
}

/// The random source or the cipher failed. Nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secrets could not be sealed")]
pub struct SealError;

/// Why something did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Ours to mend: the operator took a key off the ring too early.
    #[error("sealed with key \"{key_id}\", which is not on the key ring")]
    UnknownKey { key_id: Box<str> },
    #[error("the ciphertext is not valid base64 or too short")]
    Garbled,
    #[error(
        "does not open with key \"{key_id}\" for this tenant, customer, destination and version"
    )]
    Refused { key_id: Box<str> },
}

impl KeyRing {
    /// A ring with one new random key, named after nothing but itself.
    pub fn generate() -> Result<Self, SealError> {
        let mut material = Zeroizing::new([0u8; KEY_LEN]);
        rand::fill(&mut material[..]).map_err(|_| SealError)?;
        let mut id = [0u8; 4];
        rand::fill(&mut id).map_err(|_| SealError)?;
        let id = format!("k{:08x}", u32::from_be_bytes(id));
        let key = Key::new(id.into(), material).ok_or(SealError)?;
        Ok(KeyRing { keys: vec![key] })
    }

    /// The ring as text, to be kept where only the operator reads. It *is* the secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len() * 80));
        for key in &self.keys {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&key.id);
            text.push(':');
            STANDARD.encode_string(&key.material[..], &mut text);
        }
        text
    }

    /// Which key seals.
    pub fn current_id(&self) -> &str {
        &self.keys[0].id
    }

    /// Whether something was sealed with the current key; what was not should be sealed anew before its key goes.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        *sealed.key_id == *self.keys[0].id
    }

    /// Seals with the current key under a fresh random nonce.
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &[u8]) -> Result<Sealed, SealError> {
        self.seal_bound(&aad.bytes(), plaintext)
    }

    /// Seals the answer to a request with an idempotency key, which may show a secret once.
    pub fn seal_answer(
        &self,
        owner: &str,
        key: &str,
        plaintext: &[u8],
    ) -> Result<Sealed, SealError> {
        self.seal_bound(&aad::answer(owner, key), plaintext)
    }

    fn seal_bound(&self, bound: &[u8], plaintext: &[u8]) -> Result<Sealed, SealError> {
        let key = &self.keys[0];
        let mut nonce = [0u8; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError)?;
        let room = NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(room));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = key
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(bound),
                &mut sealed[NONCE_LEN..],
            )
            .map_err(|_| SealError)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(Sealed {
            key_id: key.id.clone(),
            ciphertext: STANDARD.encode(&sealed[..]).into(),
        })
    }

    /// Opens with whichever key of the ring sealed it. Any change of row, version or byte refuses.
    pub fn open(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Opened, OpenError> {
        self.open_bound(&aad.bytes(), sealed)
    }

    /// Opens what [`KeyRing::seal_answer`] sealed.
    pub fn open_answer(
        &self,
        owner: &str,
        key: &str,
        sealed: &Sealed,
    ) -> Result<Opened, OpenError> {
        self.open_bound(&aad::answer(owner, key), sealed)
    }

    /// Seals what the keys of a tenant's payloads are computed from.
    pub fn seal_payload_key(
        &self,
        tenant_id: &str,
        epoch: u32,
        shard: u8,
        plaintext: &[u8],
    ) -> Result<PayloadKey, SealError> {
        let sealed = self.seal_bound(&aad::payload_key(tenant_id, epoch, shard), plaintext)?;
        Ok(PayloadKey {
            tenant_id: tenant_id.into(),
            epoch,
            shard,
            sealed,
        })
    }

    /// Opens what [`KeyRing::seal_payload_key`] sealed.
    pub fn open_payload_key(&self, key: &PayloadKey) -> Result<Opened, OpenError> {
        let bound = aad::payload_key(&key.tenant_id, key.epoch, key.shard);
        self.open_bound(&bound, &key.sealed)
    }

    /// A key for another purpose from each key of the ring, the current one first: who has one learns nothing of the ring,
    /// nor of what is derived for any other purpose.
    pub fn subkeys(&self, purpose: &str) -> Vec<(String, Zeroizing<[u8; 32]>)> {
        struct Len;
        impl KeyType for Len {
            fn len(&self) -> usize {
                32
            }
        }
        let derive = |key: &Key| {
            let mut out = Zeroizing::new([0u8; 32]);
            let secret = Salt::new(HKDF_SHA256, b"pushrail.key_ring").extract(&key.material[..]);
            let info = [purpose.as_bytes()];
            let derived = secret.expand(&info, Len);
            let filled = derived.and_then(|okm| okm.fill(&mut out[..]));
            filled.expect("32 bytes are what HKDF-SHA256 gives at once");
            (key.id.to_string(), out)
        };
        self.keys.iter().map(derive).collect()
    }

    fn open_bound(&self, bound: &[u8], sealed: &Sealed) -> Result<Opened, OpenError> {
        let key_id = &sealed.key_id;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == *key_id)
            .ok_or_else(|| OpenError::UnknownKey {
                key_id: key_id.clone(),
            })?;
        let decoded = STANDARD.decode(&*sealed.ciphertext);
        let mut bytes = Zeroizing::new(decoded.map_err(|_| OpenError::Garbled)?);
        let (nonce, body) = bytes
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(OpenError::Garbled)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .cipher
            .open_in_place(nonce, aead::Aad::from(bound), body);
        let plaintext = match opened {
            Ok(plaintext) => Zeroizing::new(plaintext.to_vec()),
            Err(_) => {
                return Err(OpenError::Refused {
                    key_id: key_id.clone(),
                });
            }
        };
        Ok(plaintext)
    }
}

impl Key {
    fn new(id: Box<str>, material: Zeroizing<[u8; KEY_LEN]>) -> Option<Self> {
        let cipher = UnboundKey::new(&AES_256_GCM, &material[..]).ok()?;
        Some(Key {
            id,
            cipher: LessSafeKey::new(cipher),
            material,
        })
    }
}

impl FromStr for KeyRing {
    type Err = RingError;

    fn from_str(text: &str) -> Result<Self, RingError> {
        let mut keys: Vec<Key> = Vec::new();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            let place = index + 1;
            let (id, material) = part.split_once(':').ok_or(RingError::Form { place })?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(plain) {
                return Err(RingError::Id { place });
            }
            if keys.iter().any(|key| &*key.id == id) {
                return Err(RingError::Twice { id: id.to_owned() });
            }
            let key = decode(material).and_then(|material| Key::new(id.into(), material));
            keys.push(key.ok_or_else(|| RingError::Material { id: id.to_owned() })?);
        }
        if keys.is_empty() {
            return Err(RingError::Empty);
        }
        Ok(KeyRing { keys })
    }
}

fn decode(material: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let bytes = Zeroizing::new(STANDARD.decode(material).ok()?);
    let key: &[u8; KEY_LEN] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*key))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| format!("{}:***", key.id));
        f.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const ROW: Aad<'static> = Aad {
        tenant_id: "acme",
        customer_id: Uuid::from_u128(1),
        destination_id: Uuid::from_u128(2),
        version: 3,
    };

    fn ring() -> KeyRing {
        KeyRing::generate().unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_to_the_same_bytes(plaintext: Vec<u8>, version: u64) {
            let ring = ring();
            let row = Aad { version, ..ROW };
            let sealed = ring.seal(&row, &plaintext).unwrap();
            prop_assert_eq!(&ring.open(&row, &sealed).unwrap()[..], &plaintext[..]);
        }

        #[test]
        fn a_changed_byte_refuses(at in 0usize..40, bit in 0u8..8) {
            let ring = ring();
            let sealed = ring.seal(&ROW, b"hunter2 hunt").unwrap();
            let mut bytes = STANDARD.decode(&*sealed.ciphertext).unwrap();
            prop_assert_eq!(bytes.len(), 40);
            bytes[at] ^= 1 << bit;
            let changed = Sealed { ciphertext: STANDARD.encode(bytes).into(), ..sealed };
            prop_assert!(ring.open(&ROW, &changed).is_err());
        }
    }

    #[test]
    fn ciphertext_moved_to_another_row_or_version_refuses() {
        let ring = ring();
        let sealed = ring.seal(&ROW, b"hunter2").unwrap();
        let other = Uuid::from_u128(9);
        for row in [
            Aad {
                tenant_id: "acme2",
                ..ROW
            },
            Aad {
                tenant_id: "",
                ..ROW
            },
            Aad {
                customer_id: other,
                ..ROW
            },
            Aad {
                destination_id: other,
                ..ROW
            },
            Aad {
                customer_id: ROW.destination_id,
                destination_id: ROW.customer_id,
                ..ROW
            },
            Aad { version: 2, ..ROW },
            Aad { version: 4, ..ROW },
        ] {
            let error = ring.open(&row, &sealed).unwrap_err();
            assert!(matches!(error, OpenError::Refused { .. }), "{row:?}");
        }
    }

    #[test]
    fn a_payload_key_moved_to_another_tenant_epoch_or_shard_refuses() {
        let ring = ring();
        let sealed = ring.seal_payload_key("acme", 7, 3, b"seed").unwrap();
        assert_eq!(&ring.open_payload_key(&sealed).unwrap()[..], b"seed");
        for moved in [
            PayloadKey {
                tenant_id: "acme2".into(),
                ..sealed.clone()
            },
            PayloadKey {
                epoch: 8,
                ..sealed.clone()
            },
            PayloadKey {
                shard: 4,
                ..sealed.clone()
            },
        ] {
            assert!(ring.open_payload_key(&moved).is_err());
        }
    }

    #[test]
    fn a_rotated_ring_opens_the_old_and_seals_with_the_new() {
        let old = ring();
        let new = ring();
        let sealed_before = old.seal(&ROW, b"hunter2").unwrap();
        let both: KeyRing = format!("{},{}", &*new.to_text(), &*old.to_text())
            .parse()
            .unwrap();
        assert_eq!(&both.open(&ROW, &sealed_before).unwrap()[..], b"hunter2");
        assert!(!both.is_current(&sealed_before));
        let sealed_after = both.seal(&ROW, b"hunter2").unwrap();
        assert_eq!(&*sealed_after.key_id, new.current_id());
        assert_eq!(&new.open(&ROW, &sealed_after).unwrap()[..], b"hunter2");
        let error = new.open(&ROW, &sealed_before).unwrap_err();
        assert_eq!(
            error,
            OpenError::UnknownKey {
                key_id: old.current_id().into()
            }
        );
    }

    #[test]
    fn a_key_under_a_false_name_refuses() {
        let (ours, theirs) = (ring(), ring());
        let text = theirs
            .to_text()
            .replace(theirs.current_id(), ours.current_id());
        let impostor: KeyRing = text.parse().unwrap();
        let sealed = ours.seal(&ROW, b"hunter2").unwrap();
        assert!(matches!(
            impostor.open(&ROW, &sealed),
            Err(OpenError::Refused { .. })
        ));
    }

    #[test]
    fn nothing_shows_material() {
        let ring = ring();
        let text = ring.to_text();
        let (id, material) = text.split_once(':').unwrap();
        assert_eq!(format!("{ring:?}"), format!("[\"{id}:***\"]"));
        let short = &material[..20];
        let long = format!("{material}AAAA");
        for bad in [
            format!("{id}:{short}"),
            format!("{id}:{long}"),
            format!("{id}:{material},{id}:{material}"),
            format!("{id}:{material},:{material}"),
            format!("{id}:{material},a b:{material}"),
            format!("{id}:{material},{material}"),
        ] {
            let error = bad.parse::<KeyRing>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(short), "{shown}");
        }
        assert_eq!("".parse::<KeyRing>().unwrap_err(), RingError::Empty);
        assert_eq!(" , ".parse::<KeyRing>().unwrap_err(), RingError::Empty);
    }

    #[test]
    fn garbled_ciphertext_is_an_error_and_no_panic() {
        let ring = ring();
        for garbled in ["", "AAAA", "%%%", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            let sealed = Sealed {
                key_id: ring.current_id().into(),
                ciphertext: garbled.into(),
            };
            assert!(ring.open(&ROW, &sealed).is_err(), "{garbled}");
        }
    }

    /// Sealed by another implementation (Python's `cryptography`) with a fixed key: a change of the format would close every secret there is.
    #[test]
    fn what_was_sealed_years_ago_still_opens() {
        let ring: KeyRing = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
            .parse()
            .unwrap();
        let sealed = Sealed {
            key_id: "k1".into(),
            ciphertext: GOLDEN.into(),
        };
        assert_eq!(&ring.open(&ROW, &sealed).unwrap()[..], b"hunter2");
    }

    const GOLDEN: &str = "AAECAwQFBgcICQoLL3e4b6CX8CwzPfD0QgW568U2d+gw5qw=";
}
