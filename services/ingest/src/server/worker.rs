//! One worker: its connections, its producer, and nothing shared but the budget.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use pushrail_kafka::rdkafka::config::ClientConfig;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Accepted, Shared, connection};
use crate::budget::Budget;
use crate::http::forward::{self, Forward};
use crate::http::{self, App};
use crate::publish::KafkaPublisher;
use crate::settings::Settings;

/// How often the worker looks after itself, and says that it lives.
const TICK: Duration = Duration::from_secs(1);
/// A loop that has not come round for this long is stuck.
const BEAT_AGE_MAX: Duration = Duration::from_secs(30);

/// Serves what comes into `inbox` until `shutdown`, then drains.
pub(super) async fn run(
    index: usize,
    shared: Arc<Shared>,
    budget: Budget,
    inbox: Arc<Mutex<mpsc::Receiver<Accepted>>>,
    shutdown: CancellationToken,
) -> Result<(), pushrail_kafka::Error> {
    let settings = &shared.settings;
    let publisher = KafkaPublisher::new(config(settings, index), settings.ack_timeout / 2)?;
    let publisher = Arc::new(publisher);
    let router = http::router(Arc::new(App {
        settings: Arc::clone(settings),
        keys: Arc::clone(&shared.keys),
        catalogue: Arc::clone(&shared.catalogue),
        seals: Arc::clone(&shared.seals),
        publisher: publisher.clone(),
        budget,
        metrics: shared.metrics.clone(),
        schema_id: shared.schema_id,
        clock: shared.clock.clone(),
        control: settings
            .control
            .as_ref()
            .and_then(|address| Forward::new(address, forward::WITHIN)),
    }));
    let heartbeat = shared
        .health
        .heartbeat(format!("ingest-http-{index}"), BEAT_AGE_MAX);
    let kafka = shared
        .health
        .condition(format!("kafka/ingest-http-{index}"));
    let look = || {
        heartbeat.beat();
        match publisher.stalled_for() {
            Some(age) => kafka.unmet(format!("no acknowledgement for {} s", age.as_secs())),
            None => kafka.met(),
        }
    };
    let connections = TaskTracker::new();
    let serving = async {
        let mut inbox = inbox.lock().await;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(accepted) = inbox.recv() => {
                    open(accepted, &router, settings, &shutdown, &connections);
                }
                _ = tick.tick() => look(),
                () = shutdown.cancelled() => break,
            }
        }
        let deadline = Instant::now() + settings.drain_timeout;
        connections.close();
        let finished = tokio::time::timeout_at(deadline, connections.wait()).await;
        let unconfirmed = publisher.drain(deadline).await;
        if finished.is_err() || unconfirmed > 0 {
            let connections = connections.len();
            tracing::warn!(connections, unconfirmed, "ingest.drain_cut_short");
        }
    };
    tokio::select! {
        () = serving => Ok(()),
        () = publisher.pump() => Ok(()),
    }
}

fn open(
    accepted: Accepted,
    router: &Router,
    settings: &Settings,
    shutdown: &CancellationToken,
    connections: &TaskTracker,
) {
    let Accepted { stream, place } = accepted;
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "connection.not_attached"),
    };
    let serving = connection::serve(
        stream,
        router.clone(),
        settings.head_timeout,
        shutdown.clone(),
    );
    connections.spawn_local(async move {
        serving.await;
        drop(place);
    });
}

/// A producer that answers soon or not at all. What the operator passes through still wins.
fn config(settings: &Settings, index: usize) -> ClientConfig {
    let mut config = settings
        .connection
        .producer(&format!("pushrail-ingest-http-{index}"));
    let timeout_ms = settings.ack_timeout.as_millis().to_string();
    // The budget is the bound, and has to be reached first: librdkafka's own queue holds all of it.
    let queue_kib = (settings.in_flight_bytes_max / 1024 + 1).to_string();
    let queue_len = (settings.in_flight_events_max + 1).to_string();
    for (name, value) in [
        // Nothing waits for company: under load a batch forms by itself while five earlier ones are under way.
        ("linger.ms", "0"),
        ("message.timeout.ms", &timeout_ms),
        ("queue.buffering.max.kbytes", &queue_kib),
        ("queue.buffering.max.messages", &queue_len),
    ] {
        if !settings.connection.properties.contains_key(name) {
            config.set(name, value);
        }
    }
    config
}
