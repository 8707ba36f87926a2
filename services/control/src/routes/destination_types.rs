//! The catalogue of destination types, as their adapters declare them.

use http::Method;
use pushrail_http::Problem;
use pushrail_sink_core::ErasedAdapter;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::List;
use crate::api::Api;
use crate::call::Call;
use crate::caller::Who;
use crate::operation::{Operation, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Destination types";
const ANYONE: Who = Who::OPERATOR.or(Who::TENANT).or(Who::CUSTOMER);

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/v1/destination-types",
            "listDestinationTypes",
            TAG,
            "List destination types",
            handler!(list),
        )
        .who(ANYONE)
        .ok::<List<View>>(),
        Operation::new(
            Method::GET,
            "/v1/destination-types/{kind}",
            "getDestinationType",
            TAG,
            "Show a destination type",
            handler!(get),
        )
        .who(ANYONE)
        .ok::<View>(),
    ]
}

/// A destination type.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationType")]
struct View {
    kind: &'static str,
    label: &'static str,
    category: &'static str,
    /// Markdown: what the customer must create, and what arrives.
    guide: &'static str,
    /// JSON Schema of `config`.
    #[schemars(with = "Map<String, Value>")]
    config_schema: Value,
    /// JSON Schema of `secrets`.
    #[schemars(with = "Map<String, Value>")]
    secrets_schema: Value,
    limits: Limits,
    failures: Vec<Failure>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationTypeLimits")]
struct Limits {
    /// Records in one call, where a destination's `batch` says nothing else.
    batch_records: usize,
    /// Bytes in one call; absent where there is no limit but that of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_bytes: Option<usize>,
    /// How long a batch may wait for more, in milliseconds.
    batch_age_ms: u64,
    /// The most that a destination's `batch` may ask for. With one record, it may ask for nothing.
    batch_records_max: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_bytes_max: Option<usize>,
    batch_age_max_ms: u64,
    timeout_default_ms: u64,
    timeout_max_ms: u64,
}

/// One way in which a delivery can end.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FailureClass")]
struct Failure {
    code: &'static str,
    /// What becomes of the delivery.
    #[schemars(with = "String")]
    class: Value,
    meaning: &'static str,
    advice: &'static str,
}

impl View {
    fn of(adapter: &dyn ErasedAdapter) -> Self {
        let info = adapter.info();
        let (config, secrets) = adapter.schemas();
        let bytes = |bytes: usize| Some(bytes).filter(|bytes| *bytes < usize::MAX);
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        View {
            kind: info.kind,
            label: info.label,
            category: info.category,
            guide: info.guide,
            config_schema: config.to_value(),
            secrets_schema: secrets.to_value(),
            limits: Limits {
                batch_records: info.batch.records,
                batch_bytes: bytes(info.batch.bytes),
                batch_age_ms: ms(info.batch.age),
                batch_records_max: info.batch_max.records,
                batch_bytes_max: bytes(info.batch_max.bytes),
                batch_age_max_ms: ms(info.batch_max.age),
                timeout_default_ms: ms(info.timeout_default),
                timeout_max_ms: ms(info.timeout_max),
            },
            failures: info
                .failures
                .iter()
                .map(|failure| Failure {
                    code: failure.code,
                    class: serde_json::to_value(failure.class).unwrap_or_default(),
                    meaning: failure.meaning,
                    advice: failure.advice,
                })
                .collect(),
        }
    }
}

async fn list(api: &Api, _: &mut Call) -> Result<Reply, Problem> {
    Reply::ok(&List {
        items: api
            .adapters
            .iter()
            .map(|(_, adapter)| View::of(&**adapter))
            .collect(),
        next_cursor: None,
    })
}

async fn get(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let adapter = api.adapter(call.parameter("kind")?);
    let adapter = adapter.ok_or_else(|| not_found("destination type"))?;
    Reply::ok(&View::of(&**adapter)).map_err(|_| reply::internal())
}
