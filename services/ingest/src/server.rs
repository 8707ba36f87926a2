//! Listening, and the threads that serve.
//!
//! One task accepts and hands each connection to the worker with the fewest; from then on everything about it happens on
//! that worker's thread: reading, judging, queueing, and the answer when Kafka has acknowledged. A connection costs a
//! permit, so that there are never more than configured; the rest waits in the kernel's queue.

mod connection;
mod patient;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_obs::Health;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::catalogue::Catalogue;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::seals::Seals;
use crate::settings::Settings;

/// After a failed `accept`, such as for want of file descriptors, others get the time to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections on their way to a worker.
const INBOX_LEN: usize = 64;

/// What the workers have in common.
pub struct Shared {
    pub settings: Arc<Settings>,
    pub keys: Arc<dyn Keys>,
    pub catalogue: Arc<Catalogue>,
    pub seals: Arc<Seals>,
    pub metrics: Metrics,
    pub health: Health,
    /// Id of `Event.avsc` in the registry.
    pub schema_id: u32,
    pub clock: Clock,
}

/// A listener that does not serve yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// A connection on its way to its worker.
struct Accepted {
    stream: std::net::TcpStream,
    place: Place,
}

/// A connection's place: given back when dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    load: Arc<AtomicUsize>,
    metrics: Metrics,
}

struct Desk {
    outbox: mpsc::Sender<Accepted>,
    load: Arc<AtomicUsize>,
}

impl Server {
    /// Fails when the address is taken or not ours.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets requests under way finish.
    pub async fn run(self, shared: Shared, shutdown: CancellationToken) {
        let settings = &shared.settings;
        let budget = Budget::new(
            settings.in_flight_bytes_max,
            settings.in_flight_events_max,
            shared.metrics.in_flight_bytes(),
            shared.metrics.in_flight_records(),
        );
        let workers = settings.workers;
        let connections = Arc::new(Semaphore::new(settings.connections_max));
        let (desks, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (outbox, inbox) = mpsc::channel(INBOX_LEN);
                let load = Arc::default();
                (Desk { outbox, load }, Arc::new(Mutex::new(inbox)))
            })
            .unzip();
        let shared = Arc::new(shared);
        let metrics = shared.metrics.clone();
        let make = {
            let inboxes: Arc<[_]> = inboxes.into();
            move |index: usize, shutdown| {
                let inbox = Arc::clone(&inboxes[index]);
                worker::run(index, Arc::clone(&shared), budget.clone(), inbox, shutdown)
            }
        };
        let serving = pushrail_kafka::worker::run("ingest-http", workers, shutdown.clone(), make);
        let accepting = async {
            tokio::select! {
                () = accept(self.listener, &desks, &connections, &metrics) => {}
                () = shutdown.cancelled() => {}
            }
            // The listener is closed: whoever comes now is refused by the kernel and tries another process.
        };
        tokio::join!(serving, accepting);
    }
}

async fn accept(
    listener: TcpListener,
    desks: &[Desk],
    connections: &Arc<Semaphore>,
    metrics: &Metrics,
) {
    loop {
        let Ok(permit) = Arc::clone(connections).acquire_owned().await else {
            return;
        };
        let stream = match listener
            .accept()
            .await
            .and_then(|(stream, _)| ready(stream))
        {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection.not_accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(desk) = desks
            .iter()
            .min_by_key(|desk| desk.load.load(Ordering::Relaxed))
        else {
            return;
        };
        let place = Place::new(permit, &desk.load, metrics);
        // A worker that does not take it is restarting; its inbox stays.
        let _ = desk.outbox.send(Accepted { stream, place }).await;
    }
}

/// Detaches a connection from this runtime, so that a worker can attach it to its own.
fn ready(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, load: &Arc<AtomicUsize>, metrics: &Metrics) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        metrics.connections().inc();
        Place {
            _permit: permit,
            load: Arc::clone(load),
            metrics: metrics.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections().dec();
    }
}
