//! The operations, a file for each kind of thing.

pub(crate) mod api_keys;
pub(crate) mod audit_trail;
pub(crate) mod customers;
pub(crate) mod destination_types;
pub(crate) mod destinations;
pub(crate) mod erasures;
pub(crate) mod event_types;
pub(crate) mod kafka_credentials;
pub(crate) mod log;
pub(crate) mod replays;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod tenants;
pub(crate) mod test_delivery;
mod twice;

use pushrail_http::Problem;
use pushrail_store::Page;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::page_cursor;
use crate::operation::Operation;

/// Everything that the API offers.
pub(crate) fn table() -> Vec<Operation> {
    [
        tenants::operations(),
        api_keys::operations(),
        customers::operations(),
        destinations::operations(),
        replays::operations(),
        erasures::operations(),
        sessions::operations(),
        event_types::operations(),
        destination_types::operations(),
        kafka_credentials::operations(),
        audit_trail::operations(),
        log::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// Of the next page; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    pub(crate) fn of<R>(page: Page<R>, view: impl FnMut(R) -> T) -> Self {
        List {
            items: page.items.into_iter().map(view).collect(),
            next_cursor: page_cursor(page.next),
        }
    }

    /// As [`List::of`], where a row may not be what was written.
    pub(crate) fn try_of<R>(
        page: Page<R>,
        view: impl FnMut(R) -> Result<T, Problem>,
    ) -> Result<Self, Problem> {
        let items: Result<_, _> = page.items.into_iter().map(view).collect();
        Ok(List {
            items: items?,
            next_cursor: page_cursor(page.next),
        })
    }
}

/// As the audit trail keeps it.
pub(crate) fn shown(view: &impl Serialize) -> Option<serde_json::Value> {
    serde_json::to_value(view).ok()
}

/// What is wrong with a name for people.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    let good = name.len() <= 200 && !name.chars().any(char::is_control);
    (!good).then_some("must have at most 200 bytes and no control characters")
}

/// Of a field of a patch: what is there, be it `null`, apart from what is left out.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(Some)
}
