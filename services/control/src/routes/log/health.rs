//! How destinations are, and their figures.

use http::Method;
use pushrail_clock as clock;
use pushrail_http::Problem;
use pushrail_store::log::figures::{self, Counts};
use pushrail_store::log::{HOUR_US, MINUTE_US, Micros, health as kept};
use schemars::JsonSchema;
use serde::Serialize;

use super::{SINCE, TAG, UNTIL, rfc3339, time};
use crate::api::Api;
use crate::call::Call;
use crate::operation::{Operation, Query, QueryKind, handler};
use crate::reply::{self, Reply};
use crate::routes::twice::{below, twice};

const STEP: Query = Query {
    name: "step",
    about: "What is added up: minute or hour; hour when it is not given. Minutes are kept for two days.",
    kind: QueryKind::One(&["minute", "hour"]),
};
/// Steps of an answer at most.
const STEPS_MAX: i64 = 3_000;

pub(crate) fn operations() -> Vec<Operation> {
    twice(
        TAG,
        vec![
            (
                Method::GET,
                below!("/health"),
                ["getCustomerDestinationHealth", "getDestinationHealth"],
                "Show how a destination is",
                handler!(health),
                |o| {
                    o.detail("healthy; degraded: its last 3 attempts failed, or fewer than 95 % of at least 10 in five minutes passed; failing: the last 10 failed, or fewer than half passed; suspended: it refused because of how it is set up, and is left alone until that is mended.")
                    .ok::<View>()
                },
            ),
            (
                Method::GET,
                below!("/metrics"),
                ["getCustomerDestinationMetrics", "getDestinationMetrics"],
                "Show a destination's figures over time",
                handler!(metrics),
                |o| {
                    o.detail("Attempts by when they were made; the last 24 hours when nothing else is asked for. Latencies are right within a fifth.")
                    .query(&[STEP, SINCE, UNTIL])
                    .ok::<Metrics>()
                },
            ),
        ],
    )
}

/// How a destination is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationHealth")]
pub(crate) struct View {
    /// `healthy`, `degraded`, `failing`, `suspended`; `unknown` before its first attempt.
    pub(crate) health: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    consecutive_failures: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
}

impl View {
    pub(crate) fn of(row: Option<kept::Health>) -> Self {
        let Some(row) = row else {
            return View {
                health: "unknown".to_owned(),
                since: None,
                reason: None,
                consecutive_failures: 0,
                last_success_at: None,
                last_failure_at: None,
                last_failure_code: None,
                last_failure: None,
            };
        };
        View {
            health: row.health,
            since: Some(rfc3339(row.since)),
            reason: Some(row.reason).filter(|reason| !reason.is_empty()),
            consecutive_failures: row.consecutive_failures,
            last_success_at: row.last_success_at.map(rfc3339),
            last_failure_at: row.last_failure_at.map(rfc3339),
            last_failure_code: row.last_failure_code,
            last_failure: row.last_failure,
        }
    }
}

/// A destination's figures.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationMetrics")]
struct Metrics {
    since: String,
    until: String,
    total: Step,
    /// Oldest first; steps without anything are left out.
    steps: Vec<Step>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DestinationMetricsStep")]
struct Step {
    /// The start of the minute or hour.
    at: String,
    /// Attempts that were made.
    attempts: i64,
    delivered: i32,
    retrying: i32,
    dead: i32,
    suspended: i32,
    skipped: i32,
    /// Delivered by attempts, from 0 to 1; absent without attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
}

impl Step {
    fn of(at: Micros, counts: &Counts) -> Self {
        let attempts = counts.attempts();
        let ms = |share| {
            let us = counts.latency_us(share)?;
            Some((us / 10.0).round() / 100.0)
        };
        Step {
            at: rfc3339(at),
            attempts,
            delivered: counts.delivered,
            retrying: counts.retrying,
            dead: counts.dead,
            suspended: counts.suspended,
            skipped: counts.skipped,
            success_rate: (attempts > 0).then(|| f64::from(counts.delivered) / attempts as f64),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }
}

async fn health(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let row = crate::routes::destinations::read(call).await?;
    let id = row.document.destination_id;
    let rows = kept::of(call.tx()?, &[id]).await.map_err(reply::store)?;
    Reply::ok(&View::of(rows.into_iter().next()))
}

async fn metrics(_: &Api, call: &mut Call) -> Result<Reply, Problem> {
    let row = crate::routes::destinations::read(call).await?;
    let by_minute = call.query.get("step").is_some_and(|step| step == "minute");
    let step_us = if by_minute { MINUTE_US } else { HOUR_US };
    let now = Micros(clock::now_us());
    let until = time(call, "until").unwrap_or(now);
    let day = Micros(until.0.saturating_sub(24 * HOUR_US));
    let since = time(call, "since").unwrap_or(day);
    let steps = until.0.saturating_sub(since.0).div_euclid(step_us);
    if !(0..=STEPS_MAX).contains(&steps) {
        let message = format!("must be before until, and no more than {STEPS_MAX} steps before it");
        return Err(reply::field("since", message));
    }
    let series = figures::series(call.tx()?, row.document.destination_id, since, until)
        .await
        .map_err(reply::store)?;
    let (mut total, mut steps) = (Counts::default(), Vec::<(i64, Counts)>::new());
    for (at, counts) in series {
        total.add(&counts);
        let at = at.0.div_euclid(step_us) * step_us;
        match steps.last_mut() {
            Some((last, sum)) if *last == at => sum.add(&counts),
            _ => steps.push((at, counts)),
        }
    }
    Reply::ok(&Metrics {
        since: rfc3339(since),
        until: rfc3339(until),
        total: Step::of(since, &total),
        steps: steps
            .iter()
            .map(|(at, counts)| Step::of(Micros(*at), counts))
            .collect(),
    })
}
