//! Idle connections of one client: a stack, so that the busiest stay warm and the rest grow old.
//!
//! A connection is either in the stack or leased to one call. A lease that is dropped (the call was given up, or the
//! response was not read to its end) closes its connection: whatever was under way on it cannot be taken for the next
//! call's answer. The task that drives a connection also watches over it: when the server closes it, or when it has been
//! idle for too long, it leaves the stack at once, so an idle destination ends up with no sockets.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::{Opened, Sender};

/// Longest idle time, where the server does not announce a shorter one.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Age after which a connection is not used again, so that a change in DNS or a load balancer is followed.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Most idle connections that are kept. The engine bounds how many are in use.
const IDLE_COUNT_MAX: usize = 256;
/// How soon to look again at a connection that is in use.
const REVIEW: Duration = Duration::from_secs(3);
/// How long a connection may take to get ready after its last response before it is given up.
const READY_WAIT: Duration = Duration::from_millis(100);
/// How long an orderly close may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Pool(Arc<Stack>);

#[derive(Default)]
struct Stack {
    idle: Mutex<Vec<Idle>>,
    next_id: AtomicU64,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

struct Connection {
    id: u64,
    sender: Sender,
    driver: AbortHandle,
    born: Instant,
}

/// The right to use one connection.
pub(crate) struct Lease<'a> {
    stack: &'a Stack,
    /// Taken when it goes back.
    connection: Option<Connection>,
}

impl Pool {
    /// The connection that was used last and still lives.
    pub(crate) async fn checkout(&self) -> Option<Lease<'_>> {
        loop {
            let idle = self.0.idle().pop()?;
            if idle.connection.sender.is_closed() || idle.until <= Instant::now() {
                continue;
            }
            let mut lease = Lease {
                stack: &self.0,
                connection: Some(idle.connection),
            };
            if lease.ready().await {
                return Some(lease);
            }
        }
    }

    /// Identifies a connection that is about to be opened.
    pub(crate) fn keeper(&self) -> Keeper {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        Keeper {
            id,
            stack: Arc::downgrade(&self.0),
        }
    }

    /// Takes a new connection in, already leased.
    pub(crate) fn adopt(&self, id: u64, opened: Opened) -> Lease<'_> {
        let Opened { sender, driver } = opened;
        let connection = Connection {
            id,
            sender,
            driver,
            born: Instant::now(),
        };
        Lease {
            stack: &self.0,
            connection: Some(connection),
        }
    }
}

impl Stack {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, id: u64) -> Option<Idle> {
        let mut idle = self.idle();
        let place = idle.iter().position(|idle| idle.connection.id == id)?;
        Some(idle.remove(place))
    }

    /// When to look again at a connection; `None` when it was idle for too long and has just been let go.
    fn review(&self, id: u64) -> Option<Instant> {
        let now = Instant::now();
        let until = self
            .idle()
            .iter()
            .find(|idle| idle.connection.id == id)
            .map(|idle| idle.until);
        match until {
            Some(until) if until <= now => {
                self.remove(id);
                None
            }
            Some(until) => Some(until),
            None => Some(now + REVIEW),
        }
    }
}

impl Lease<'_> {
    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        self.connection
            .as_mut()
            .map(|connection| &mut connection.sender)
    }

    /// It is nearly always ready at once: its driver finished the last response before we saw it.
    async fn ready(&mut self) -> bool {
        match self.sender() {
            Some(sender) if sender.is_ready() => true,
            Some(sender) => matches!(timeout(READY_WAIT, sender.ready()).await, Ok(Ok(()))),
            None => false,
        }
    }

    /// Gives the connection back after a response that was read to its end. `idle` is how long it may wait for the next.
    pub(crate) fn release(mut self, idle: Duration) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let now = Instant::now();
        if idle.is_zero() || connection.sender.is_closed() || now - connection.born >= AGE_MAX {
            // Dropping the sender closes the connection in order.
            return;
        }
        let mut stack = self.stack.idle();
        if stack.len() < IDLE_COUNT_MAX {
            stack.push(Idle {
                connection,
                until: now + idle.min(IDLE),
            });
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.driver.abort();
        }
    }
}

/// Watches one connection from the task that drives it.
pub(crate) struct Keeper {
    pub(crate) id: u64,
    stack: Weak<Stack>,
}

impl Keeper {
    /// Drives `connection` to its end and keeps the stack true to it.
    pub(crate) async fn watch(self, connection: impl Future) {
        let mut connection = pin!(connection);
        let mut review = pin!(sleep_until(Instant::now() + REVIEW));
        loop {
            tokio::select! {
                biased;
                _ = &mut connection => break,
                () = &mut review => {}
            }
            match self.stack.upgrade().and_then(|stack| stack.review(self.id)) {
                Some(next) => review.as_mut().reset(next),
                None => {
                    let _ = timeout(CLOSE_WAIT, &mut connection).await;
                    return;
                }
            }
        }
        if let Some(stack) = self.stack.upgrade() {
            stack.remove(self.id);
        }
    }
}
