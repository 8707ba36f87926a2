//! The operations, a file for each kind of thing.

pub(crate) mod api_keys;
pub(crate) mod audit_trail;
pub(crate) mod customers;
pub(crate) mod dead_letters;
pub(crate) mod destination_types;
pub(crate) mod destinations;
pub(crate) mod event_types;
pub(crate) mod kafka_credentials;
pub(crate) mod log;
pub(crate) mod replays;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod tenants;
pub(crate) mod test_delivery;

use http::Method;
use pushrail_http::Problem;
use pushrail_store::Page;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::page_cursor;
use crate::caller::Who;
use crate::operation::{Handler, Operation};

/// Everything that the API offers.
pub(crate) fn table() -> Vec<Operation> {
    [
        tenants::operations(),
        api_keys::operations(),
        customers::operations(),
        destinations::operations(),
        replays::operations(),
        dead_letters::operations(),
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

/// An operation on what belongs to a customer: with a tenant's key, which names the customer, and with a session's token,
/// which needs not.
pub(crate) struct Both {
    pub(crate) method: Method,
    pub(crate) paths: [&'static str; 2],
    pub(crate) ids: [&'static str; 2],
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) handler: Handler,
    pub(crate) make: fn(Operation) -> Operation,
}

pub(crate) fn both(row: Both) -> [Operation; 2] {
    let [of_tenant, of_session] = row.paths;
    let new = |method, path, id| {
        (row.make)(Operation::new(
            method,
            path,
            id,
            row.tag,
            row.summary,
            row.handler,
        ))
    };
    [
        new(row.method.clone(), of_tenant, row.ids[0]),
        new(row.method, of_session, row.ids[1]).who(Who::CUSTOMER),
    ]
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
