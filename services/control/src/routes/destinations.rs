//! Destinations: under a customer with a tenant's key, and without naming the customer with a session's token.

use std::collections::HashMap;

use http::Method;
use pushrail_http::Problem;
use pushrail_schemas::config;
use pushrail_store::{customers, destinations, log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::tenants::matches;
use super::twice::{below, twice};
use super::{List, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Caller;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Destinations";
/// What is shown for every secret.
const MASK: &str = "********";

const ALL: [&str; 2] = [
    "/v1/customers/{externalId}/destinations",
    "/v1/destinations",
];

pub(crate) fn operations() -> Vec<Operation> {
    twice(
        TAG,
        vec![
            (
                Method::POST,
                ALL,
                ["createCustomerDestination", "createDestination"],
                "Make a destination",
                handler!(create),
                |o| {
                    o.detail("For a webhook, `kind` and `config.url` are enough. The customer is made when it is not there. A signing secret that is made here is in this answer and never again.")
                .body::<Draft>().created::<Made_>().revision()
                },
            ),
            (
                Method::GET,
                ALL,
                ["listCustomerDestinations", "listDestinations"],
                "List destinations",
                handler!(list),
                |o| o.query(PAGED).ok::<List<View>>(),
            ),
            (
                Method::GET,
                below!(""),
                ["getCustomerDestination", "getDestination"],
                "Show a destination",
                handler!(get),
                |o| o.ok::<View>().revision(),
            ),
            (
                Method::PATCH,
                below!(""),
                ["updateCustomerDestination", "updateDestination"],
                "Change a destination",
                handler!(update),
                |o| {
                    o.detail("What is left out stays as it is; `null` gives the default back. `config` is replaced as a whole; of `secrets`, those that are named. New work uses the new version at once, what is under way ends on the old.")
                .body::<Patch>().ok::<View>().revision().conditional()
                },
            ),
            (
                Method::DELETE,
                below!(""),
                ["deleteCustomerDestination", "deleteDestination"],
                "Remove a destination",
                handler!(remove),
                |o| {
                    o.detail("What is owed to it is dead-lettered.")
                        .nothing()
                        .conditional()
                },
            ),
            (
                Method::POST,
                below!("/pause"),
                ["pauseCustomerDestination", "pauseDestination"],
                "Pause a destination",
                handler!(pause),
                |o| {
                    o.detail("Its events are kept and owed until it is resumed.")
                        .ok::<View>()
                        .revision()
                },
            ),
            (
                Method::POST,
                below!("/resume"),
                ["resumeCustomerDestination", "resumeDestination"],
                "Resume a destination",
                handler!(resume),
                |o| {
                    o.detail("What is owed to it is delivered, slowly at first.")
                        .ok::<View>()
                        .revision()
                },
            ),
            (
                Method::POST,
                below!("/disable"),
                ["disableCustomerDestination", "disableDestination"],
                "Disable a destination",
                handler!(disable),
                |o| {
                    o.detail("Its events are skipped, and each skip is recorded.")
                        .body::<Reason>()
                        .ok::<View>()
                        .revision()
                },
            ),
            (
                Method::POST,
                below!("/test"),
                ["testCustomerDestination", "testDestination"],
                "Send a test event",
                handler!(super::test_delivery::run),
                |o| {
                    o.detail("One attempt, at once, whatever the state of the destination; it is answered with what came of it, and recorded with origin `test`.")
                .body::<super::test_delivery::Draft>().ok::<super::test_delivery::View>()
                },
            ),
            (
                Method::POST,
                below!("/secrets/rotate"),
                ["rotateCustomerDestinationSecret", "rotateDestinationSecret"],
                "Replace the signing secret",
                handler!(super::secrets::rotate),
                |o| {
                    o.detail("The new secret is in this answer and never again. For the overlap requests carry the signatures of both, then of the new one alone.")
                .body::<super::secrets::Rotation>().ok::<Made_>().revision()
                },
            ),
            (
                Method::POST,
                below!("/secrets/finish-rotation"),
                [
                    "finishCustomerDestinationRotation",
                    "finishDestinationRotation",
                ],
                "End a rotation early",
                handler!(super::secrets::finish),
                |o| {
                    o.detail(
                        "Requests carry the signature of the newest secret alone, from now on.",
                    )
                    .ok::<View>()
                    .revision()
                },
            ),
            (
                Method::GET,
                below!("/changes"),
                ["listCustomerDestinationChanges", "listDestinationChanges"],
                "List what was done to a destination",
                handler!(changes),
                |o| {
                    o.query(&[crate::operation::LIMIT])
                        .ok::<List<super::audit_trail::View>>()
                },
            ),
        ],
    )
}

/// A destination to be made.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DestinationDraft")]
#[allow(
    dead_code,
    reason = "the shape of what is read as an object, for the documentation"
)]
struct Draft {
    /// A destination type, such as webhook.
    kind: String,
    #[serde(flatten)]
    rest: Patch,
}

/// What can be said of a destination.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationPatch")]
#[allow(
    dead_code,
    reason = "the shape of what is read as an object, for the documentation"
)]
struct Patch {
    /// For people.
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    state: Option<config::State>,
    /// As the destination type's `configSchema` says.
    config: Option<Map<String, Value>>,
    /// As the destination type's `secretsSchema` says. Never shown again.
    secrets: Option<Map<String, Value>>,
    /// Exact names, `order.*` or `*`; everything when it is not given.
    #[schemars(length(min = 1, max = 100))]
    event_types: Option<Vec<String>>,
    /// Which events: `{"path": "payload.total", "op": "gte", "value": 100}`, or `all`, `any` and `not` of such.
    filter: Option<Map<String, Value>>,
    /// Steps such as `{"drop": ["payload.card"]}`: keep, drop, rename, set, mask.
    transform: Option<Vec<Map<String, Value>>>,
    retry: Option<config::RetryPolicy>,
    rate_limit: Option<config::RateLimit>,
    /// Where the type sends several records in one call.
    batch: Option<config::BatchPolicy>,
    /// What the audit shows of payloads and responses: `full`, `off`, or a rule that redacts or seals. The customer's
    /// `payloadMode` when it is not given, and again after `null`.
    payload_mode: Option<config::PayloadMode>,
    /// Longest time one attempt may take, in milliseconds.
    #[schemars(range(min = 1, max = 300_000))]
    timeout_ms: Option<u32>,
}

/// Why it is disabled.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DisableReason")]
struct Reason {
    #[schemars(length(max = 500))]
    reason: Option<String>,
}

/// A destination, its secrets masked.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Destination")]
pub(crate) struct View {
    destination_id: Uuid,
    customer_external_id: String,
    kind: String,
    name: String,
    state: Standing,
    /// Why it is disabled or suspended, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason: Option<String>,
    /// By its attempts; in answers to what changes it, this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<super::log::health::View>,
    /// Rises when `config` or a secret changes.
    version: u64,
    #[schemars(with = "Map<String, Value>")]
    config: Box<RawValue>,
    /// Names of the secrets that are set; never their values.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    secrets: Value,
    /// While an old signing secret signs too: until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_ends_at: Option<String>,
    event_types: Vec<String>,
    #[schemars(with = "Option<Map<String, Value>>")]
    filter: Value,
    #[schemars(with = "Vec<Map<String, Value>>")]
    transform: Value,
    retry: config::RetryPolicy,
    rate_limit: Option<config::RateLimit>,
    /// Where it differs from the type's own `limits`.
    batch: Option<config::BatchPolicy>,
    payload_mode: config::PayloadMode,
    /// Whether `payloadMode` is the customer's and changes with it.
    payload_mode_inherited: bool,
    timeout_ms: Option<u32>,
    created_at: String,
    updated_at: String,
}

/// How a destination stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationState")]
enum Standing {
    Active,
    Paused,
    Disabled,
    /// Active, but it refused because of how it is set up: it is left alone, but for an attempt now and then, until that is
    /// mended. What comes for it is dead-lettered.
    Suspended,
}

impl From<config::State> for Standing {
    fn from(state: config::State) -> Self {
        match state {
            config::State::Active => Standing::Active,
            config::State::Paused => Standing::Paused,
            config::State::Disabled => Standing::Disabled,
        }
    }
}

/// A destination with a signing secret that has just been made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationMade")]
pub(crate) struct Made_ {
    #[serde(flatten)]
    pub(crate) destination: View,
    /// Shown only now; absent where the caller brought one, or the type has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signing_secret: Option<String>,
}

impl View {
    pub(crate) fn of(api: &Api, row: destinations::Destination) -> Result<Self, Problem> {
        let names = pushrail_admin::secret_names(&row.document, &api.ring).map_err(|error| {
            tracing::error!(%error, "control.secrets_not_opened");
            reply::internal()
        })?;
        let secrets = names.into_iter().map(|name| (name, json!(MASK))).collect();
        let json = |value: Result<Value, serde_json::Error>| value.map_err(|_| reply::internal());
        let document = row.document;
        Ok(View {
            destination_id: document.destination_id,
            customer_external_id: document.customer_external_id.into(),
            kind: document.kind.into(),
            name: document.name.into(),
            state: document.state.into(),
            state_reason: row.state_reason,
            health: None,
            version: document.version,
            config: document.config,
            secrets: Value::Object(secrets),
            rotation_ends_at: row.rotation_ends_at,
            event_types: document.event_types.into_iter().map(Into::into).collect(),
            filter: json(serde_json::to_value(&document.filter))?,
            transform: json(serde_json::to_value(&document.transform))?,
            retry: document.retry,
            rate_limit: document.rate_limit,
            batch: document.batch,
            payload_mode: document.payload_mode,
            payload_mode_inherited: document.payload_mode_inherited,
            timeout_ms: document.timeout_ms,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }

    /// Shows how it is, too.
    fn with_health(mut self, health: Option<log::health::Health>) -> Self {
        let suspended = health.as_ref().filter(|row| row.health == "suspended");
        if let (Standing::Active, Some(row)) = (&self.state, suspended) {
            self.state = Standing::Suspended;
            self.state_reason.clone_from(&row.last_failure);
        }
        self.health = Some(super::log::health::View::of(health));
        self
    }
}

/// How destinations are, by id.
async fn healths(
    call: &mut Call,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, log::health::Health>, Problem> {
    let rows = log::health::of(call.tx()?, ids).await;
    let rows = rows.map_err(reply::store)?;
    Ok(rows
        .into_iter()
        .map(|row| (row.destination_id, row))
        .collect())
}

/// The destination of the path, locked until the operation has ended.
pub(crate) async fn lock(call: &mut Call) -> Result<destinations::Destination, Problem> {
    let id = call.id("destinationId", "destination")?;
    let customer = super::customers::of(call).await?;
    let row = destinations::lock(call.tx()?, &customer.tenant_id, customer.customer_id, id).await;
    row.map_err(reply::store)?
        .ok_or_else(|| not_found("destination"))
}

/// The destination of the path.
pub(crate) async fn read(call: &mut Call) -> Result<destinations::Destination, Problem> {
    let id = call.id("destinationId", "destination")?;
    let customer = super::customers::of(call).await?;
    let row = destinations::get(call.tx()?, &customer.tenant_id, customer.customer_id, id).await;
    row.map_err(reply::store)?
        .ok_or_else(|| not_found("destination"))
}

/// Writes a destination that was locked as it shall be, tells everyone, and shows it.
pub(crate) async fn replace(
    api: &Api,
    call: &mut Call,
    action: &'static str,
    before: destinations::Destination,
    document: &config::Destination,
    aside: destinations::Aside<'_>,
) -> Result<(View, i64), Problem> {
    let before = View::of(api, before)?;
    let row = destinations::update(call.tx()?, document, aside)
        .await
        .map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("destination"))?;
    let revision = row.revision;
    let after = View::of(api, row)?;
    call.audit(Done {
        action,
        target_kind: "destination",
        target_id: &document.destination_id.to_string(),
        chain: &document.tenant_id,
        customer_id: Some(document.customer_id),
        before: shown(&before),
        after: shown(&after),
    })
    .await?;
    tell(call, document).await?;
    Ok((after, revision))
}

pub(crate) async fn tell(call: &mut Call, document: &config::Destination) -> Result<(), Problem> {
    let key = config::key::destination(document.destination_id);
    call.configure(&key, Some(document)).await
}

/// What a destination of this customer inherits.
async fn payload_mode(
    call: &mut Call,
    customer: &customers::Customer,
) -> Result<Option<config::PayloadMode>, Problem> {
    customers::hold_payload_mode(call.tx()?, &customer.tenant_id, customer.customer_id)
        .await
        .map_err(reply::store)
}

/// The customer for whom a destination is made: it need not be there when a tenant names it.
async fn customer(call: &mut Call) -> Result<customers::Customer, Problem> {
    match &call.caller {
        Caller::Tenant { .. } => {
            let id = call.parameter("externalId")?.to_owned();
            super::customers::ensure(call, "externalId", &id, "").await
        }
        _ => super::customers::of(call).await,
    }
}

async fn create(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let mut object = call.object()?;
    for field in ["tenantId", "customerExternalId", "destinationId"] {
        if object.contains_key(field) {
            return Err(reply::field(
                field,
                "is not for the body: it follows from path and credential",
            ));
        }
    }
    let customer = customer(call).await?;
    object.insert("tenantId".into(), json!(customer.tenant_id));
    object.insert("customerExternalId".into(), json!(customer.external_id));
    // Null is what is not given.
    object.retain(|_, value| !value.is_null());
    let inherited = payload_mode(call, &customer).await?;
    let draft = pushrail_admin::Draft::parse(object).map_err(reply::admin)?;
    let adapter = api.adapter(&draft.kind).ok_or_else(|| {
        let message = format!("is not known; there are: {}", api.kinds());
        reply::field("kind", message)
    })?;
    let built = pushrail_admin::destination(
        draft,
        &**adapter,
        &api.context,
        &api.ring,
        Uuid::now_v7(),
        api.check_route,
    );
    let built = built.map_err(reply::admin)?;
    let mut document = built.destination;
    document.inherit_payload_mode(inherited);
    let row = destinations::insert(call.tx()?, &document)
        .await
        .map_err(reply::store)?;
    let revision = row.revision;
    let view = View::of(api, row)?;
    call.audit(Done {
        action: "destination.create",
        target_kind: "destination",
        target_id: &document.destination_id.to_string(),
        chain: &document.tenant_id,
        customer_id: Some(document.customer_id),
        before: None,
        after: shown(&view),
    })
    .await?;
    tell(call, &document).await?;
    let made = Made_ {
        destination: view,
        signing_secret: built.signing_secret.map(|secret| secret.to_string()),
    };
    Ok(Reply::created(&made)?.revision(revision))
}

async fn list(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let customer = super::customers::of(call).await?;
    let (tenant_id, customer_id) = (&customer.tenant_id, customer.customer_id);
    let page = destinations::list(call.tx()?, tenant_id, customer_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    let ids: Vec<_> = page
        .items
        .iter()
        .map(|row| row.document.destination_id)
        .collect();
    let mut healths = healths(call, &ids).await?;
    Reply::ok(&List::try_of(page, |row| {
        let health = healths.remove(&row.document.destination_id);
        Ok(View::of(api, row)?.with_health(health))
    })?)
}

async fn get(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let row = read(call).await?;
    let (id, revision) = (row.document.destination_id, row.revision);
    let health = healths(call, &[id]).await?.remove(&id);
    let view = View::of(api, row)?.with_health(health);
    Ok(Reply::ok(&view)?.revision(revision))
}

async fn update(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let patch = call.object()?;
    // The customer before its destinations, as whoever changes the customer does.
    let customer = super::customers::of(call).await?;
    let inherited = payload_mode(call, &customer).await?;
    let before = lock(call).await?;
    matches(call.if_match, before.revision)?;
    let adapter = api
        .adapter(&before.document.kind)
        .ok_or_else(reply::internal)?;
    let document = pushrail_admin::revise(
        &before.document,
        patch,
        &**adapter,
        &api.context,
        &api.ring,
        api.check_route,
    );
    let mut document = document.map_err(reply::admin)?;
    document.inherit_payload_mode(inherited);
    let reason = before.state_reason.clone();
    let aside = destinations::Aside {
        // A reason is one for being disabled.
        state_reason: reason
            .as_deref()
            .filter(|_| document.state == config::State::Disabled),
        keep_rotation: true,
        ..Default::default()
    };
    let (view, revision) =
        replace(api, call, "destination.update", before, &document, aside).await?;
    Ok(Reply::ok(&view)?.revision(revision))
}

async fn remove(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let before = lock(call).await?;
    matches(call.if_match, before.revision)?;
    let document = before.document.clone();
    destinations::delete(call.tx()?, document.destination_id)
        .await
        .map_err(reply::store)?;
    call.audit(Done {
        action: "destination.delete",
        target_kind: "destination",
        target_id: &document.destination_id.to_string(),
        chain: &document.tenant_id,
        customer_id: Some(document.customer_id),
        before: shown(&View::of(api, before)?),
        after: None,
    })
    .await?;
    let key = config::key::destination(document.destination_id);
    call.configure(&key, None::<&()>).await?;
    Reply::nothing()
}

async fn pause(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    become_(api, call, "destination.pause", config::State::Paused, None).await
}

async fn resume(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    become_(api, call, "destination.resume", config::State::Active, None).await
}

async fn disable(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let Reason { reason } = call.body()?;
    if reason.as_ref().is_some_and(|reason| reason.len() > 500) {
        return Err(reply::field("reason", "must have at most 500 bytes"));
    }
    let reason = reason.as_deref();
    become_(
        api,
        call,
        "destination.disable",
        config::State::Disabled,
        reason,
    )
    .await
}

async fn become_(
    api: &Api,
    call: &mut Call,
    action: &'static str,
    state: config::State,
    reason: Option<&str>,
) -> Result<Reply, Problem> {
    let before = lock(call).await?;
    let mut document = before.document.clone();
    document.state = state;
    let aside = destinations::Aside {
        state_reason: reason,
        keep_rotation: true,
        ..Default::default()
    };
    let (view, revision) = replace(api, call, action, before, &document, aside).await?;
    Ok(Reply::ok(&view)?.revision(revision))
}

async fn changes(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.id("destinationId", "destination")?;
    let limit = call.limit();
    let customer = super::customers::of(call).await?;
    let wanted = pushrail_store::audit::Wanted {
        customer_id: Some(customer.customer_id),
        target_id: Some(&id.to_string()),
        ..Default::default()
    };
    let rows = pushrail_store::audit::newest(call.tx()?, &customer.tenant_id, &wanted, limit)
        .await
        .map_err(reply::store)?;
    // Also of one that is gone.
    if rows.is_empty() {
        return Err(not_found("destination"));
    }
    Reply::ok(&List {
        items: rows.into_iter().map(super::audit_trail::View::of).collect(),
        next_cursor: None,
    })
}
