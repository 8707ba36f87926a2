//! Sealing: an age file that only the holder of the private key opens.
//!
//! In age's own armor, because people meet it as text: what the API, the portal or a consumer of the topic shows is what
//! `age -d -i key.txt` takes. It costs a third more bytes than the binary form. The file does not tell for whom it is;
//! it tells about how long the payload is.

use std::io::Write as _;

use age::armor::{ArmoredWriter, Format};
use age::x25519::Recipient;
use age::{EncryptError, Encryptor};

/// `None` where the system has nothing to seal with.
pub(crate) fn seal(key: &Recipient, payload: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = Vec::with_capacity(400 + payload.len() + payload.len() * 3 / 8);
    sealed_into(key, payload, &mut sealed).ok()?;
    Some(sealed)
}

fn sealed_into(key: &Recipient, payload: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptError> {
    let recipients = std::iter::once(key as &dyn age::Recipient);
    let armored = ArmoredWriter::wrap_output(out, Format::AsciiArmor)?;
    let mut writer = Encryptor::with_recipients(recipients)?.wrap_output(armored)?;
    writer.write_all(payload)?;
    writer.finish()?.finish()?;
    Ok(())
}
