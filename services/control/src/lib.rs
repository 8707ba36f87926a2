//! The control plane: tenants, customers, destinations, sessions and event types over HTTP, kept in PostgreSQL, told to
//! router, sinks and ingest over the `config` topic.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `operation`, `dispatch`, `openapi` | one table that routes, decides who may call, and is the OpenAPI document |
//! | `caller`, `token`, `cors`, `limits` | who calls, from where, and how often |
//! | `routes` | the operations themselves |
//! | `publisher` | the outbox on its way to Kafka |
//! | `records` | single records of Kafka, for people who look at one |
//! | `chores` | what is due without anybody asking |
//! | `erase` | erasures, step by step |
//! | `payload_keys` | what the keys of payloads are computed from: made, renewed, destroyed |
//!
//! A request is one transaction in its caller's scope: with its audit entry, what is told to Kafka and, where it has an
//! idempotency key, its answer, it is done as a whole or not at all.

mod api;
mod call;
mod caller;
mod chores;
mod cors;
mod dispatch;
mod erase;
mod export;
mod hub;
mod kafka;
mod limits;
mod metrics;
mod openapi;
mod operation;
mod payload_keys;
mod publisher;
mod records;
mod reply;
mod routes;
mod setup;
mod token;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use pushrail_http::{Network, Problem};
use pushrail_kafka::Connection;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::Problem as FieldProblem;
use pushrail_schemas::config::Destination;
use pushrail_schemas::registry::{Ids, Registry};
use pushrail_sink_core::{Context, ErasedAdapter};
use pushrail_store::Store;
use pushrail_vault::KeyRing;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub use setup::{ensure_tenant, rebuild};

/// See [`Settings::check_route`].
pub type CheckRoute = fn(&Destination) -> Vec<FieldProblem>;

/// How the control plane runs.
pub struct Settings {
    pub listen: SocketAddr,
    pub connection: Connection,
    /// `postgres://user:password@host:port/database`.
    pub database_url: Zeroizing<String>,
    pub database_connections_max: u32,
    /// The operator's key.
    pub admin_key: Zeroizing<String>,
    /// What destinations may be.
    pub context: Context,
    /// The destination types, by kind.
    pub adapters: Vec<(&'static str, Arc<dyn ErasedAdapter>)>,
    /// What the router would refuse of a destination's filter and transform.
    pub check_route: CheckRoute,
    /// Whose `X-Forwarded-For` is believed: load balancers, and ingest.
    pub trusted_proxies: Vec<Network>,
    /// Kafka for vendors and data teams; `None` offers none.
    pub kafka_access: Option<KafkaAccess>,
    /// Requests a second of one credential, on average.
    pub requests_per_second: NonZeroU32,
    /// Ids that the registry gave the schemas of events and of audit records.
    pub ids: Ids,
}

/// The listener that vendors and data teams use, and what they get there.
pub struct KafkaAccess {
    /// `host:port`, comma separated; SASL with SCRAM-SHA-512.
    pub bootstrap: String,
    /// Whether that listener speaks TLS, as it must wherever it is more than loopback.
    pub tls: bool,
    /// By user and broker.
    pub producer_bytes_per_s: u64,
    pub consumer_bytes_per_s: u64,
    /// For the topics of a tenant.
    pub topology: pushrail_topology::Settings,
    pub registry: Arc<Registry>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] pushrail_store::Error),
    #[error("can't listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("the connection to Kafka can't be made: {0}")]
    Kafka(#[from] pushrail_kafka::rdkafka::error::KafkaError),
    #[error("users of Kafka can't be managed: {0}")]
    KafkaAccess(#[from] pushrail_kafka_access::Error),
    #[error("a task ended: {0}")]
    Task(#[from] std::io::Error),
}

/// How long the database may take to come up before the service gives up.
const DATABASE_WITHIN: Duration = Duration::from_secs(60);

/// Runs the control plane until `shutdown`; returns when requests under way have ended.
pub async fn run(
    settings: Settings,
    ring: Arc<KeyRing>,
    metrics: &Metrics,
    health: &Health,
    listening: impl FnOnce(SocketAddr),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let ready = health.condition("control-database");
    ready.unmet("the database has not answered yet");
    let store = Store::new(&settings.database_url, settings.database_connections_max)?;
    tokio::select! {
        migrated = migrate(&store) => migrated?,
        () = shutdown.cancelled() => return Ok(()),
    }
    let metrics = metrics::Metrics::new(metrics);
    let given = settings.kafka_access.as_ref();
    let kafka = given.map(|given| kafka::Kafka::new(&settings.connection, given));
    let kafka = kafka.transpose()?;
    let api = Arc::new(api(&settings, ring, store.clone(), kafka, metrics.clone()));
    let publisher = Arc::new(publisher::Publisher {
        store: store.clone(),
        producer: publisher::producer(&settings.connection)?,
        metrics,
        condition: health.condition("control-outbox"),
        tells: Arc::clone(&api.tells),
    });
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| Error::Listen {
        address: settings.listen,
        error,
    })?;
    listening(listener.local_addr()?);
    let publishing = tokio::spawn(publisher.run(shutdown.clone()));
    let chores = tokio::spawn(chores::run(Arc::clone(&api), ready, shutdown.clone()));
    let app = app(Arc::clone(&api)).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .await?;
    // Both end with `shutdown`; what they were doing is in the database.
    let _ = tokio::join!(publishing, chores);
    if let Err(error) = api.used.write(&store).await {
        tracing::warn!(%error, "control.last_use_lost");
    }
    store.close().await;
    Ok(())
}

async fn migrate(store: &Store) -> Result<(), Error> {
    let deadline = tokio::time::Instant::now() + DATABASE_WITHIN;
    loop {
        match store.migrate().await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "control.database_not_ready"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn operations() -> Vec<Arc<operation::Operation>> {
    routes::table().into_iter().map(Arc::new).collect()
}

/// The OpenAPI document, as `/openapi.json` shows it.
pub fn document() -> serde_json::Value {
    openapi::document(&operations())
}

fn api(
    settings: &Settings,
    ring: Arc<KeyRing>,
    store: Store,
    kafka: Option<kafka::Kafka>,
    metrics: metrics::Metrics,
) -> api::Api {
    api::Api {
        store,
        tokens: token::Tokens::new(&ring),
        ring,
        admin_key: api::AdminKey::new(&settings.admin_key),
        kafka,
        records: records::Records::new(&settings.connection),
        adapters: settings.adapters.clone(),
        check_route: settings.check_route,
        context: settings.context.clone(),
        limits: limits::Limits::new(settings.requests_per_second),
        used: api::Used::default(),
        metrics,
        ids: settings.ids,
        trusted_proxies: settings.trusted_proxies.clone(),
        tells: Arc::default(),
        hub: hub::Hub::new(settings.connection.clone()),
        erase: tokio::sync::Notify::new(),
        document: document().to_string().into(),
    }
}

fn app(api: Arc<api::Api>) -> Router {
    let document = api.document.clone();
    let json = move || {
        let document = document.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], document) }
    };
    let docs = utoipa_swagger_ui::SwaggerUi::new("/docs")
        .config(utoipa_swagger_ui::Config::from("/openapi.json"));
    dispatch::router(&operations())
        .route("/openapi.json", get(json))
        .merge(docs)
        .fallback(not_found)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&api),
            cors::preflight,
        ))
        .layer(axum::middleware::map_response(guarded))
        .layer(axum::middleware::from_fn(pushrail_http::body::discard_rest))
        .with_state(api)
}

async fn not_found(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here").detail(format!(
        "{} is no path of this API; /openapi.json lists them, and /docs shows them",
        request.uri().path()
    ))
}

/// What every answer carries.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    response.into_response()
}
