//! One request on its way through an operation.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pushrail_http::Problem;
use pushrail_sink_core::FieldError;
use pushrail_store::{Cursor, Tx, audit, outbox};
use pushrail_topology::topics;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::api::Api;
use crate::caller::Caller;
use crate::operation::LIMIT_DEFAULT;
use crate::reply::{self, internal};

pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) path: HashMap<&'static str, String>,
    pub(crate) query: HashMap<String, String>,
    pub(crate) body: Bytes,
    /// What `If-Match` asks for.
    pub(crate) if_match: Option<i64>,
    /// The caller's address.
    pub(crate) source: String,
    /// It asks for server-sent events, by name.
    pub(crate) wants_events: bool,
    /// In the caller's scope; committed when the operation is done, and has said so.
    tx: Option<Tx>,
    /// Letters that router, sinks and ingest wait for.
    pub(crate) told: Vec<i64>,
    /// Something was made last before the operation was done.
    pub(crate) committed: bool,
}

/// What was done, for the audit trail.
pub(crate) struct Done<'a> {
    pub(crate) action: &'static str,
    pub(crate) target_kind: &'static str,
    pub(crate) target_id: &'a str,
    /// Whose trail it is on.
    pub(crate) chain: &'a str,
    pub(crate) customer_id: Option<Uuid>,
    /// As the API shows it: without secrets.
    pub(crate) before: Option<serde_json::Value>,
    pub(crate) after: Option<serde_json::Value>,
}

impl Call {
    pub(crate) fn new(
        caller: Caller,
        path: HashMap<&'static str, String>,
        query: HashMap<String, String>,
        body: Bytes,
        if_match: Option<i64>,
        source: String,
        tx: Tx,
    ) -> Self {
        Call {
            caller,
            path,
            query,
            body,
            if_match,
            source,
            wants_events: false,
            tx: Some(tx),
            told: Vec::new(),
            committed: false,
        }
    }

    /// The transaction in the caller's scope.
    pub(crate) fn tx(&mut self) -> Result<&mut Tx, Problem> {
        self.tx.as_mut().ok_or_else(internal)
    }

    /// Makes what was done so far last, before something outside the database is done.
    pub(crate) async fn commit(&mut self) -> Result<(), Problem> {
        self.committed = true;
        match self.tx.take() {
            Some(tx) => tx.commit().await.map_err(reply::store),
            None => Ok(()),
        }
    }

    /// Begins another transaction after [`Call::commit`].
    pub(crate) async fn begin(&mut self, api: &Api) -> Result<(), Problem> {
        let tx = api.store.begin(self.caller.scope()).await;
        self.tx = Some(tx.map_err(reply::store)?);
        Ok(())
    }

    /// The caller's own tenant; for operations that are not the operator's.
    pub(crate) fn tenant_id(&self) -> Result<String, Problem> {
        let id = self.caller.tenant_id().ok_or_else(internal)?;
        Ok(id.to_owned())
    }

    pub(crate) fn parameter(&self, name: &str) -> Result<&str, Problem> {
        self.path.get(name).map(String::as_str).ok_or_else(internal)
    }

    /// A UUID of the path; what is none is the id of nothing.
    pub(crate) fn id(&self, name: &str, what: &str) -> Result<Uuid, Problem> {
        let id = self.parameter(name)?;
        id.parse().map_err(|_| reply::not_found(what))
    }

    /// The body as what the operation takes.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        let parsed = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| refused_body(&error))?;
        match deserializer.end() {
            Ok(()) => Ok(parsed),
            Err(error) => Err(malformed(format!("the body is not JSON: {error}"))),
        }
    }

    /// The body as an object, to be judged later.
    pub(crate) fn object(&self) -> Result<serde_json::Map<String, serde_json::Value>, Problem> {
        match serde_json::from_slice(&self.body) {
            Ok(serde_json::Value::Object(object)) => Ok(object),
            Ok(_) => Err(malformed("the body must be a JSON object".to_owned())),
            Err(error) => Err(malformed(format!("the body is not JSON: {error}"))),
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        // Judged with the query.
        let limit = self.query.get("limit").and_then(|text| text.parse().ok());
        limit.unwrap_or(LIMIT_DEFAULT)
    }

    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        let cursor: Option<Cursor> = self.decoded_cursor()?;
        // PostgreSQL is asked to read it as a time, so it has to be one that it can hold.
        let held = |at: &jiff::Timestamp| at.as_second() >= 0;
        let good = |cursor: &Cursor| cursor.at.parse().is_ok_and(|at| held(&at));
        match cursor {
            Some(cursor) if !good(&cursor) => Err(foreign_cursor()),
            cursor => Ok(cursor),
        }
    }

    /// A cursor that [`encoded_cursor`] made.
    pub(crate) fn decoded_cursor<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(text) = self.query.get("cursor") else {
            return Ok(None);
        };
        let decoded = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        cursor.map(Some).ok_or_else(foreign_cursor)
    }

    /// Puts what was done on the audit trail, in the database and on `audit.changes`.
    pub(crate) async fn audit(&mut self, done: Done<'_>) -> Result<(), Problem> {
        let (actor_kind, actor_id) = self.caller.actor();
        let source = self.source.clone();
        record(self.tx()?, actor_kind, &actor_id, &source, done).await
    }

    /// Tells router, sinks and ingest: `None` removes.
    pub(crate) async fn configure(
        &mut self,
        key: &str,
        value: Option<&impl Serialize>,
    ) -> Result<(), Problem> {
        let value = value.map(serde_json::to_vec).transpose();
        let value = value.map_err(|_| internal())?;
        let id = outbox::put(self.tx()?, topics::CONFIG, key, value.as_deref()).await;
        self.told.push(id.map_err(reply::store)?);
        Ok(())
    }
}

/// See [`Call::audit`]; for what the service does by itself too.
pub(crate) async fn record(
    tx: &mut Tx,
    actor_kind: &str,
    actor_id: &str,
    source: &str,
    done: Done<'_>,
) -> Result<(), Problem> {
    let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    let (before, after) = (text(&done.before), text(&done.after));
    let entry = audit::Entry {
        chain: done.chain,
        actor_kind,
        actor_id,
        action: done.action,
        target_kind: done.target_kind,
        target_id: done.target_id,
        customer_id: done.customer_id,
        before: before.as_deref(),
        after: after.as_deref(),
        source,
    };
    let row = audit::append(tx, &entry).await.map_err(reply::store)?;
    let view = crate::routes::audit_trail::View::of(row);
    let value = serde_json::to_vec(&view).map_err(|_| internal())?;
    outbox::put(tx, topics::AUDIT_CHANGES, done.chain, Some(&value))
        .await
        .map_err(reply::store)?;
    Ok(())
}

pub(crate) fn page_cursor(cursor: Option<Cursor>) -> Option<String> {
    encoded_cursor(cursor.as_ref())
}

/// What a caller sees of a cursor: nothing to rely on.
pub(crate) fn encoded_cursor(cursor: Option<&impl Serialize>) -> Option<String> {
    let text = serde_json::to_vec(cursor?).ok()?;
    Some(URL_SAFE_NO_PAD.encode(text))
}

fn foreign_cursor() -> Problem {
    reply::field(
        "cursor",
        "must be the `nextCursor` of another page of this list",
    )
}

pub(crate) fn malformed(detail: String) -> Problem {
    Problem::new(
        http::StatusCode::BAD_REQUEST,
        "malformed-request",
        "The request can't be read",
    )
    .detail(detail)
}

fn refused_body(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return malformed(format!("the body is not JSON: {inner}"));
    }
    let path = error.path().to_string();
    let message = pushrail_sink_core::without_value(inner);
    // serde names a missing or unknown field in its message and not in the path.
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let field = match (path.as_str(), named) {
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
        (".", None) => "body".to_owned(),
        (path, _) => path.to_owned(),
    };
    reply::invalid(vec![FieldError::new(field, message)])
}
