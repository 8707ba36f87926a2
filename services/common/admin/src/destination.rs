//! From a draft to a destination: judged by its adapter and by the contract, its secrets sealed.

use pushrail_privacy::Privacy;
use pushrail_schemas::config::{Destination, PayloadMode, Sealed};
use pushrail_schemas::{Problem, identity};
use pushrail_sink_core::{Context, ErasedAdapter, FieldError};
use pushrail_vault::{Aad, KeyRing};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::signing_secret;
use crate::{CryptoError, Draft, Error, field_error};

/// The secret that is made for whoever brings none.
pub(crate) const SIGNING_SECRET: &str = "signingSecret";

/// A destination that may be written.
pub struct Built {
    pub destination: Destination,
    /// The signing secret, where it was made here: shown once.
    pub signing_secret: Option<Zeroizing<String>>,
}

/// Judges a draft completely and makes version 1 of a destination from it. An adapter that requires a `signingSecret`
/// gets one when the draft has none. `router` says what the router would refuse of filter and transform. A destination that
/// has no payload mode of its own still has to inherit its customer's.
pub fn destination(
    draft: Draft,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
    destination_id: Uuid,
    router: impl FnOnce(&Destination) -> Vec<Problem>,
) -> Result<Built, Error> {
    build(draft, adapter, context, ring, destination_id, 1, router)
}

/// As [`destination`], as any version.
pub(crate) fn build(
    draft: Draft,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
    destination_id: Uuid,
    version: u64,
    router: impl FnOnce(&Destination) -> Vec<Problem>,
) -> Result<Built, Error> {
    let mut secrets = match draft.secrets {
        Value::Object(secrets) => secrets,
        _ => Map::new(),
    };
    let mut made = None;
    if wants_signing_secret(adapter) && !secrets.contains_key(SIGNING_SECRET) {
        let secret = signing_secret()?;
        secrets.insert(SIGNING_SECRET.to_owned(), Value::String(secret.to_string()));
        made = Some(secret);
    }
    let config = match draft.config {
        Value::Null => raw(&Value::Object(Map::new())),
        config => raw(&config),
    };
    let secrets = SecretsText::of(secrets);
    let mut errors = check(adapter, context, &config, &secrets);
    let name = draft
        .name
        .unwrap_or_else(|| format!("{} for {}", draft.kind, draft.customer_external_id).into());
    let mut destination = Destination {
        destination_id,
        customer_id: identity::customer_id(&draft.tenant_id, &draft.customer_external_id),
        tenant_id: draft.tenant_id,
        customer_external_id: draft.customer_external_id,
        kind: draft.kind,
        name,
        state: draft.state,
        version,
        config,
        secrets: None,
        event_types: draft.event_types,
        filter: draft.filter,
        transform: draft.transform,
        retry: draft.retry,
        rate_limit: draft.rate_limit,
        batch: draft.batch,
        payload_mode_inherited: draft.payload_mode.is_none(),
        payload_mode: draft.payload_mode.unwrap_or_default(),
        timeout_ms: draft.timeout_ms,
    };
    let problems = destination.problems();
    // The router compiles what it can rely on to be well formed.
    let problems = if problems.is_empty() {
        router(&destination)
    } else {
        problems
    };
    errors.extend(problems.iter().map(field_error));
    errors.extend(payload_mode_errors(&destination.payload_mode));
    errors.extend(timeout_error(&destination, adapter));
    errors.extend(batch_errors(&destination, adapter));
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    destination.secrets = seal(ring, &destination, &secrets)?;
    Ok(Built {
        destination,
        signing_secret: made,
    })
}

/// Judges what somebody wants shown of payloads.
pub fn check_payload_mode(mode: &PayloadMode) -> Result<(), Error> {
    let errors = payload_mode_errors(mode);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(errors)),
    }
}

fn payload_mode_errors(mode: &PayloadMode) -> Vec<FieldError> {
    let problems = Privacy::of(mode, "/payloadMode").err().unwrap_or_default();
    problems.iter().map(field_error).collect()
}

/// Whether the adapter's secrets have a required `signingSecret`.
fn wants_signing_secret(adapter: &dyn ErasedAdapter) -> bool {
    let (_, secrets) = adapter.schemas();
    let required = secrets.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|name| name == SIGNING_SECRET))
}

/// Secrets as JSON text, wiped when dropped.
pub(crate) struct SecretsText {
    text: Zeroizing<String>,
    is_empty: bool,
}

impl SecretsText {
    pub(crate) fn of(secrets: Map<String, Value>) -> Self {
        let is_empty = secrets.is_empty();
        let mut value = Value::Object(secrets);
        let text = Zeroizing::new(value.to_string());
        wipe(&mut value);
        SecretsText { text, is_empty }
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

pub(crate) fn check(
    adapter: &dyn ErasedAdapter,
    context: &Context,
    config: &RawValue,
    secrets: &SecretsText,
) -> Vec<FieldError> {
    let Ok(secrets) = serde_json::from_str::<&RawValue>(&secrets.text) else {
        return vec![FieldError::new("secrets", "must be a JSON object")];
    };
    let given = pushrail_sink_core::Destination { config, secrets };
    adapter.check(given, context).err().unwrap_or_default()
}

fn timeout_error(destination: &Destination, adapter: &dyn ErasedAdapter) -> Option<FieldError> {
    let max_ms = adapter.info().timeout_max.as_millis();
    let asked_ms = destination.timeout_ms?;
    let message = format!(
        "must be at most {max_ms} for {}, not {asked_ms}",
        destination.kind
    );
    (u128::from(asked_ms) > max_ms).then(|| FieldError::new("timeoutMs", message))
}

fn batch_errors(destination: &Destination, adapter: &dyn ErasedAdapter) -> Vec<FieldError> {
    let (max, kind) = (adapter.info().batch_max, &destination.kind);
    let Some(asked) = destination.batch else {
        return Vec::new();
    };
    if max.is_single() {
        let message = format!("is not used: a {kind} gets one event a call; remove it");
        return vec![FieldError::new("batch", message)];
    }
    let most = [
        ("records", asked.records, max.records as u128),
        ("bytes", asked.bytes, max.bytes as u128),
        ("ageMs", asked.age_ms, max.age.as_millis()),
    ];
    let too_much = most.into_iter().filter_map(|(field, asked, max)| {
        let asked = asked.filter(|asked| u128::from(*asked) > max)?;
        let message = format!("must be at most {max} for {kind}, not {asked}");
        Some(FieldError::new(format!("batch.{field}"), message))
    });
    too_much.collect()
}

pub(crate) fn seal(
    ring: &KeyRing,
    destination: &Destination,
    secrets: &SecretsText,
) -> Result<Option<Sealed>, CryptoError> {
    if secrets.is_empty {
        return Ok(None);
    }
    let sealed = ring.seal(&Aad::of(destination), secrets.text.as_bytes());
    sealed.map(Some).map_err(|_| CryptoError)
}

fn raw(value: &Value) -> Box<RawValue> {
    // A `Value` is always valid JSON.
    serde_json::value::to_raw_value(value).expect("a value is JSON")
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
