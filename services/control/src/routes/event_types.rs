//! A tenant's catalogue of event types.

use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::identity;
use pushrail_sink_core::FieldError;
use pushrail_store::event_types;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::tenants::matches;
use super::{List, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Who;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, conflict, invalid, not_found};

const TAG: &str = "Event types";
const TEXT_LEN_MAX: usize = 4_096;
const SCHEMA_LEN_MAX: usize = 256 * 1024;
const READERS: Who = Who::TENANT.or(Who::CUSTOMER);

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/v1/event-types",
            "createEventType",
            TAG,
            "Add an event type",
            handler!(create),
        )
        .body::<Draft>()
        .created::<View>()
        .revision()
        .problems(&[409]),
        Operation::new(
            Method::GET,
            "/v1/event-types",
            "listEventTypes",
            TAG,
            "List event types",
            handler!(list),
        )
        .who(READERS)
        .query(PAGED)
        .ok::<List<View>>(),
        Operation::new(
            Method::GET,
            "/v1/event-types/{name}",
            "getEventType",
            TAG,
            "Show an event type",
            handler!(get),
        )
        .who(READERS)
        .ok::<View>()
        .revision(),
        Operation::new(
            Method::PATCH,
            "/v1/event-types/{name}",
            "updateEventType",
            TAG,
            "Change an event type",
            handler!(update),
        )
        .detail("What is left out stays as it is.")
        .body::<Patch>()
        .ok::<View>()
        .revision()
        .conditional(),
        Operation::new(
            Method::DELETE,
            "/v1/event-types/{name}",
            "deleteEventType",
            TAG,
            "Remove an event type from the catalogue",
            handler!(remove),
        )
        .detail("Events of this type are accepted as before.")
        .nothing()
        .conditional(),
    ]
}

/// An event type to be added.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "EventTypeDraft")]
struct Draft {
    /// Dotted, such as order.completed.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$")
    )]
    name: String,
    #[schemars(length(max = 4096))]
    description: Option<String>,
    /// Under which the portal shows it.
    #[schemars(length(max = 4096))]
    group: Option<String>,
    /// JSON Schema of the payload.
    schema: Option<Value>,
    /// An example payload.
    example: Option<Map<String, Value>>,
    deprecated: Option<bool>,
}

/// What can be changed of an event type.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "EventTypePatch")]
struct Patch {
    #[schemars(length(max = 4096))]
    description: Option<String>,
    #[schemars(length(max = 4096))]
    group: Option<String>,
    schema: Option<Value>,
    example: Option<Map<String, Value>>,
    deprecated: Option<bool>,
}

/// An event type.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventType")]
struct View {
    name: String,
    description: String,
    group: String,
    #[schemars(with = "Option<Value>")]
    schema: Option<Box<RawValue>>,
    #[schemars(with = "Option<Map<String, Value>>")]
    example: Option<Box<RawValue>>,
    deprecated: bool,
    created_at: String,
    updated_at: String,
}

impl View {
    fn of(row: event_types::EventType) -> Result<Self, Problem> {
        let raw = |text: Option<String>| {
            let raw = text.map(RawValue::from_string).transpose();
            raw.map_err(|_| reply::internal())
        };
        Ok(View {
            name: row.name,
            description: row.description,
            group: row.group_name,
            schema: raw(row.schema)?,
            example: raw(row.example)?,
            deprecated: row.deprecated,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// What is written of a type.
struct Said {
    description: String,
    group: String,
    schema: Option<String>,
    example: Option<String>,
    deprecated: bool,
}

impl Said {
    fn borrowed(&self) -> event_types::Said<'_> {
        event_types::Said {
            description: &self.description,
            group_name: &self.group,
            schema: self.schema.as_deref(),
            example: self.example.as_deref(),
            deprecated: self.deprecated,
        }
    }

    fn judged(self) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        for (field, text) in [("description", &self.description), ("group", &self.group)] {
            if text.len() > TEXT_LEN_MAX || text.contains('\0') {
                let message = format!("must have at most {TEXT_LEN_MAX} bytes and no NUL");
                errors.push(FieldError::new(field, message));
            }
        }
        let parsed = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or("null");
            serde_json::from_str::<Value>(text).unwrap_or_default()
        };
        for (field, text) in [("schema", &self.schema), ("example", &self.example)] {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > SCHEMA_LEN_MAX)
            {
                let message = format!("must have at most {SCHEMA_LEN_MAX} bytes");
                errors.push(FieldError::new(field, message));
            }
        }
        if errors.is_empty() && self.schema.is_some() {
            // Compiled without looking anything up: a schema must stand by itself.
            match jsonschema::options().build(&parsed(&self.schema)) {
                Err(error) => {
                    let message = format!("is not a JSON Schema: {}", error.masked());
                    errors.push(FieldError::new("schema", message));
                }
                Ok(schema) if self.example.is_some() => {
                    if let Err(error) = schema.validate(&parsed(&self.example)) {
                        let message = format!("is not what the schema allows: {}", error.masked());
                        errors.push(FieldError::new("example", message));
                    }
                }
                Ok(_) => {}
            }
        }
        match errors.is_empty() {
            true => Ok(self),
            false => Err(invalid(errors)),
        }
    }
}

fn text(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|_| reply::internal())
}

async fn create(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let tenant_id = call.tenant_id()?;
    if let Some(message) = identity::event_type_problem(&draft.name) {
        return Err(reply::field("name", message));
    }
    let said = Said {
        description: draft.description.unwrap_or_default(),
        group: draft.group.unwrap_or_default(),
        schema: draft.schema.as_ref().map(text).transpose()?,
        example: draft.example.as_ref().map(text).transpose()?,
        deprecated: draft.deprecated.unwrap_or_default(),
    }
    .judged()?;
    let name = draft.name;
    let there = event_types::get(call.tx()?, &tenant_id, &name).await;
    if there.map_err(reply::store)?.is_some() {
        return Err(conflict(format!("there is an event type {name}")));
    }
    let row = event_types::insert(call.tx()?, &tenant_id, &name, &said.borrowed())
        .await
        .map_err(reply::store)?;
    let revision = row.revision;
    let view = View::of(row)?;
    call.audit(done(
        "event_type.create",
        &tenant_id,
        &name,
        None,
        Some(&view),
    ))
    .await?;
    Ok(Reply::created(&view)?.revision(revision))
}

fn done<'a>(
    action: &'static str,
    tenant_id: &'a str,
    name: &'a str,
    before: Option<&View>,
    after: Option<&View>,
) -> Done<'a> {
    Done {
        action,
        target_kind: "event_type",
        target_id: name,
        chain: tenant_id,
        customer_id: None,
        before: before.and_then(shown),
        after: after.and_then(shown),
    }
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let tenant_id = call.tenant_id()?;
    let page = event_types::list(call.tx()?, &tenant_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    Reply::ok(&List::try_of(page, View::of)?)
}

async fn found(call: &mut Call) -> Result<event_types::EventType, Problem> {
    let (tenant_id, name) = (call.tenant_id()?, call.parameter("name")?.to_owned());
    let row = event_types::get(call.tx()?, &tenant_id, &name).await;
    row.map_err(reply::store)?
        .ok_or_else(|| not_found("event type"))
}

async fn get(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let row = found(call).await?;
    let revision = row.revision;
    Ok(Reply::ok(&View::of(row)?)?.revision(revision))
}

async fn update(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let patch: Patch = call.body()?;
    let before = found(call).await?;
    matches(call.if_match, before.revision)?;
    let written = |patch: Option<String>, old: &Option<String>| patch.or_else(|| old.clone());
    let said = Said {
        description: patch.description.unwrap_or(before.description.clone()),
        group: patch.group.unwrap_or(before.group_name.clone()),
        schema: written(patch.schema.as_ref().map(text).transpose()?, &before.schema),
        example: written(
            patch.example.as_ref().map(text).transpose()?,
            &before.example,
        ),
        deprecated: patch.deprecated.unwrap_or(before.deprecated),
    }
    .judged()?;
    let (tenant_id, name) = (before.tenant_id.clone(), before.name.clone());
    let seen = Some(before.revision);
    let row = event_types::update(call.tx()?, &tenant_id, &name, &said.borrowed(), seen)
        .await
        .map_err(reply::store)?;
    // Somebody was quicker.
    let row = row.ok_or_else(|| reply::store(pushrail_store::Error::Serialization))?;
    let revision = row.revision;
    let (before, after) = (View::of(before)?, View::of(row)?);
    call.audit(done(
        "event_type.update",
        &tenant_id,
        &name,
        Some(&before),
        Some(&after),
    ))
    .await?;
    Ok(Reply::ok(&after)?.revision(revision))
}

async fn remove(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let before = found(call).await?;
    matches(call.if_match, before.revision)?;
    let (tenant_id, name) = (before.tenant_id.clone(), before.name.clone());
    event_types::delete(call.tx()?, &tenant_id, &name)
        .await
        .map_err(reply::store)?;
    let before = View::of(before)?;
    call.audit(done(
        "event_type.delete",
        &tenant_id,
        &name,
        Some(&before),
        None,
    ))
    .await?;
    Reply::nothing()
}
