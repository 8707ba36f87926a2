//! Replacing a signing secret while events flow.
//!
//! First the new secret signs and the old ones sign too, so that a receiver accepts whichever it knows; when every receiver
//! knows the new one, the old ones go. Each step is a new version of the destination, with a client of its own: what is
//! under way drains on the old.

use pushrail_schemas::config::Destination;
use pushrail_sink_core::{Context, ErasedAdapter, FieldError};
use pushrail_vault::{Aad, KeyRing};
use serde_json::{Map, Value};

use crate::destination::{SIGNING_SECRET, SecretsText, check, seal};
use crate::secret::signing_secret;
use crate::{Built, Error};

/// Where secrets that are being replaced are kept.
pub(crate) const PREVIOUS: &str = "previousSigningSecrets";

/// The destination with a new signing secret in front of its old one.
pub fn rotate_signing_secret(
    destination: &Destination,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
) -> Result<Built, Error> {
    let mut secrets = open(destination, ring)?;
    let new = signing_secret()?;
    let old = secrets.insert(SIGNING_SECRET.to_owned(), Value::String(new.to_string()));
    let Some(old) = old else {
        let message = format!("a {} has none to replace", destination.kind);
        return Err(refused("secrets.signingSecret", message));
    };
    let previous = secrets
        .entry(PREVIOUS)
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(previous) = previous {
        previous.insert(0, old);
    }
    let destination = next_version(destination, secrets, adapter, context, ring)?;
    Ok(Built {
        destination,
        signing_secret: Some(new),
    })
}

/// The destination without the secrets that were replaced.
pub fn finish_rotation(
    destination: &Destination,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
) -> Result<Built, Error> {
    let mut secrets = open(destination, ring)?;
    secrets.remove(PREVIOUS);
    let destination = next_version(destination, secrets, adapter, context, ring)?;
    Ok(Built {
        destination,
        signing_secret: None,
    })
}

pub(crate) fn open(destination: &Destination, ring: &KeyRing) -> Result<Map<String, Value>, Error> {
    let Some(sealed) = &destination.secrets else {
        return Ok(Map::new());
    };
    let opened = ring
        .open(&Aad::of(destination), sealed)
        .map_err(|error| refused("secrets", error.to_string()))?;
    serde_json::from_slice(&opened).map_err(|_| refused("secrets", "are not a JSON object".into()))
}

fn next_version(
    destination: &Destination,
    secrets: Map<String, Value>,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
) -> Result<Destination, Error> {
    let secrets = SecretsText::of(secrets);
    let errors = check(adapter, context, &destination.config, &secrets);
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let mut next = destination.clone();
    next.version += 1;
    next.secrets = seal(ring, &next, &secrets)?;
    Ok(next)
}

fn refused(field: &str, message: String) -> Error {
    Error::Invalid(vec![FieldError::new(field, message)])
}
