//! Users of Kafka for vendors and data teams.
//!
//! The database knows of a user before Kafka does and after: whatever is interrupted is found again there, and ended by the
//! chores. Kafka alone keeps the password.

use http::{Method, StatusCode};
use pushrail_http::Problem;
use pushrail_kafka_access::{
    Grant, Listener, Password, User, java_properties, librdkafka_properties,
};
use pushrail_store::kafka_credentials as store;
use pushrail_topology::topics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{List, name_problem, shown};
use crate::api::Api;
use crate::call::{Call, Done};
use crate::kafka::Kafka;
use crate::operation::{Operation, PAGED, handler};
use crate::reply::{self, Reply, not_found};

const TAG: &str = "Kafka credentials";

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/kafka-credentials", "createKafkaCredential", TAG, "Make a user of Kafka", handler!(create))
            .detail("It may write to `events.direct.<tenant>` and, where `readAudit` asks for it, read `audit.attempts.<tenant>`; Kafka refuses it everything else. The password is in this answer and never again.")
            .body::<Draft>()
            .created::<Made>()
            .problems(&[409]),
        Operation::new(Method::GET, "/v1/kafka-credentials", "listKafkaCredentials", TAG, "List users of Kafka", handler!(list))
            .detail("Revoked ones too.")
            .query(PAGED)
            .ok::<List<View>>(),
        Operation::new(Method::POST, "/v1/kafka-credentials/{user}/rotate", "rotateKafkaCredential", TAG, "Replace the password of a user of Kafka", handler!(rotate))
            .detail("The old password opens no connection any more; connections that it opened end within a minute.")
            .ok::<Made>()
            .problems(&[409]),
        Operation::new(Method::DELETE, "/v1/kafka-credentials/{user}", "revokeKafkaCredential", TAG, "Revoke a user of Kafka", handler!(revoke))
            .detail("Kafka refuses it at once, on open connections too.")
            .nothing()
            .problems(&[409]),
    ]
}

/// A user of Kafka to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "KafkaCredentialDraft")]
struct Draft {
    /// For people: what it is for.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: String,
    /// Whether it may write to `events.direct.<tenant>`; yes when it is not given.
    write_direct: Option<bool>,
    /// Whether it may read `audit.attempts.<tenant>`: the tenant's own audit records, from now on.
    #[serde(default)]
    read_audit: bool,
}

/// A user of Kafka.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KafkaCredential")]
struct View {
    user: String,
    name: String,
    /// `pending` until Kafka knows it, then `active`, in the end `revoked`.
    state: String,
    /// Topics that it may write to and read.
    topics: Topics,
    /// What its consumer groups must begin with.
    group_prefix: String,
    created_at: String,
    rotated_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KafkaTopics")]
struct Topics {
    write: Vec<String>,
    read: Vec<String>,
}

/// A user of Kafka with its password.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KafkaCredentialMade")]
struct Made {
    #[serde(flatten)]
    credential: View,
    /// Shown only now.
    password: String,
    /// `host:port`, comma separated.
    bootstrap: String,
    mechanism: &'static str,
    security_protocol: &'static str,
    /// A ready client configuration for Java clients and Kafka's own tools.
    java_properties: String,
    /// The same for clients that stand on librdkafka.
    librdkafka_properties: String,
}

impl View {
    fn of(row: store::KafkaCredential, user: &User) -> Self {
        let tenant_id = user.tenant_id();
        let topic = |asked: bool, name: String| asked.then_some(name).into_iter().collect();
        View {
            topics: Topics {
                write: topic(row.write_direct, topics::direct(tenant_id)),
                read: topic(row.read_audit, topics::audit(tenant_id)),
            },
            group_prefix: user.group_prefix(),
            user: row.user_name,
            name: row.name,
            state: row.state,
            created_at: row.created_at,
            rotated_at: row.rotated_at,
            revoked_at: row.revoked_at,
        }
    }
}

impl Made {
    fn of(kafka: &Kafka, row: store::KafkaCredential, user: &User, password: &Password) -> Self {
        let listener = Listener {
            bootstrap: &kafka.bootstrap,
            tls: kafka.tls,
        };
        Made {
            credential: View::of(row, user),
            password: password.expose().to_owned(),
            bootstrap: kafka.bootstrap.clone(),
            mechanism: "SCRAM-SHA-512",
            security_protocol: if kafka.tls {
                "SASL_SSL"
            } else {
                "SASL_PLAINTEXT"
            },
            java_properties: java_properties(listener, user, password).to_string(),
            librdkafka_properties: librdkafka_properties(listener, user, password).to_string(),
        }
    }
}

/// Kafka's administration; a problem where this installation has no listener for vendors.
pub(crate) fn kafka(api: &Api) -> Result<&Kafka, Problem> {
    api.kafka.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "no-kafka-access",
            "This installation offers no Kafka to vendors",
        )
        .detail("its operator has named no listener for them (--kafka-sasl)")
    })
}

pub(crate) fn refused(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "control.kafka_refused");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "kafka-unavailable",
        "Kafka can't be reached, or refused",
    )
    .detail("what was begun is taken back; try again in a moment")
    .retry_after(1)
}

async fn create(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = call.body()?;
    if let Some(message) = name_problem(&draft.name) {
        return Err(reply::field("name", message));
    }
    let write_direct = draft.write_direct.unwrap_or(true);
    if !write_direct && !draft.read_audit {
        let message = "or writeDirect must be true: a user that may do nothing is of no use";
        return Err(reply::field("readAudit", message));
    }
    let kafka = kafka(api)?;
    let tenant_id = call.tenant_id()?;
    let user = User::draw(&tenant_id).map_err(|error| refused(&error))?;
    let name = user.name();
    store::insert(
        call.tx()?,
        &tenant_id,
        name,
        &draft.name,
        write_direct,
        draft.read_audit,
    )
    .await
    .map_err(reply::store)?;
    call.commit().await?;

    kafka
        .topics_of(&tenant_id)
        .await
        .map_err(|error| refused(&error))?;
    let grant = Grant {
        user: user.clone(),
        write_direct,
        read_audit: draft.read_audit,
        producer_bytes_per_s: kafka.producer_bytes_per_s,
        consumer_bytes_per_s: kafka.consumer_bytes_per_s,
    };
    let password = kafka
        .access
        .grant(&grant)
        .await
        .map_err(|error| refused(&error))?;

    call.begin(api).await?;
    let row = store::mark(call.tx()?, name, "active")
        .await
        .map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("Kafka credential"))?;
    super::tenants::tell(call, &tenant_id).await?;
    audit(
        call,
        "kafka_credential.create",
        &tenant_id,
        None,
        Some(View::of(row.clone(), &user)),
    )
    .await?;
    Reply::created(&Made::of(kafka, row, &user, &password))
}

async fn list(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let (cursor, limit) = (call.cursor()?, call.limit());
    let tenant_id = call.tenant_id()?;
    let page = store::list(call.tx()?, &tenant_id, cursor.as_ref(), limit)
        .await
        .map_err(reply::store)?;
    let view = |row: store::KafkaCredential| {
        let user = User::parse(&row.user_name).map_err(|_| reply::internal())?;
        Ok(View::of(row, &user))
    };
    Reply::ok(&List::try_of(page, view)?)
}

/// The user of the path, while it counts.
async fn found(call: &mut Call) -> Result<(store::KafkaCredential, User), Problem> {
    let name = call.parameter("user")?.to_owned();
    let row = store::get(call.tx()?, &name).await.map_err(reply::store)?;
    let tenant_id = call.caller.tenant_id();
    let row = row.filter(|row| Some(&*row.tenant_id) == tenant_id);
    let row = row.ok_or_else(|| not_found("Kafka credential"))?;
    let user = User::parse(&name).map_err(|_| reply::internal())?;
    Ok((row, user))
}

async fn rotate(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let kafka = kafka(api)?;
    let (before, user) = found(call).await?;
    if before.state != "active" {
        return Err(not_found("Kafka credential"));
    }
    call.commit().await?;
    let password = kafka
        .access
        .rotate(&user)
        .await
        .map_err(|error| refused(&error))?;
    call.begin(api).await?;
    let row = store::mark(call.tx()?, user.name(), "rotated")
        .await
        .map_err(reply::store)?;
    let row = row.ok_or_else(|| not_found("Kafka credential"))?;
    let views = (View::of(before, &user), View::of(row.clone(), &user));
    let tenant_id = user.tenant_id();
    audit(
        call,
        "kafka_credential.rotate",
        tenant_id,
        Some(views.0),
        Some(views.1),
    )
    .await?;
    Reply::ok(&Made::of(kafka, row, &user, &password))
}

async fn revoke(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let kafka = kafka(api)?;
    let (before, user) = found(call).await?;
    // Revoking once more changes nothing.
    if before.state == "revoked" {
        return Reply::nothing();
    }
    call.commit().await?;
    kafka
        .access
        .revoke(&user)
        .await
        .map_err(|error| refused(&error))?;
    call.begin(api).await?;
    let row = store::mark(call.tx()?, user.name(), "revoked")
        .await
        .map_err(reply::store)?;
    super::tenants::tell(call, user.tenant_id()).await?;
    let views = (View::of(before, &user), row.map(|row| View::of(row, &user)));
    audit(
        call,
        "kafka_credential.revoke",
        user.tenant_id(),
        Some(views.0),
        views.1,
    )
    .await?;
    Reply::nothing()
}

async fn audit(
    call: &mut Call,
    action: &'static str,
    tenant_id: &str,
    before: Option<View>,
    after: Option<View>,
) -> Result<(), Problem> {
    let view = after.as_ref().or(before.as_ref());
    let target_id = view.map(|view| view.user.clone()).unwrap_or_default();
    call.audit(Done {
        action,
        target_kind: "kafka_credential",
        target_id: &target_id,
        chain: tenant_id,
        customer_id: None,
        before: before.as_ref().and_then(shown),
        after: after.as_ref().and_then(shown),
    })
    .await
}
