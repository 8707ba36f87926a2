//! A tenant's catalogue of event types, which ingest is told of: `eventValidation` of the tenant says what for.

use http::Method;
use pushrail_http::Problem;
use pushrail_payload_schema::Schema;
use pushrail_schemas::{config, identity};
use pushrail_sink_core::FieldError;
use pushrail_store::event_types;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::tenants::matches;
use super::{List, given, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Who;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, conflict, invalid, not_found};

const TAG: &str = "Event types";
const TEXT_LEN_MAX: usize = 4_096;
const EXAMPLE_LEN_MAX: usize = 256 * 1024;
/// Types of one tenant, and the bytes of their schemas together: every ingest keeps all of them.
const TYPES_MAX: i64 = 1_000;
const SCHEMAS_LEN_MAX: i64 = 8 * 1024 * 1024;
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
        .detail("What is left out stays as it is; `null` removes the schema or the example.")
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
        .detail("Events of this type are accepted without regard to a schema, unless the tenant's `eventValidation` is `catalogue`: then they are refused.")
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
    /// JSON Schema of the payload, draft 6 to 2020-12, at most 64 KiB. References stay inside it, patterns do without
    /// look-around and back-references, `format` refuses nothing. Where the tenant's `eventValidation` is not `off`, payloads
    /// of this type must satisfy it.
    schema: Option<Value>,
    /// An example payload, which satisfies the schema.
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
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Value>")]
    schema: Option<Option<Value>>,
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Map<String, Value>>")]
    example: Option<Option<Map<String, Value>>>,
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
        let example = self.example.as_deref().unwrap_or_default();
        if example.len() > EXAMPLE_LEN_MAX {
            let message = format!("must have at most {EXAMPLE_LEN_MAX} bytes");
            errors.push(FieldError::new("example", message));
        }
        if let Some(schema) = self.schema.as_deref().filter(|_| errors.is_empty()) {
            match Schema::compile(schema) {
                Err(error) => {
                    let field = format!("schema{}", error.pointer);
                    errors.push(FieldError::new(field, error.problem));
                }
                Ok(schema) => errors.extend(broken(&schema, example)),
            }
        }
        match errors.is_empty() {
            true => Ok(self),
            false => Err(invalid(errors)),
        }
    }
}

/// What `example` breaks of its schema, called as ingest calls what a payload breaks.
fn broken(schema: &Schema, example: &str) -> Vec<FieldError> {
    let Ok(example) = serde_json::from_str::<Value>(example) else {
        return Vec::new();
    };
    let broken = schema.problems(&example).into_iter();
    broken
        .map(|one| FieldError::new(format!("example{}", one.pointer), one.problem))
        .collect()
}

/// What a patch leaves of what there was.
fn written(
    patch: Option<Option<impl Serialize>>,
    before: &Option<String>,
) -> Result<Option<String>, Problem> {
    match patch {
        Some(new) => new.as_ref().map(text).transpose(),
        None => Ok(before.clone()),
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
    if identity::is_reserved_event_type(&draft.name) {
        let message = "must not begin with `pushrail.`, which names events of our own";
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
    fits(call, &tenant_id, 1, said.schema.as_deref()).await?;
    let row = event_types::insert(call.tx()?, &tenant_id, &name, &said.borrowed())
        .await
        .map_err(reply::store)?;
    tell(call, &row).await?;
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

/// Refuses more than every ingest should keep.
async fn fits(
    call: &mut Call,
    tenant_id: &str,
    types: i64,
    schema: Option<&str>,
) -> Result<(), Problem> {
    let extent = event_types::extent(call.tx()?, tenant_id).await;
    let (there, len) = extent.map_err(reply::store)?;
    let more = schema.map_or(0, str::len) as i64;
    if there + types > TYPES_MAX {
        let message = format!("is one too many: a catalogue has at most {TYPES_MAX} event types");
        return Err(reply::field("name", message));
    }
    if more > 0 && len + more > SCHEMAS_LEN_MAX {
        let message =
            format!("is too large beside {len} bytes of others: {SCHEMAS_LEN_MAX} are allowed");
        return Err(reply::field("schema", message));
    }
    Ok(())
}

/// Tells ingest what the type is now.
async fn tell(call: &mut Call, row: &event_types::EventType) -> Result<(), Problem> {
    let document = row.document().map_err(reply::store)?;
    let key = config::key::event_type(&row.tenant_id, &row.name);
    call.configure(&key, Some(&document)).await
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
    let said = Said {
        description: patch.description.unwrap_or(before.description.clone()),
        group: patch.group.unwrap_or(before.group_name.clone()),
        schema: written(patch.schema, &before.schema)?,
        example: written(patch.example, &before.example)?,
        deprecated: patch.deprecated.unwrap_or(before.deprecated),
    }
    .judged()?;
    let (tenant_id, name) = (before.tenant_id.clone(), before.name.clone());
    let grown = said
        .schema
        .as_deref()
        .filter(|new| Some(*new) != before.schema.as_deref());
    fits(call, &tenant_id, 0, grown).await?;
    let seen = Some(before.revision);
    let row = event_types::update(call.tx()?, &tenant_id, &name, &said.borrowed(), seen)
        .await
        .map_err(reply::store)?;
    // Somebody was quicker.
    let row = row.ok_or_else(|| reply::store(pushrail_store::Error::Serialization))?;
    tell(call, &row).await?;
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
    let deleted = event_types::delete(call.tx()?, &tenant_id, &name).await;
    // Whoever was quicker has told of it; what came after is not ours to remove.
    if !deleted.map_err(reply::store)? {
        return Err(not_found("event type"));
    }
    let key = config::key::event_type(&tenant_id, &name);
    call.configure(&key, None::<&()>).await?;
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
