//! A test event: one attempt, at once, from here.
//!
//! It uses the adapter as the sink does, so that what it shows is what a delivery would meet; but it waits in no lane, and
//! so answers also where a destination is paused, disabled or left alone by its sink.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pushrail_clock as clock;
use pushrail_http::Problem;
use pushrail_privacy::Privacy;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::event::{Event, Parts};
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::identity;
use pushrail_sink_core::{Evidence, Fault, Outcome as Sent, Record, Verdict};
use pushrail_store::{outbox, payload_keys};
use pushrail_topology::topics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::Api;
use crate::call::{Call, Done};
use crate::reply::{self, Reply, internal};

const EVENT_TYPE: &str = "pushrail.test";
const PAYLOAD_LEN_MAX: usize = 64 * 1024;

/// The event to send.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TestDraft")]
pub(crate) struct Draft {
    /// `pushrail.test` when it is not given.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$")
    )]
    event_type: Option<String>,
    payload: Option<Map<String, Value>>,
}

/// What came of the attempt.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TestAttempt")]
pub(crate) struct View {
    attempt_id: Uuid,
    event_id: Uuid,
    delivered: bool,
    /// `delivered`, `transient`, `permanent` or `suspended`.
    class: &'static str,
    /// What went wrong, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_headers: Option<String>,
    /// The start of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_excerpt: Option<String>,
    latency_ms: f64,
    started_at: String,
}

/// How much later than its deadline an adapter may end by itself.
const GRACE: Duration = Duration::from_millis(500);
/// Longest time that making a client may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

pub(crate) async fn run(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let draft: Draft = match call.body.is_empty() {
        true => Draft {
            event_type: None,
            payload: None,
        },
        false => call.body()?,
    };
    let event_type = draft.event_type.as_deref().unwrap_or(EVENT_TYPE);
    if let Some(message) = identity::event_type_problem(event_type) {
        return Err(reply::field("eventType", message));
    }
    let payload = match draft.payload {
        Some(payload) => Value::Object(payload),
        None => json!({"message": "This is a test event from Pushrail.", "test": true}),
    };
    let payload = payload.to_string();
    if payload.len() > PAYLOAD_LEN_MAX {
        let message = format!("must have at most {PAYLOAD_LEN_MAX} bytes");
        return Err(reply::field("payload", message));
    }
    let destination = super::destinations::lock(call).await?.document;
    let adapter = api.adapter(&destination.kind).ok_or_else(internal)?;
    let secrets = pushrail_admin::open_secrets(&destination, &api.ring).map_err(reply::admin)?;
    // Nothing of the database is held while somebody else takes their time.
    call.commit().await?;

    let (event_id, now_us) = (Uuid::now_v7(), clock::now_us());
    let mut value = Vec::new();
    Parts {
        event_id,
        event_type,
        occurred_at_us: now_us,
        customer_external_id: &destination.customer_external_id,
        idempotency_key: None,
        source: Some("pushrail"),
        payload: payload.as_bytes(),
        metadata: br#"{"test":"true"}"#,
        received_at_us: now_us,
        subject_id: None,
        sealing: None,
    }
    .encode(api.ids.event, &mut value);
    let event = Event::parse(Bytes::from(value)).map_err(|_| internal())?;
    let delivery = Delivery {
        delivery_id: identity::delivery_id(event_id, destination.destination_id),
        event_id,
        tenant_id: destination.tenant_id.clone(),
        customer_id: destination.customer_id,
        destination_id: destination.destination_id,
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Test,
        replay_id: None,
        traceparent: None,
    };
    let record = Arc::new(Record {
        event,
        delivery,
        attempt: 1,
    });
    let asked = destination
        .timeout_ms
        .map(|ms| Duration::from_millis(ms.into()));
    let timeout = asked.unwrap_or(adapter.info().timeout_default);
    let (adapter, config, sent) = (
        Arc::clone(adapter),
        destination.config.clone(),
        Arc::clone(&record),
    );
    let started = Instant::now();
    // On a task of its own: an adapter that fails must not take the request with it.
    let attempt = tokio::spawn(async move {
        let given = pushrail_sink_core::Destination {
            config: &config,
            secrets: &secrets,
        };
        let client = match tokio::time::timeout(CONNECT_MAX, adapter.connect(given)).await {
            Ok(Ok(client)) => client,
            Ok(Err(fault)) => return failed(Verdict::Suspend { fault }),
            Err(_) => return failed(retry("connect_timeout", "Making a client took too long.")),
        };
        let deadline = Instant::now() + timeout;
        let attempt = client.attempt([sent].into_iter().collect(), deadline);
        match tokio::time::timeout_at(deadline + GRACE, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => failed(retry("timeout", "The destination did not answer in time.")),
        }
    });
    let outcome = attempt.await.unwrap_or_else(|_| {
        failed(retry(
            "adapter_panic",
            "The adapter failed while it sent this.",
        ))
    });
    let latency = started.elapsed();

    let verdict = outcome.verdicts.first();
    let (result, class) = match verdict {
        Some(Verdict::Delivered) => (Outcome::Delivered, "delivered"),
        Some(Verdict::Suspend { .. }) => (Outcome::Suspended, "suspended"),
        Some(Verdict::Reject { .. }) => (Outcome::Dead, "permanent"),
        // A test is not tried again.
        Some(Verdict::Retry { .. }) | None => (Outcome::Dead, "transient"),
    };
    let fault = verdict.and_then(Verdict::fault);
    let (evidence, delivery) = (&outcome.evidence, &record.delivery);
    let excerpt = Some(&*evidence.excerpt).filter(|excerpt| !excerpt.is_empty());
    // The caller sees all of the answer to what it sent; the record is there for others too.
    call.begin(api).await?;
    let (tenant_id, customer_id) = (&destination.tenant_id, destination.customer_id);
    let is_sealed = payload_keys::wanted(call.tx()?, tenant_id, customer_id).await;
    let privacy = match is_sealed.map_err(reply::store)? {
        // What is made up here has no key to destroy.
        true => Privacy::OFF,
        false => Privacy::or_off(&destination.payload_mode),
    };
    let shown = privacy.payload(payload.as_bytes());
    let attempt_id = Uuid::now_v7();
    let mut value = Vec::new();
    Attempt {
        attempt_id,
        tenant_id: &delivery.tenant_id,
        customer_id: delivery.customer_id,
        event_id,
        event_type,
        delivery_id: Some(delivery.delivery_id),
        destination_id: Some(delivery.destination_id),
        kind: Some(&destination.kind),
        attempt: 1,
        outcome: result,
        class,
        code: fault.map(|fault| &*fault.code),
        status_code: evidence.status_code,
        started_at_us: now_us,
        latency_us: i64::try_from(latency.as_micros()).unwrap_or(i64::MAX),
        error: fault.and_then(|fault| privacy.error(&fault.detail)),
        response_headers: privacy.response(evidence.headers.as_deref()),
        response_excerpt: privacy.response(excerpt),
        payload: shown.payload.as_deref(),
        payload_form: shown.form,
        next_attempt_at_us: None,
        first_attempt_at_us: Some(now_us),
        origin: Origin::Test.as_str(),
        replay_id: None,
        traceparent: None,
        received_at_us: Some(now_us),
        subject_id: None,
        sealing: None,
    }
    .encode(api.ids.attempt, &mut value);
    let key = destination.destination_id.to_string();
    outbox::put(call.tx()?, topics::AUDIT_ATTEMPTS, &key, Some(&value))
        .await
        .map_err(reply::store)?;
    call.audit(Done {
        action: "destination.test",
        target_kind: "destination",
        target_id: &key,
        chain: &destination.tenant_id,
        customer_id: Some(destination.customer_id),
        before: None,
        after: Some(json!({"attemptId": attempt_id, "class": class})),
    })
    .await?;
    let started_at = jiff::Timestamp::from_microsecond(now_us).unwrap_or_default();
    Reply::ok(&View {
        attempt_id,
        event_id,
        delivered: result == Outcome::Delivered,
        class,
        code: fault.map(|fault| fault.code.to_string()),
        error: fault.map(|fault| fault.detail.to_string()),
        status_code: evidence.status_code,
        response_headers: evidence.headers.as_deref().map(str::to_owned),
        response_excerpt: excerpt.map(|text| String::from_utf8_lossy(text).into_owned()),
        latency_ms: latency.as_secs_f64() * 1e3,
        started_at: started_at.to_string(),
    })
}

fn retry(code: &'static str, detail: &'static str) -> Verdict {
    Verdict::Retry {
        fault: Fault::destination(code, detail),
        after: None,
    }
}

fn failed(verdict: Verdict) -> Sent {
    Sent {
        verdicts: [verdict].into_iter().collect(),
        evidence: Evidence::default(),
    }
}
