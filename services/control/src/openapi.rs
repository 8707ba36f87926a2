//! The OpenAPI 3.1 document, from the table that also serves.

use std::sync::Arc;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::caller::Who;
use crate::operation::{Operation, Query, QueryKind};

const ABOUT: &str = "\
The control plane of Pushrail: tenants (vendors), their customers, the destinations that each customer chose, portal sessions,
event types and the audit trail.

Every request carries `Authorization: Bearer …` with the operator's key, a tenant's API key (`psh_…`) or a session's token.
Errors are `application/problem+json` (RFC 9457): `type` is a stable name, `errors` names each field and how to mend it; whatever
answers with an error has changed nothing. A `POST` may carry an `Idempotency-Key` of up to 255 characters: its answer is given
again to the same request for 24 hours. What has an `ETag` can be changed with `If-Match`. Lists are paged: `limit`, and `cursor`
from the `nextCursor` of the page before. Times are RFC 3339 in UTC.";

/// The document.
pub(crate) fn document(operations: &[Arc<Operation>]) -> Value {
    // OpenAPI 3.1 schemas are JSON Schema 2020-12.
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method.as_str().to_ascii_lowercase()] =
            described(operation, &mut generator);
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pushrail control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "adminKey": {"type": "http", "scheme": "bearer", "description": "The operator's key."},
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A tenant's API key, `psh_…`."},
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "The token of a session: one customer."},
            },
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = operation
        .path_parameters()
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
        })
        .collect();
    parameters.extend(operation.query.iter().map(query_parameter));
    if operation.is_idempotent_by_key() {
        parameters.push(
            json!({"name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The same answer is given to the same request for 24 hours.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}),
        );
    }
    if operation.conditional {
        parameters.push(
            json!({"name": "If-Match", "in": "header", "required": false,
            "description": "The ETag that it must still have, or *.",
            "schema": {"type": "string", "pattern": "^(\\*|\"[0-9]{1,18}\")$"}}),
        );
    }
    let mut responses = Map::new();
    responses.insert(
        operation.status.as_u16().to_string(),
        success(operation, generator),
    );
    for (status, about) in problems(operation) {
        responses.insert(
            status.to_string(),
            json!({"description": about, "content": {"application/problem+json":
                {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
        );
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": format!("{}\n\nTakes {}.", operation.detail, operation.who.describe()).trim(),
        "security": security(operation.who),
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = operation.body {
        let schema = body(generator);
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    described
}

fn success(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut success = json!({"description": operation.status.canonical_reason().unwrap_or("Done")});
    if let Some(answer) = operation.answer {
        let schema = answer(generator);
        success["content"] = json!({"application/json": {"schema": schema}});
    }
    for media in operation.media {
        success["content"][*media] = json!({"schema": {"type": "string"}});
    }
    if operation.revision {
        success["headers"] = json!({"ETag": {"description": "Of what is shown; for If-Match.",
            "schema": {"type": "string"}}});
    }
    success
}

fn problems(operation: &Operation) -> Vec<(u16, &'static str)> {
    let mut all = vec![
        (400, "The request can't be read."),
        (401, "No credential that counts."),
        (403, "The credential is not for this."),
        (413, "The body is too large."),
        (422, "A field is wrong; `errors` names each."),
        (
            429,
            "Too many requests; `Retry-After` says when to come back.",
        ),
        (500, "Something is wrong on our side."),
        (
            503,
            "The database or Kafka can't be reached; `detail` says whether something may have been changed.",
        ),
        // Whoever comes by way of ingest may hear these from it.
        (
            502,
            "The control plane, or the other side, can't be reached; `detail` says whether something may have been changed.",
        ),
        (
            504,
            "The control plane took too long; the request may have been carried out.",
        ),
    ];
    if operation.body.is_some() {
        all.push((415, "The body is not JSON."));
    }
    let mut asked = operation.query.iter();
    let names_a_customer = asked.any(|query| query.name == "customerExternalId");
    if names_a_customer || operation.path_parameters().next().is_some() {
        all.push((404, "There is none, or it is somebody else's."));
    }
    if operation.conditional {
        all.push((412, "It has changed since; get it again."));
    }
    for status in operation.problems {
        let about = match status {
            404 => "There is none, or it is somebody else's.",
            406 => "Ask for a media type that this has.",
            409 => "It is there already, or its state does not allow this.",
            _ => "See the problem's detail.",
        };
        if !all.iter().any(|(known, _)| known == status) {
            all.push((*status, about));
        }
    }
    all.sort_unstable();
    all
}

fn security(who: Who) -> Value {
    let schemes = [
        (Who::OPERATOR, "adminKey"),
        (Who::TENANT, "apiKey"),
        (Who::CUSTOMER, "session"),
    ];
    let schemes = schemes.iter().filter(|(scheme, _)| who.has(*scheme));
    schemes.map(|(_, name)| json!({*name: []})).collect()
}

fn query_parameter(query: &Query) -> Value {
    let schema = match query.kind {
        QueryKind::Text => json!({"type": "string", "maxLength": 2048}),
        QueryKind::Id => json!({"type": "string", "format": "uuid"}),
        QueryKind::Number(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        QueryKind::Time => json!({"type": "string", "format": "date-time"}),
        QueryKind::One(of) => json!({"type": "string", "enum": of}),
    };
    json!({"name": query.name, "in": "query", "required": false, "description": query.about, "schema": schema})
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "description": "A stable name to branch on.",
                "examples": ["urn:pushrail:problem:invalid-request"]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "A sentence for people."},
            "errors": {"type": "array", "items": {"type": "object", "required": ["field", "message"], "properties": {
                "field": {"type": "string", "description": "Path in the request, such as config.url."},
                "message": {"type": "string", "description": "What is wrong and what would be right."}}}},
        },
    })
}
