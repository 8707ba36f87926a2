//! A destination as somebody wants it, before it is judged.

use pushrail_schemas::config::{BatchPolicy, PayloadMode, RateLimit, RetryPolicy, State};
use pushrail_schemas::filter::Filter;
use pushrail_schemas::transform::Transform;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Error, FieldError};

/// What a destination is made from, in the names of the API. Everything that can have a default has one.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    pub tenant_id: Box<str>,
    /// The vendor's own id of its customer.
    pub customer_external_id: Box<str>,
    pub kind: Box<str>,
    /// For people; the kind and the customer when it is not given.
    #[serde(default)]
    pub name: Option<Box<str>>,
    #[serde(default)]
    pub state: State,
    /// The adapter's own configuration, an object.
    #[serde(default)]
    pub config: Value,
    /// The adapter's secrets, an object.
    #[serde(default)]
    pub secrets: Value,
    #[serde(default = "every_event")]
    pub event_types: Vec<Box<str>>,
    #[serde(default)]
    pub filter: Option<Filter>,
    #[serde(default)]
    pub transform: Vec<Transform>,
    #[serde(default)]
    pub retry: RetryPolicy,
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// Only for types that send several records in one call.
    #[serde(default)]
    pub batch: Option<BatchPolicy>,
    /// Its customer's when it is not given.
    #[serde(default)]
    pub payload_mode: Option<PayloadMode>,
    #[serde(default)]
    pub timeout_ms: Option<u32>,
}

fn every_event() -> Vec<Box<str>> {
    vec!["*".into()]
}

impl Draft {
    /// Reads a draft. Only its shape is judged here, and no message repeats a value.
    pub fn parse(object: Map<String, Value>) -> Result<Self, Error> {
        let missing = ["tenantId", "customerExternalId", "kind"]
            .into_iter()
            .filter(|field| !object.contains_key(*field))
            .map(|field| FieldError::new(field, "is missing"));
        let not_objects = ["config", "secrets"]
            .into_iter()
            .filter(|field| object.get(*field).is_some_and(|value| !value.is_object()))
            .map(|field| FieldError::new(field, "must be a JSON object"));
        let errors: Vec<_> = missing.chain(not_objects).collect();
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
        serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." {
                "destination".to_owned()
            } else {
                path
            };
            Error::Invalid(vec![FieldError::new(
                field,
                pushrail_sink_core::without_value(error.inner()),
            )])
        })
    }
}
