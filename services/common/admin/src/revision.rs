//! Changing a destination that is there.

use pushrail_schemas::Problem;
use pushrail_schemas::config::Destination;
use pushrail_sink_core::{Context, ErasedAdapter};
use pushrail_vault::KeyRing;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::destination::build;
use crate::rotation::open;
use crate::{Draft, Error, FieldError};

/// What a destination is for ever.
const FIXED: [&str; 4] = ["tenantId", "customerExternalId", "destinationId", "kind"];

/// The destination with what `patch` says, judged as if it were new. What is not named stays; `null` gives the default
/// back; `config` is replaced as a whole, of `secrets` those that are named. The version rises where `config` or a secret
/// changes, and with it comes a new client.
pub fn revise(
    current: &Destination,
    mut patch: Map<String, Value>,
    adapter: &dyn ErasedAdapter,
    context: &Context,
    ring: &KeyRing,
    router: impl FnOnce(&Destination) -> Vec<Problem>,
) -> Result<Destination, Error> {
    let fixed = FIXED.iter().filter(|field| patch.contains_key(**field));
    let mut errors: Vec<_> = fixed
        .map(|field| FieldError::new(*field, "can't be changed: make another destination"))
        .collect();
    let named = match patch.remove("secrets") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(named)) => named,
        Some(_) => {
            errors.push(FieldError::new("secrets", "must be a JSON object"));
            Map::new()
        }
    };
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let old = open(current, ring)?;
    let mut secrets = old.clone();
    for (name, value) in named {
        match value {
            Value::Null => drop(secrets.remove(&name)),
            value => drop(secrets.insert(name, value)),
        }
    }
    let same_secrets = secrets == old;
    let mut object = written(current)?;
    object.extend(patch);
    object.retain(|_, value| !value.is_null());
    let config = object.get("config").cloned().unwrap_or_default();
    let same_config =
        serde_json::from_str::<Value>(current.config.get()).is_ok_and(|current| current == config);
    object.insert("secrets".into(), Value::Object(secrets));
    let draft = Draft::parse(object)?;
    let same = same_config && same_secrets;
    let version = current.version + u64::from(!same);
    let id = current.destination_id;
    let mut revised = build(draft, adapter, context, ring, id, version, router)?.destination;
    if same {
        // The same version has the same bytes.
        revised.config = current.config.clone();
        revised.secrets = current.secrets.clone();
    }
    Ok(revised)
}

/// What is there, in the names of a draft.
fn written(current: &Destination) -> Result<Map<String, Value>, Error> {
    let refused = |_| Error::Invalid(vec![FieldError::new("destination", "can't be read")]);
    let Value::Object(mut object) = serde_json::to_value(current).map_err(refused)? else {
        return Ok(Map::new());
    };
    for name in [
        "destinationId",
        "customerId",
        "version",
        "secrets",
        "payloadModeInherited",
    ] {
        object.remove(name);
    }
    if current.payload_mode_inherited {
        object.remove("payloadMode");
    }
    Ok(object)
}

/// Names of the secrets that a destination has, but for those that are being replaced.
pub fn secret_names(current: &Destination, ring: &KeyRing) -> Result<Vec<String>, Error> {
    let secrets = open(current, ring)?;
    let names = secrets.into_iter().map(|(name, _)| name);
    Ok(names
        .filter(|name| name != crate::rotation::PREVIOUS)
        .collect())
}

/// A destination's secrets as its adapter takes them: for as long as it takes to make a client.
pub fn open_secrets(current: &Destination, ring: &KeyRing) -> Result<Box<RawValue>, Error> {
    let refused = |_| Error::Invalid(vec![FieldError::new("secrets", "can't be read")]);
    serde_json::value::to_raw_value(&open(current, ring)?).map_err(refused)
}
