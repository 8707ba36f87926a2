//! Events against their tenant's catalogue of event types, for tenants that ask for it.
//!
//! A schema is compiled when the first event needs it, and kept for all workers until its record changes: the directory
//! gives out the same value until then, so its address says which schema is meant. For a tenant that does not ask, an event
//! is not even looked at.
//!
//! A schema that can't be used lets the events of its type pass, as if the type had none. The control plane accepts none
//! that we can't use, so such a record is a defect of ours or comes from an older release, and a vendor whose events are
//! refused for it could do nothing about it and would lose them; what passes is no less safe than with validation off. It is
//! logged and counted once, for the operator.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use pushrail_directory::{Directory, EventType};
use pushrail_http::FieldProblem;
use pushrail_payload_schema::Schema;
use pushrail_schemas::config::{self, EventValidation, Tenant};
use serde_json::Value;

use crate::input::Draft;
use crate::input::rules::{Cause, Rejection};
use crate::json;
use crate::metrics::Metrics;

/// Bytes of the schemas that are kept compiled, as they are written; compiled they take some twenty times as much.
const KEPT_LEN_MAX: usize = 4 * 1024 * 1024;
/// What an entry counts beside its schema.
const ENTRY_LEN: usize = 256;

/// Knows the catalogues.
pub trait Types: Send + Sync + 'static {
    /// The same value until the type's record changes.
    fn event_type(&self, tenant: &str, name: &str) -> Option<Arc<EventType>>;
}

impl Types for Directory {
    fn event_type(&self, tenant: &str, name: &str) -> Option<Arc<EventType>> {
        Directory::event_type(self, tenant, name)
    }
}

/// See the module.
pub struct Catalogue {
    types: Arc<dyn Types>,
    compiled: RwLock<Compiled>,
    metrics: Metrics,
}

#[derive(Default)]
struct Compiled {
    /// By the address of the type, which no other has as long as we hold it.
    schemas: HashMap<usize, (Arc<EventType>, Option<Arc<Schema>>)>,
    len: usize,
}

impl Catalogue {
    pub fn new(types: Arc<dyn Types>, metrics: Metrics) -> Self {
        Catalogue {
            types,
            compiled: RwLock::default(),
            metrics,
        }
    }

    /// Lets an event of `tenant` pass, or says what its catalogue has against it.
    pub fn judge<'a>(&self, tenant: &Tenant, draft: Draft<'a>) -> Result<Draft<'a>, Rejection> {
        if tenant.event_validation.is_off() {
            return Ok(draft);
        }
        let known = self.types.event_type(&tenant.tenant_id, &draft.event_type);
        let Some(known) = known else {
            return match tenant.event_validation {
                EventValidation::Catalogue => Err(unknown(&draft.event_type)),
                EventValidation::Off | EventValidation::Schema => Ok(draft),
            };
        };
        match self.schema(tenant, &draft.event_type, &known) {
            None => Ok(draft),
            Some(schema) => satisfies(&schema, draft),
        }
    }

    /// The schema of a type, where it has one that can be used.
    fn schema(&self, tenant: &Tenant, name: &str, known: &Arc<EventType>) -> Option<Arc<Schema>> {
        let text = known.schema.as_deref()?;
        let address = Arc::as_ptr(known).addr();
        let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, schema)) = compiled.schemas.get(&address) {
            return schema.clone();
        }
        drop(compiled);
        // Aside, so that other types' events go on; two workers may do the same work once.
        let made = Schema::compile(text);
        let mut compiled = self
            .compiled
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, schema)) = compiled.schemas.get(&address) {
            return schema.clone();
        }
        let schema = made.map(Arc::new).map_err(|problem| {
            self.metrics.schema_unusable();
            let key = config::key::event_type(&tenant.tenant_id, name);
            let at = problem.pointer.as_str();
            tracing::error!(key, at, %problem, "event_type.schema_unusable");
        });
        compiled.keep(Arc::clone(known), schema.ok())
    }
}

impl Compiled {
    fn keep(&mut self, known: Arc<EventType>, schema: Option<Arc<Schema>>) -> Option<Arc<Schema>> {
        let len = |known: &EventType| ENTRY_LEN + known.schema.as_deref().map_or(0, str::len);
        // What nobody else holds has been replaced.
        self.schemas
            .retain(|_, (known, _)| Arc::strong_count(known) > 1);
        self.len = self.schemas.values().map(|(known, _)| len(known)).sum();
        if self.len + len(&known) > KEPT_LEN_MAX {
            self.schemas.clear();
            self.len = 0;
        }
        self.len += len(&known);
        let address = Arc::as_ptr(&known).addr();
        self.schemas.insert(address, (known, schema.clone()));
        schema
    }
}

fn satisfies<'a>(schema: &Schema, draft: Draft<'a>) -> Result<Draft<'a>, Rejection> {
    // It was scanned before, and is JSON that every reader reads alike.
    let payload: Value = serde_json::from_slice(draft.payload)
        .map_err(|_| Rejection::of("payload", "can't be read, to be held to its schema"))?;
    let broken = schema.problems(&payload);
    if broken.is_empty() {
        return Ok(draft);
    }
    let errors = broken.into_iter().map(|one| FieldProblem {
        field: format!("payload{}", one.pointer).into(),
        message: one.problem.into(),
    });
    Err(Rejection {
        errors: errors.collect(),
        cause: Cause::Schema,
    })
}

fn unknown(event_type: &str) -> Rejection {
    let shown = json::shown(event_type);
    let problem = format!(
        "is `{shown}`, which is not in the catalogue: add it with POST /v1/event-types, or correct it"
    );
    Rejection {
        cause: Cause::Uncatalogued,
        ..Rejection::of("eventType", problem)
    }
}

#[cfg(test)]
mod tests;
