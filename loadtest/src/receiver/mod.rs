//! Webhook receivers that do as they are told, cheaply.
//!
//! One process, one thread a core, each with its own current-thread runtime and its own listening socket on the shared
//! port. A destination is a path, `/d/<number>`, so that one process stands for thousands of them. Everything that
//! arrives is remembered in [`Arrival`]s; nothing is judged here (that is the oracle's job).

mod arrival;
mod behaviour;
mod connection;
mod control;
mod handle;
mod request;
mod verify;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};

pub use arrival::Arrival;
pub use behaviour::{Behaviour, Plan, Rule};
pub use handle::Receiver;

/// Destinations that a flaky behaviour counts separately; others share a count.
const TICKS: usize = 4096;

/// Bytes the kernel may hold for a client that does not read: keeps a huge body from costing more than it must.
const SEND_BUFFER_LEN: u32 = 64 * 1024;

/// What the receiver's threads share. Logs are one a thread, so that their locks are never contended while it runs.
struct Shared {
    plan: arc_swap::ArcSwap<ActivePlan>,
    logs: Vec<Mutex<Vec<Arrival>>>,
    delivered: AtomicU64,
    connections: AtomicU64,
    ticks: Vec<AtomicU32>,
    keep_log: bool,
    verifier: Option<verify::Verifier>,
}

struct ActivePlan {
    table: behaviour::Table,
    set_at: tokio::time::Instant,
}

/// Counts since the start, or since `clear` for `requests`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Requests to destinations that the log holds.
    pub requests: u64,
    /// Requests answered with 2xx, since the start.
    pub delivered: u64,
    /// Connections accepted, since the start.
    pub connections: u64,
    /// Unix microseconds of the newest request.
    pub last_at_us: i64,
}

impl Shared {
    fn new(threads: usize, keep_log: bool, verify: bool) -> Self {
        let plan = ActivePlan {
            table: behaviour::Table::default(),
            set_at: tokio::time::Instant::now(),
        };
        Shared {
            plan: arc_swap::ArcSwap::from_pointee(plan),
            logs: (0..threads).map(|_| Mutex::new(Vec::new())).collect(),
            delivered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            ticks: (0..TICKS).map(|_| AtomicU32::new(0)).collect(),
            keep_log,
            verifier: verify.then(verify::Verifier::new),
        }
    }

    fn record(&self, thread: usize, arrival: Arrival) {
        if arrival.delivered() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
        if self.keep_log {
            self.logs[thread]
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(arrival);
        }
    }

    /// How many flaky requests `destination` has had before this one.
    fn tick(&self, destination: u32) -> u32 {
        self.ticks[destination as usize % TICKS].fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves until standard input ends, so that a receiver never outlives whoever started it. Prints its address first.
pub fn run(listen: SocketAddr, threads: usize, keep_log: bool, verify: bool) -> anyhow::Result<()> {
    let shared = Arc::new(Shared::new(threads, keep_log, verify));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let first = runtime()?;
    let address = first.block_on(async {
        let listener = bind(listen)?;
        let address = listener.local_addr()?;
        spawn(listener, 0, &shared);
        anyhow::Ok(address)
    })?;
    for thread in 1..threads {
        let (shared, runtime) = (shared.clone(), runtime()?);
        std::thread::Builder::new()
            .name(format!("receiver-{thread}"))
            .spawn(move || {
                runtime.block_on(async {
                    match bind(address) {
                        Ok(listener) => accept(listener, thread, &shared).await,
                        Err(error) => {
                            eprintln!("receiver thread {thread} does not listen: {error:#}")
                        }
                    }
                });
            })?;
    }
    println!("listening {address}");
    // Standard input is read on the runtime's blocking pool; the first thread serves meanwhile.
    first.block_on(async {
        let mut byte = [0u8; 64];
        while !matches!(tokio::io::stdin().read(&mut byte).await, Ok(0) | Err(_)) {}
    });
    Ok(())
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_LEN)?;
    socket
        .bind(address)
        .with_context(|| format!("cannot bind {address}"))?;
    Ok(socket.listen(4096)?)
}

fn spawn(listener: TcpListener, thread: usize, shared: &Arc<Shared>) {
    let shared = shared.clone();
    tokio::spawn(async move { accept(listener, thread, &shared).await });
}

async fn accept(listener: TcpListener, thread: usize, shared: &Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection::serve(stream, thread, shared.clone()));
            }
            // Out of descriptors, most likely: breathe instead of spinning.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}
