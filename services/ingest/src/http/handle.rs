//! The way of a request: who, how much, what, and then Kafka. Whatever can be refused is refused before anything is
//! read, and whatever is wrong with an event is known before anything is written.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use pushrail_http::Problem;
use pushrail_obs::{Span, SpanKind, Traceparent};
use tokio::time::Instant;

use super::answer::{self, Results};
use super::body::{self, Bounds};
use super::parse::{self, Context, Digest};
use super::{App, media};
use crate::event::{Envelope, Origin};
use crate::input::rules::{Rejection, Rules};
use crate::keys;
use crate::metrics::{Reason, Route};
use crate::publish::Unconfirmed;

/// What the bookkeeping of one queued record takes, in bytes, beside its key and value; measured generously.
const RECORD_OVERHEAD: usize = 512;

/// Kafka reports what expired at the end of its own time-out; this much later nobody waits any more.
const REPORT_MARGIN: Duration = Duration::from_secs(1);

pub(super) async fn event(State(app): State<Arc<App>>, request: Request) -> Response {
    serve(&app, Route::Event, request).await
}

pub(super) async fn batch(State(app): State<Arc<App>>, request: Request) -> Response {
    serve(&app, Route::Batch, request).await
}

async fn serve(app: &App, route: Route, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let response = match accept(app, route, &head.headers, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            // Whoever asked first whether to send the body has not sent it.
            if !head.headers.contains_key(header::EXPECT) {
                pushrail_http::body::discard(body).await;
            }
            problem.into_response()
        }
    };
    app.metrics.request(route, response.status());
    response
}

async fn accept(
    app: &App,
    route: Route,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Problem> {
    let settings = &app.settings;
    media::check_size(headers)?;
    let tenant = keys::authenticate(headers, &*app.keys)?;
    let media = media::of(headers, route == Route::Batch)?;
    let gzip = media::is_gzip(headers)?;
    let key = idempotency_key(app, route, headers)?;
    let bounds = Bounds {
        len_max: match route {
            Route::Batch => settings.batch_body_len_max,
            _ => settings.event_body_len_max,
        },
        timeout: settings.body_timeout,
        budget: &app.budget,
    };
    if app.publisher.is_stalled() {
        return Err(answer::unavailable());
    }
    let reservation = body::reserve(headers, &bounds)?;
    let taken = body::read(body, reservation, gzip, &bounds).await?;

    let (mut span, traceparent) = trace(route, headers);
    let context = Context {
        envelope: Envelope {
            tenant: &tenant.tenant_id,
            origin: Origin::Http,
            schema_id: app.schema_id,
            received_at_us: app.clock.now_us(),
            traceparent: traceparent.as_deref(),
        },
        limits: &settings.limits,
        tenant: &tenant,
        catalogue: &app.catalogue,
        seals: &app.seals,
        events_max: settings.batch_events_max,
    };
    let digest = match route {
        Route::Batch => parse::batch(&taken.bytes, media, &context),
        _ => parse::event(&taken.bytes, key, &context),
    }
    .inspect_err(|_| app.metrics.rejected(Origin::Http, Reason::Malformed, 1))?;
    drop(taken);
    let received_at_us = context.envelope.received_at_us;
    let response = confirm(app, route, digest, received_at_us, &mut span).await;
    match &response {
        Ok(response) if response.status().is_success() => {}
        Ok(response) => span.fail(response.status().as_str()),
        Err(problem) => span.fail(problem.kind()),
    }
    response
}

/// Writes what passed, waits until it is durable, and says what became of everything.
async fn confirm(
    app: &App,
    route: Route,
    mut digest: Digest,
    received_at_us: i64,
    span: &mut Span,
) -> Result<Response, Problem> {
    let batch = std::mem::take(&mut digest.batch);
    let sent = batch.len();
    if span.is_recording() {
        span.set_number("pushrail.events", sent as i64);
        span.set_number("pushrail.rejected", digest.rejected as i64);
        if let [Ok(id)] = &digest.results[..] {
            span.set_text("pushrail.event_id", &id.to_string());
        }
    }
    count_rejections(app, &digest);
    let mut unconfirmed = Unconfirmed::new();
    if sent > 0 {
        let bytes = batch.bytes() + sent * RECORD_OVERHEAD;
        let reservation = app.budget.take(bytes, sent).ok_or_else(body::too_busy)?;
        let started = Instant::now();
        let answered = app.publisher.publish(batch, reservation);
        let patience = app.settings.ack_timeout + REPORT_MARGIN;
        unconfirmed = match tokio::time::timeout(patience, answered).await {
            Ok(Ok(unconfirmed)) => unconfirmed,
            Ok(Err(_)) | Err(_) => (0..sent).map(|place| place as u16).collect(),
        };
        let lost = unconfirmed.len();
        app.metrics.acknowledged(started.elapsed().as_secs_f64());
        app.metrics.accepted(Origin::Http, sent - lost);
        app.metrics
            .rejected(Origin::Http, Reason::Unconfirmed, lost);
    }
    let received_at = pushrail_clock::rfc3339(received_at_us).unwrap_or_default();
    if route == Route::Batch {
        let results = Results {
            results: &digest.results,
            rejected: digest.rejected,
            unconfirmed: &unconfirmed,
            received_at: &received_at,
        };
        return Ok(results.into_response());
    }
    match digest.results.pop() {
        Some(Err(rejection)) => Err(answer::rejected(rejection)),
        Some(Ok(id)) if unconfirmed.is_empty() => Ok(answer::accepted(id, &received_at)),
        _ => Err(answer::unconfirmed()),
    }
}

fn count_rejections(app: &App, digest: &Digest) {
    if digest.rejected == 0 {
        return;
    }
    for rejection in digest.results.iter().filter_map(|one| one.as_ref().err()) {
        let reason = rejection.cause.into();
        app.metrics.rejected(Origin::Http, reason, 1);
    }
}

/// The span of the request, and what its events carry on: the span, or what came in where nothing is recorded here.
fn trace(route: Route, headers: &HeaderMap) -> (Span, Option<String>) {
    let incoming = headers
        .get("traceparent")
        .and_then(|value| Traceparent::parse(value.as_bytes()));
    let name = match route {
        Route::Batch => "POST /v1/events/batch",
        _ => "POST /v1/events",
    };
    let span = Span::root(name, SpanKind::Server, incoming);
    let carried = span.traceparent().or(incoming);
    (span, carried.map(|parent| parent.to_string()))
}

/// `Idempotency-Key`, judged like the field.
fn idempotency_key<'h>(
    app: &App,
    route: Route,
    headers: &'h HeaderMap,
) -> Result<Option<&'h str>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refuse = |message: &'static str| answer::rejected(Rejection::of(NAME, message));
    if route == Route::Batch {
        return Err(refuse(
            "is for single events: give each event of a batch its own `idempotencyKey`",
        ));
    }
    if values.next().is_some() {
        return Err(refuse("is there twice: send it once"));
    }
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return Err(refuse("is not UTF-8"));
    };
    // The IETF draft writes it as a quoted string; most clients do not.
    let text = text.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let mut rules = Rules::new(&app.settings.limits, 0);
    rules.label(NAME, text);
    match rules.rejection() {
        rejection if rejection.errors.is_empty() => Ok(Some(text)),
        rejection => Err(answer::rejected(rejection)),
    }
}
