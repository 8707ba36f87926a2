//! Passwords: drawn, shown to one caller, and gone.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::Error;

/// 256 bits: no dictionary has it, so the iterations of SCRAM protect nothing that is guessable.
const LEN: usize = 32;

/// A password that nobody has seen yet. Letters, digits, `-` and `_`, so that no configuration file needs to quote it.
pub struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn draw() -> Result<Password, Error> {
        let bytes = random::<LEN>()?;
        // With room for all of it, so that growing leaves no copy behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * LEN));
        URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
        Ok(Password(text))
    }

    /// The password itself, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(&mut bytes[..]).map_err(|_| Error::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_plain_text_and_never_the_same_again() {
        let (one, other) = (Password::draw().unwrap(), Password::draw().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(
            one.expose()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert_ne!(one.expose(), other.expose());
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
