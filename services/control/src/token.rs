//! Session tokens: JWTs for one customer.
//!
//! A token carries the customer, the session and when it ends, and nothing else: what a session may do is decided here, and
//! whether it still lasts in the database. The keys that sign follow from the key ring, so they rotate with it: the first key
//! of the ring signs, every key of it verifies, and `kid` says which.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use pushrail_vault::KeyRing;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ISSUER: &str = "pushrail";
const LABEL: &str = "pushrail.session.v1";
/// Clocks of servers differ a little.
const LEEWAY_S: u64 = 2;

pub(crate) struct Tokens {
    current: (String, EncodingKey),
    keys: HashMap<String, DecodingKey>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The customer.
    sub: Uuid,
    /// The session.
    jti: Uuid,
    iat: i64,
    exp: i64,
}

impl Tokens {
    pub(crate) fn new(ring: &KeyRing) -> Self {
        let keys: Vec<_> = ring.subkeys(LABEL);
        let (id, first) = &keys[0];
        Tokens {
            current: (id.clone(), EncodingKey::from_secret(&first[..])),
            keys: keys
                .iter()
                .map(|(id, key)| (id.clone(), DecodingKey::from_secret(&key[..])))
                .collect(),
        }
    }

    /// A token for a session; `None` when the system can't sign.
    pub(crate) fn issue(
        &self,
        session_id: Uuid,
        customer_id: Uuid,
        issued_at_s: i64,
        expires_at_s: i64,
    ) -> Option<String> {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.current.0.clone());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: customer_id,
            jti: session_id,
            iat: issued_at_s,
            exp: expires_at_s,
        };
        jsonwebtoken::encode(&header, &claims, &self.current.1).ok()
    }

    /// The session of a token that we signed and that has not expired.
    pub(crate) fn session_id(&self, token: &str) -> Option<Uuid> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let key = self.keys.get(header.kid.as_deref()?)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = LEEWAY_S;
        let token = jsonwebtoken::decode::<Claims>(token, key, &validation).ok()?;
        Some(token.claims.jti)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    #[test]
    fn a_token_is_its_session_until_it_expires() {
        let tokens = Tokens::new(&KeyRing::generate().unwrap());
        let (session, customer) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let token = tokens.issue(session, customer, now(), now() + 60).unwrap();
        assert_eq!(tokens.session_id(&token), Some(session));
        let expired = tokens
            .issue(session, customer, now() - 60, now() - 30)
            .unwrap();
        assert_eq!(tokens.session_id(&expired), None);
    }

    #[test]
    fn a_token_of_another_ring_or_with_another_algorithm_is_none() {
        let (ours, theirs) = (
            Tokens::new(&KeyRing::generate().unwrap()),
            Tokens::new(&KeyRing::generate().unwrap()),
        );
        let token = theirs
            .issue(Uuid::from_u128(1), Uuid::from_u128(2), now(), now() + 60)
            .unwrap();
        assert_eq!(ours.session_id(&token), None);
        // {"alg":"none"} with our own key id.
        use base64::Engine as _;
        let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let header = encode(format!(r#"{{"alg":"none","kid":"{}"}}"#, ours.current.0));
        let claims = token.split('.').nth(1).unwrap();
        assert_eq!(ours.session_id(&format!("{header}.{claims}.")), None);
    }

    #[test]
    fn tokens_of_a_key_that_was_rotated_still_count_and_name_their_key() {
        let (old, new) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let both: KeyRing = format!("{},{}", *new.to_text(), *old.to_text())
            .parse()
            .unwrap();
        let token = Tokens::new(&old)
            .issue(Uuid::from_u128(1), Uuid::from_u128(2), now(), now() + 60)
            .unwrap();
        let tokens = Tokens::new(&both);
        assert_eq!(tokens.session_id(&token), Some(Uuid::from_u128(1)));
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid.as_deref(), Some(old.current_id()));
        let header = tokens.issue(Uuid::from_u128(1), Uuid::from_u128(2), now(), now() + 60);
        let header = jsonwebtoken::decode_header(header.unwrap()).unwrap();
        assert_eq!(header.kid.as_deref(), Some(new.current_id()));
    }
}
