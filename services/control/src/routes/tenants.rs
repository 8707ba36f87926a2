//! Tenants: the operator's, and each tenant's own.

use http::Method;
use pushrail_http::Problem;
use pushrail_kafka_access::User;
use pushrail_schemas::config::{self, Encryption, EventValidation};
use pushrail_sink_core::FieldError;
use pushrail_store::{api_keys, destinations, event_types, kafka_credentials, tenants};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{List, given, name_problem, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::caller::Who;
use crate::cors::origin_problem;
use crate::operation::{Operation, PAGED, handler};
use crate::payload_keys;
use crate::reply::{self, Reply, conflict, invalid, not_found};

const TAG: &str = "Tenants";
const ORIGINS_MAX: usize = 50;
const LOG_RETENTION_DAYS_MAX: i32 = 3_650;
const OVERLAP_MAX_S: i32 = 30 * 86_400;

/// What is wrong with the time for which an old signing secret signs.
pub(crate) fn overlap_problem(seconds: i32) -> Option<String> {
    let good = (0..=OVERLAP_MAX_S).contains(&seconds);
    (!good).then(|| format!("must be from 0 to {OVERLAP_MAX_S}"))
}

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/v1/tenants",
            "createTenant",
            TAG,
            "Make a tenant and its first API key",
            handler!(create),
        )
        .detail("The key is in this answer and never again.")
        .who(Who::OPERATOR)
        .body::<Draft>()
        .created::<Made>()
        .revision()
        .problems(&[409]),
        Operation::new(
            Method::GET,
            "/v1/tenants",
            "listTenants",
            TAG,
            "List tenants",
            handler!(list),
        )
        .who(Who::OPERATOR)
        .query(PAGED)
        .ok::<List<View>>(),
        Operation::new(
            Method::GET,
            "/v1/tenants/{tenantId}",
            "getTenant",
            TAG,
            "Show a tenant",
            handler!(get),
        )
        .who(Who::OPERATOR)
        .ok::<View>()
        .revision(),
        Operation::new(
            Method::PATCH,
            "/v1/tenants/{tenantId}",
            "updateTenant",
            TAG,
            "Change a tenant",
            handler!(update),
        )
        .detail("What is left out stays as it is.")
        .who(Who::OPERATOR)
        .body::<Patch>()
        .ok::<View>()
        .revision()
        .conditional(),
        Operation::new(
            Method::DELETE,
            "/v1/tenants/{tenantId}",
            "deleteTenant",
            TAG,
            "Remove a tenant with everything that belongs to it",
            handler!(remove),
        )
        .detail("Its audit trail stays. What is owed to its destinations is dead-lettered.")
        .who(Who::OPERATOR)
        .nothing()
        .conditional(),
        Operation::new(
            Method::GET,
            "/v1/tenant",
            "getOwnTenant",
            TAG,
            "Show the key's own tenant",
            handler!(get_own),
        )
        .ok::<View>()
        .revision(),
        Operation::new(
            Method::PATCH,
            "/v1/tenant",
            "updateOwnTenant",
            TAG,
            "Change the key's own tenant",
            handler!(update_own),
        )
        .detail("What is left out stays as it is.")
        .body::<Patch>()
        .ok::<View>()
        .revision()
        .conditional(),
    ]
}

/// A tenant to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TenantDraft")]
struct Draft {
    /// Names it for ever: 1 to 63 characters of a-z, 0-9 and inner -. Made up when it is not given.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    tenant_id: Option<String>,
    /// For people; the id when it is not given.
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// Origins that the portal is embedded in, such as https://app.example.com, from which browsers may call.
    #[schemars(length(max = 50))]
    allowed_origins: Option<Vec<String>>,
    /// How long an old signing secret signs beside a new one, in seconds; a day when it is not given.
    #[schemars(range(min = 0, max = 2_592_000))]
    rotation_overlap_seconds: Option<i32>,
    /// Whether events are held to the catalogue of event types as they come in: `off`; `schema`, where the payload of a type
    /// that has a schema must satisfy it; `catalogue`, where a type must be in the catalogue too. `off` when it is not given.
    event_validation: Option<EventValidation>,
    /// Whether payloads are sealed when they come in, so that what was erased can be read on no topic; for customers that do
    /// not say so themselves. `off` when it is not given.
    encryption: Option<Encryption>,
    /// Days for which the delivery log keeps deliveries, counted from when their events were accepted. The operator keeps none
    /// for longer than he keeps any; as long as that when it is not given.
    #[schemars(range(min = 1, max = 3650))]
    log_retention_days: Option<i32>,
}

/// What can be said of a tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TenantPatch")]
struct Patch {
    /// For people.
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// Origins that the portal is embedded in, such as https://app.example.com, from which browsers may call.
    #[schemars(length(max = 50))]
    allowed_origins: Option<Vec<String>>,
    /// How long an old signing secret signs beside a new one, in seconds.
    #[schemars(range(min = 0, max = 2_592_000))]
    rotation_overlap_seconds: Option<i32>,
    /// Whether events are held to the catalogue of event types as they come in: `off`; `schema`, where the payload of a type
    /// that has a schema must satisfy it; `catalogue`, where a type must be in the catalogue too.
    event_validation: Option<EventValidation>,
    /// Whether payloads are sealed when they come in, so that what was erased can be read on no topic; for customers that do
    /// not say so themselves. Counts for events that are accepted from then on.
    encryption: Option<Encryption>,
    /// Days for which the delivery log keeps deliveries, counted from when their events were accepted; as long as the operator
    /// keeps any after `null`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 3650))]
    log_retention_days: Option<Option<i32>>,
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Tenant")]
struct View {
    tenant_id: String,
    name: String,
    allowed_origins: Vec<String>,
    rotation_overlap_seconds: i32,
    event_validation: EventValidation,
    encryption: Encryption,
    /// Absent where the log is kept as long as the operator keeps any.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_retention_days: Option<i32>,
    created_at: String,
    updated_at: String,
}

/// A tenant that has just been made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TenantMade")]
struct Made {
    #[serde(flatten)]
    tenant: View,
    /// Its first API key, shown only now.
    api_key: String,
    /// Names the key in lists.
    api_key_id: String,
}

impl View {
    fn of(row: tenants::Tenant) -> Self {
        View {
            tenant_id: row.tenant_id,
            name: row.name,
            allowed_origins: row.allowed_origins,
            rotation_overlap_seconds: row.rotation_overlap_seconds,
            event_validation: row.event_validation,
            encryption: row.encryption,
            log_retention_days: row.log_retention_days,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Patch {
    fn apply(self, settings: &mut tenants::Settings) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if let Some(name) = self.name {
            match name_problem(&name).or(name.is_empty().then_some("must not be empty")) {
                Some(message) => errors.push(FieldError::new("name", message)),
                None => settings.name = name,
            }
        }
        if let Some(origins) = self.allowed_origins {
            if origins.len() > ORIGINS_MAX {
                let message = format!("must list at most {ORIGINS_MAX}");
                errors.push(FieldError::new("allowedOrigins", message));
            }
            for (index, origin) in origins.iter().enumerate() {
                if let Some(message) = origin_problem(origin) {
                    errors.push(FieldError::new(format!("allowedOrigins[{index}]"), message));
                }
            }
            settings.allowed_origins = origins;
        }
        if let Some(seconds) = self.rotation_overlap_seconds {
            if let Some(message) = overlap_problem(seconds) {
                errors.push(FieldError::new("rotationOverlapSeconds", message));
            }
            settings.rotation_overlap_seconds = seconds;
        }
        if let Some(validation) = self.event_validation {
            settings.event_validation = validation;
        }
        if let Some(encryption) = self.encryption {
            settings.encryption = encryption;
        }
        if let Some(days) = self.log_retention_days {
            if days.is_some_and(|days| !(1..=LOG_RETENTION_DAYS_MAX).contains(&days)) {
                let message = format!("must be 1 to {LOG_RETENTION_DAYS_MAX} days, or null");
                errors.push(FieldError::new("logRetentionDays", message));
            }
            settings.log_retention_days = days;
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(invalid(errors)),
        }
    }
}

async fn create(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    let id = match draft.tenant_id {
        Some(id) => id,
        None => format!("t-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
    };
    let tenant = pushrail_admin::tenant(&id, draft.name.as_deref()).map_err(reply::admin)?;
    let mut settings = tenants::Settings::named(&*tenant.name);
    let patch = Patch {
        name: draft.name,
        allowed_origins: draft.allowed_origins,
        rotation_overlap_seconds: draft.rotation_overlap_seconds,
        event_validation: draft.event_validation,
        encryption: draft.encryption,
        log_retention_days: draft.log_retention_days.map(Some),
    };
    patch.apply(&mut settings)?;
    if tenants::get(call.tx()?, &id)
        .await
        .map_err(reply::store)?
        .is_some()
    {
        return Err(conflict(format!("there is a tenant {id}")));
    }
    let row = tenants::insert(call.tx()?, &id, &settings)
        .await
        .map_err(reply::store)?;
    let revision = row.revision;
    let view = View::of(row);
    call.audit(Done {
        action: "tenant.create",
        target_kind: "tenant",
        target_id: &id,
        chain: &id,
        customer_id: None,
        before: None,
        after: shown(&view),
    })
    .await?;
    seal(api, call, &id, settings.encryption).await?;
    tell(call, &id).await?;
    let (key, key_view) = super::api_keys::make(call, &id, "first").await?;
    let made = Made {
        tenant: view,
        api_key: key.to_string(),
        api_key_id: key_view.key_id,
    };
    Ok(Reply::created(&made)?.revision(revision))
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let page = tenants::list(call.tx()?, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    Reply::ok(&List::of(page, View::of))
}

async fn get(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.parameter("tenantId")?.to_owned();
    show(call, &id).await
}

async fn get_own(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.tenant_id()?;
    show(call, &id).await
}

async fn update(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.parameter("tenantId")?.to_owned();
    change(api, call, &id).await
}

async fn update_own(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.tenant_id()?;
    change(api, call, &id).await
}

async fn show(call: &mut Call, id: &str) -> Result<Reply, Problem> {
    let row = tenants::get(call.tx()?, id).await.map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("tenant"))?;
    let revision = row.revision;
    Ok(Reply::ok(&View::of(row))?.revision(revision))
}

async fn change(api: &Api, call: &mut Call, id: &str) -> Result<Reply, Problem> {
    let patch: Patch = call.body()?;
    let row = tenants::lock(call.tx()?, id).await.map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("tenant"))?;
    matches(call.if_match, row.revision)?;
    let mut settings = tenants::Settings {
        name: row.name.clone(),
        allowed_origins: row.allowed_origins.clone(),
        rotation_overlap_seconds: row.rotation_overlap_seconds,
        event_validation: row.event_validation,
        encryption: row.encryption,
        log_retention_days: row.log_retention_days,
    };
    patch.apply(&mut settings)?;
    let before = View::of(row);
    let row = tenants::update(call.tx()?, id, &settings)
        .await
        .map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("tenant"))?;
    let revision = row.revision;
    let after = View::of(row);
    call.audit(Done {
        action: "tenant.update",
        target_kind: "tenant",
        target_id: id,
        chain: id,
        customer_id: None,
        before: shown(&before),
        after: shown(&after),
    })
    .await?;
    seal(api, call, id, settings.encryption).await?;
    tell(call, id).await?;
    Ok(Reply::ok(&after)?.revision(revision))
}

/// Makes what a tenant's events need to be sealed, and told of before anybody is told to seal.
pub(crate) async fn seal(
    api: &Api,
    call: &mut Call,
    id: &str,
    encryption: Encryption,
) -> Result<(), Problem> {
    let letters = payload_keys::ensure_subjects(call.tx()?, &api.ring, id).await?;
    call.told.extend(letters);
    if encryption == Encryption::On {
        let letters = payload_keys::ensure_epoch(call.tx()?, &api.ring, id).await?;
        call.told.extend(letters);
    }
    Ok(())
}

/// Tells everyone what the tenant is now.
pub(crate) async fn tell(call: &mut Call, id: &str) -> Result<(), Problem> {
    let tenant = tenants::document(call.tx()?, id)
        .await
        .map_err(reply::store)?;
    let tenant = tenant.ok_or_else(|| not_found("tenant"))?;
    let key = config::key::tenant(id);
    call.configure(&key, Some(&tenant)).await
}

/// Whether it is still what the caller has seen.
pub(crate) fn matches(if_match: Option<i64>, revision: i64) -> Result<(), Problem> {
    match if_match {
        Some(wanted) if wanted != revision => Err(Problem::new(
            http::StatusCode::PRECONDITION_FAILED,
            "changed-since",
            "It has changed since you have seen it",
        )
        .detail(format!(
            "its ETag is \"{revision}\"; get it again and decide anew"
        ))),
        _ => Ok(()),
    }
}

async fn remove(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let id = call.parameter("tenantId")?.to_owned();
    let row = tenants::lock(call.tx()?, &id).await.map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("tenant"))?;
    matches(call.if_match, row.revision)?;
    // Kafka first: a user that Kafka knows and nobody else would be there for ever.
    let users = kafka_credentials::live(call.tx()?, &id)
        .await
        .map_err(reply::store)?;
    for name in users {
        let kafka = super::kafka_credentials::kafka(api)?;
        let user = User::parse(&name).map_err(|_| reply::internal())?;
        let revoked = kafka.access.revoke(&user).await;
        revoked.map_err(|error| super::kafka_credentials::refused(&error))?;
    }
    let ids = destinations::ids(call.tx()?, &id, None)
        .await
        .map_err(reply::store)?;
    for destination in ids {
        let key = config::key::destination(destination);
        call.configure(&key, None::<&()>).await?;
    }
    let keys = api_keys::live_ids(call.tx()?, &id)
        .await
        .map_err(reply::store)?;
    for key in keys {
        let key = config::key::api_key(&key);
        call.configure(&key, None::<&()>).await?;
    }
    call.configure(&config::key::tenant(&id), None::<&()>)
        .await?;
    let names = event_types::names(call.tx()?, &id)
        .await
        .map_err(reply::store)?;
    for name in names {
        let key = config::key::event_type(&id, &name);
        call.configure(&key, None::<&()>).await?;
    }
    let keys = pushrail_store::payload_keys::of(call.tx()?, &id).await;
    for key in keys.map_err(reply::store)? {
        let key = config::key::payload_key(&id, key.epoch, key.shard);
        call.configure(&key, None::<&()>).await?;
    }
    let own = pushrail_store::payload_keys::customers(call.tx()?).await;
    for (_, customer_id, _) in own.map_err(reply::store)?.iter().filter(|own| own.0 == id) {
        let key = config::key::customer(&id, *customer_id);
        call.configure(&key, None::<&()>).await?;
    }
    tenants::delete(call.tx()?, &id)
        .await
        .map_err(reply::store)?;
    call.audit(Done {
        action: "tenant.delete",
        target_kind: "tenant",
        target_id: &id,
        chain: &id,
        customer_id: None,
        before: shown(&View::of(row)),
        after: None,
    })
    .await?;
    Reply::nothing()
}
