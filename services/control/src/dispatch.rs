//! From a request to its operation, and everything that holds for all of them: who may call and how often, what a query may
//! hold, repeats, revisions, and that an operation is done as a whole or not at all.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use pushrail_http::Problem;
use pushrail_sink_core::FieldError;
use pushrail_store::{Scope, Tx, idempotency, outbox};

use crate::api::Api;
use crate::call::{Call, malformed};
use crate::caller::{Caller, authenticate};
use crate::operation::{Operation, QueryKind};
use crate::reply::{self, Reply};

/// Largest body: a destination with its certificates and an event type with its schema fit.
const BODY_LEN_MAX: usize = 512 * 1024;
/// The first second of the year 1.
const YEAR_ONE_S: i64 = -62_135_596_800;
/// How long an answer waits for Kafka to be told, and how often it is looked.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
const TOLD_LOOK: Duration = Duration::from_millis(3);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// A path, its methods, and their names.
type Path = (&'static str, MethodRouter<Arc<Api>>, Vec<Method>);

/// Routes every operation of the table.
pub(crate) fn router(operations: &[Arc<Operation>]) -> Router<Arc<Api>> {
    let mut paths: Vec<Path> = Vec::new();
    for operation in operations {
        let at = match paths.iter().position(|(path, ..)| *path == operation.path) {
            Some(at) => at,
            None => {
                paths.push((operation.path, MethodRouter::new(), Vec::new()));
                paths.len() - 1
            }
        };
        let filter = MethodFilter::try_from(operation.method.clone())
            .expect("the table has ordinary methods");
        let served = Arc::clone(operation);
        let routed = std::mem::take(&mut paths[at].1);
        paths[at].1 = routed.merge(on(
            filter,
            move |State(api): State<Arc<Api>>,
                  ConnectInfo(peer): ConnectInfo<SocketAddr>,
                  parameters: Result<RawPathParams, RawPathParamsRejection>,
                  request: Request| async move {
                let Ok(parameters) = parameters else {
                    let detail = "the path is not UTF-8 where it names something";
                    return malformed(detail.to_owned()).into_response();
                };
                let path = served
                    .path_parameters()
                    .filter_map(|name| {
                        let (_, value) = parameters.iter().find(|(key, _)| *key == name)?;
                        Some((name, value.to_owned()))
                    })
                    .collect();
                let answer = serve(&api, &served, peer, path, request).await;
                api.metrics.answered(served.id, answer.status());
                answer
            },
        ));
        paths[at].2.push(operation.method.clone());
    }
    let mut router = Router::new();
    for (path, methods, allowed) in paths {
        let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
        let allowed = allowed.join(", ");
        let methods = methods.fallback(move |request: Request| {
            let allowed = allowed.clone();
            async move { wrong_method(&allowed, &request) }
        });
        router = router.route(path, methods);
    }
    router
}

fn wrong_method(allowed: &str, request: &Request) -> Response {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The method is not allowed here",
    )
    .detail(format!("{} takes {allowed}", request.uri().path()));
    let mut response = problem.into_response();
    if let Ok(value) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

async fn serve(
    api: &Arc<Api>,
    operation: &Operation,
    peer: SocketAddr,
    path: HashMap<&'static str, String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let caller = match authenticate(api, &parts.headers).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let mut response = match api.limits.check(&caller) {
        Err(problem) => problem.into_response(),
        Ok(()) => {
            // The client may go away; what was begun is ended, one way or the other.
            match carry_out(api, operation, &caller, peer, path, &parts, body).await {
                Ok(reply) => reply.into_response(),
                Err(problem) => problem.into_response(),
            }
        }
    };
    if let Some(origin) = origin {
        crate::cors::answer(api, &caller, &origin, response.headers_mut()).await;
    }
    response
}

async fn carry_out(
    api: &Api,
    operation: &Operation,
    caller: &Caller,
    peer: SocketAddr,
    path: HashMap<&'static str, String>,
    parts: &http::request::Parts,
    body: Body,
) -> Result<Reply, Problem> {
    if !operation.who.has(caller.who()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This credential is not for this operation",
        )
        .detail(format!("it takes {}", operation.who.describe())));
    }
    let query = query(operation, parts.uri.query().unwrap_or_default())?;
    let if_match = if_match(operation, &parts.headers)?;
    let body = read(operation, &parts.headers, body).await?;
    let key = idempotency_key(operation, &parts.headers)?;
    let fingerprint = key.as_ref().map(|_| fingerprint(parts, &body));
    let mut tx = api
        .store
        .begin(caller.scope())
        .await
        .map_err(reply::store)?;
    let owner = caller.scope().owner();
    if let (Some(key), Some(fingerprint)) = (&key, &fingerprint)
        && let Some(reply) = repeated(api, &mut tx, &owner, key, fingerprint).await?
    {
        return Ok(reply);
    }
    let source = source(api, peer, &parts.headers).to_string();
    let mut call = Call::new(caller.clone(), path, query, body, if_match, source, tx);
    let accepts = parts.headers.get_all(header::ACCEPT).iter();
    call.wants_events = accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"));
    let reply = match (operation.handler)(api, &mut call).await {
        Ok(reply) => reply,
        Err(problem) => {
            if let Some(key) = key.as_ref().filter(|_| call.committed) {
                forget(api, caller, &owner, key).await;
            }
            return Err(problem);
        }
    };
    if let Some(key) = &key {
        let (status, body) = (reply.status, reply.bytes().ok_or_else(reply::internal)?);
        remember(api, call.tx()?, &owner, key, status, body).await?;
    }
    call.commit().await?;
    told(api, &call.told).await;
    Ok(reply)
}

/// Waits until Kafka has been told, so that an event that is posted after the answer meets what was decided before it. A
/// Kafka that is away holds nobody up: what it is to be told is in the database.
async fn told(api: &Api, letters: &[i64]) {
    if letters.is_empty() || !api.tells.load(Ordering::Relaxed) {
        return;
    }
    let gone = async {
        loop {
            tokio::time::sleep(TOLD_LOOK).await;
            let mut tx = api.store.begin(Scope::System).await?;
            if outbox::are_gone(&mut tx, letters).await? {
                return Ok::<_, pushrail_store::Error>(());
            }
        }
    };
    if !matches!(tokio::time::timeout(TOLD_WITHIN, gone).await, Ok(Ok(()))) {
        tracing::warn!("control.told_late");
    }
}

/// The caller's address: the peer's, or what a proxy that the operator trusts says it is.
fn source(api: &Api, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let trusted = |address: &IpAddr| api.trusted_proxies.iter().any(|net| net.contains(*address));
    let mut address = peer.ip().to_canonical();
    // Each proxy has added whom it saw to the end; what is before the first that is not trusted is anybody's invention.
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let hops = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    for hop in hops {
        if !trusted(&address) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(seen) => address = seen.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// Everything that is wrong with a query.
fn query(operation: &Operation, text: &str) -> Result<HashMap<String, String>, Problem> {
    let mut query = HashMap::new();
    let mut errors = Vec::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let Some(known) = operation.query.iter().find(|known| known.name == name) else {
            let names: Vec<_> = operation.query.iter().map(|known| known.name).collect();
            let message = match names.is_empty() {
                true => "is not known; this operation takes no query".to_owned(),
                false => format!("is not known; there are: {}", names.join(", ")),
            };
            errors.push(FieldError::new(name, message));
            continue;
        };
        if let Some(message) = query_problem(known.kind, &value) {
            errors.push(FieldError::new(name, message));
            continue;
        }
        // As the database writes times itself, whatever offset they came with.
        let value = match time(known.kind, &value) {
            Some(time) => time.to_string(),
            None => value.into_owned(),
        };
        if query.insert(name.to_string(), value).is_some() {
            errors.push(FieldError::new(name, "is given twice"));
        }
    }
    match errors.is_empty() {
        true => Ok(query),
        false => Err(reply::invalid(errors)),
    }
}

/// A time that the database can hold: of the years 1 to 9999.
fn time(kind: QueryKind, value: &str) -> Option<jiff::Timestamp> {
    let time = value.parse::<jiff::Timestamp>().ok();
    let known = |time: &jiff::Timestamp| time.as_second() >= YEAR_ONE_S;
    time.filter(known)
        .filter(|_| matches!(kind, QueryKind::Time))
}

fn query_problem(kind: QueryKind, value: &str) -> Option<String> {
    let (good, message) = match kind {
        QueryKind::Text => (
            !value.contains('\0') && value.len() <= 2_048,
            "must be text of at most 2048 bytes".to_owned(),
        ),
        QueryKind::Id => (
            value.parse::<uuid::Uuid>().is_ok(),
            "must be a UUID such as 0190a6b2-7c1d-7e3f-8a4b-5c6d7e8f9a0b".to_owned(),
        ),
        QueryKind::Number(min, max) => (
            value.parse().is_ok_and(|n: u32| (min..=max).contains(&n)),
            format!("must be a whole number from {min} to {max}"),
        ),
        QueryKind::Time => (
            time(kind, value).is_some(),
            "must be a time such as 2026-01-31T23:59:59Z".to_owned(),
        ),
        QueryKind::One(of) => (
            of.contains(&value),
            format!("must be one of {}", of.join(", ")),
        ),
    };
    (!good).then_some(message)
}

/// The revision that `If-Match` asks for; any when it is `*` or not there.
fn if_match(operation: &Operation, headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    if !operation.conditional {
        return Err(reply::field(
            "If-Match",
            "is not for this operation; leave it out",
        ));
    }
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let revision = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok());
    revision.map(Some).ok_or_else(|| {
        reply::field(
            "If-Match",
            "must be the ETag of an earlier answer, such as \"3\", or *",
        )
    })
}

async fn read(operation: &Operation, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let read = Limited::new(body, BODY_LEN_MAX).collect().await;
    let body = read.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large, or ended early",
        )
        .detail(format!("at most {BODY_LEN_MAX} bytes are read"))
    })?;
    let body = body.to_bytes();
    if operation.body.is_none() {
        return match body.is_empty() {
            true => Ok(body),
            false => Err(malformed("this operation takes no body".to_owned())),
        };
    }
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !body.is_empty() && !media.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body must be JSON",
        )
        .detail("send `Content-Type: application/json`")
        .field("Content-Type", "must be application/json"));
    }
    Ok(body)
}

fn idempotency_key(operation: &Operation, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    if !operation.is_idempotent_by_key() {
        // Doing it again does nothing more anyway.
        return Ok(None);
    }
    match value.to_str() {
        Ok(key)
            if (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(Some(key.to_owned()))
        }
        _ => Err(reply::field(
            "Idempotency-Key",
            format!("must have 1 to {IDEMPOTENCY_KEY_LEN_MAX} visible ASCII characters"),
        )),
    }
}

fn fingerprint(parts: &http::request::Parts, body: &[u8]) -> String {
    let mut text = format!("{} {}\n", parts.method, parts.uri).into_bytes();
    text.extend_from_slice(body);
    hex::encode(digest(&SHA256, &text))
}

/// The answer that the same request got before, if it was made before.
async fn repeated(
    api: &Api,
    tx: &mut Tx,
    owner: &str,
    key: &str,
    fingerprint: &str,
) -> Result<Option<Reply>, Problem> {
    let known = idempotency::take(tx, owner, key, fingerprint)
        .await
        .map_err(reply::store)?;
    match known {
        idempotency::Known::Fresh => Ok(None),
        idempotency::Known::Other => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The idempotency key was used for another request",
        )
        .field(
            "Idempotency-Key",
            "must be a new one for a new request; it is remembered for 24 hours",
        )),
        idempotency::Known::Answered {
            status,
            key_ring_id,
            answer,
        } => {
            let sealed = pushrail_schemas::config::Sealed {
                key_id: key_ring_id.into(),
                ciphertext: answer.into(),
            };
            let opened = api.ring.open_answer(owner, key, &sealed).map_err(|error| {
                tracing::error!(%error, "control.answer_not_opened");
                reply::internal()
            })?;
            let status = StatusCode::from_u16(status).map_err(|_| reply::internal())?;
            Ok(Some(Reply::again(status, opened.to_vec())))
        }
    }
}

async fn forget(api: &Api, caller: &Caller, owner: &str, key: &str) {
    let forgotten = async {
        let mut tx = api.store.begin(caller.scope()).await?;
        idempotency::forget(&mut tx, owner, key).await?;
        tx.commit().await
    };
    if let Err(error) = forgotten.await {
        // It is given up after a minute.
        tracing::warn!(%error, "control.idempotency_key_kept");
    }
}

async fn remember(
    api: &Api,
    tx: &mut Tx,
    owner: &str,
    key: &str,
    status: StatusCode,
    body: &[u8],
) -> Result<(), Problem> {
    let sealed = api
        .ring
        .seal_answer(owner, key, body)
        .map_err(|_| reply::internal())?;
    idempotency::answer(
        tx,
        owner,
        key,
        status.as_u16(),
        &sealed.key_id,
        &sealed.ciphertext,
    )
    .await
    .map_err(reply::store)
}
