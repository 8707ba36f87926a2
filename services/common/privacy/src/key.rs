//! A customer's public key, judged before anything is sealed to it.

use age::x25519::Recipient;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;

/// Points of small order on Curve25519 and its twist, with those that reduce to them: whatever is agreed with one of them
/// is known to everybody. age ends the process when it meets one, so none may come that far.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first(1, 0x00, 0x00),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    first(0xec, 0xff, 0x7f),
    first(0xed, 0xff, 0x7f),
    first(0xee, 0xff, 0x7f),
];

const fn first(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Reads `age1...`; or says what is wrong with it, without repeating it.
pub(crate) fn parse(text: &str) -> Result<Recipient, &'static str> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(
            "is a private key, which nobody but its owner may have: make another one, and give its public key, as `age-keygen -y key.txt` prints it",
        );
    }
    let recipient: Recipient = text.parse().map_err(|_| {
        "must be an X25519 recipient of age: age1 and 58 more characters, as `age-keygen -y key.txt` prints it"
    })?;
    let unusable = "can't be used for encryption: make a key with `age-keygen`";
    let decoded = CheckedHrpstring::new::<Bech32>(text).map_err(|_| unusable)?;
    let mut bytes = [0; 32];
    let mut decoded = decoded.byte_iter();
    bytes.fill_with(|| decoded.next().unwrap_or_default());
    // The highest bit says nothing.
    bytes[31] &= 0x7f;
    if SMALL_ORDER.contains(&bytes) {
        return Err(unusable);
    }
    Ok(recipient)
}

#[cfg(test)]
mod tests {
    use bech32::Hrp;

    use super::*;

    fn encoded(bytes: &[u8]) -> String {
        bech32::encode::<Bech32>(Hrp::parse("age").unwrap(), bytes).unwrap()
    }

    #[test]
    fn a_key_that_would_end_the_process_is_refused() {
        for mut point in SMALL_ORDER {
            for high_bit in [0, 0x80] {
                point[31] = point[31] & 0x7f | high_bit;
                let text = encoded(&point);
                assert!(text.parse::<Recipient>().is_ok(), "age takes it");
                assert!(parse(&text).unwrap_err().starts_with("can't be used"));
            }
        }
    }

    #[test]
    fn what_is_no_public_key_says_so_and_is_not_repeated() {
        let identity = age::x25519::Identity::generate();
        let public = identity.to_public().to_string();
        assert!(parse(&public).is_ok());
        use age::secrecy::ExposeSecret as _;
        let secret = identity.to_string();
        let mut typo = public.clone().into_bytes();
        typo[20] = if typo[20] == b'q' { b'p' } else { b'q' };
        let table = [
            (
                secret.expose_secret().to_string(),
                "is a private key, which nobody",
            ),
            (String::from_utf8(typo).unwrap(), "must be an X25519"),
            (String::new(), "must be an X25519"),
            ("age1".into(), "must be an X25519"),
            (encoded(&[7; 31]), "must be an X25519"),
            (format!("{public}\n"), "must be an X25519"),
            ("age1pq1xyz".into(), "must be an X25519"),
            ("ssh-ed25519 AAAAC3Nz".into(), "must be an X25519"),
        ];
        for (text, says) in table {
            let said = parse(&text).unwrap_err();
            assert!(said.starts_with(says), "{text}: {said}");
            assert!(text.len() < 5 || !said.contains(&text), "{said}");
        }
    }
}
