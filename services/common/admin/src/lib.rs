//! What may become configuration: tenants, API keys and destinations, judged and made before anything is written.
//!
//! The control plane and `pushrail dev` ask here, so that both accept and refuse the same.
//! It is pure but for random numbers: it reads no topic and writes none, and what it refuses, it refuses completely, with
//! every field that is wrong. Secrets leave it sealed; what has to be shown once is returned apart, and wiped when dropped.

mod api_key;
mod destination;
mod draft;
mod revision;
mod rotation;
mod secret;
mod tenant;

pub use api_key::{NewApiKey, api_key, known_api_key, operator_key, sha256_hex};
pub use destination::{Built, check_payload_mode, destination};
pub use draft::Draft;
pub use pushrail_sink_core::FieldError;
pub use revision::{open_secrets, revise, secret_names};
pub use rotation::{finish_rotation, rotate_signing_secret};
pub use tenant::tenant;

use pushrail_schemas::Problem;

/// The system has no random numbers to give, or the cipher failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random numbers, or no cipher: nothing was made")]
pub struct CryptoError;

/// Why something was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's: every field that is wrong, and how to mend it.
    #[error("{}", join(.0))]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

fn join(errors: &[FieldError]) -> String {
    let line = |error: &FieldError| format!("{}: {}", error.field, error.message);
    errors.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// `/retry/maxAttempts` as `retry.maxAttempts`, and `/eventTypes/0` as `eventTypes[0]`: the way adapters name fields.
fn field_error(problem: &Problem) -> FieldError {
    let mut field = String::new();
    for part in problem.field.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
            field += &format!("[{part}]");
        } else {
            let dot = if field.is_empty() { "" } else { "." };
            field += &format!("{dot}{part}");
        }
    }
    FieldError::new(field, &problem.message)
}
