//! Idle connections of one client: a stack, so that the busiest stay warm and the rest grow old.
//!
//! A connection is either in the stack or with one call, which owns it: a call that is given up drops it and so closes it,
//! and whatever was under way on it cannot be taken for the next call's answer. While connections are idle a task looks at
//! them now and then and lets those go that the server has closed or that nobody has used for too long, so an idle
//! destination ends up with no sockets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::http1::Connection;

/// Longest idle time, where the server does not announce a shorter one.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Age after which a connection is not used again, so that a change in DNS or a load balancer is followed.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Most idle connections that are kept. The engine bounds how many are in use.
const IDLE_COUNT_MAX: usize = 256;
/// How often idle connections are looked at.
const REVIEW: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(crate) struct Pool(Arc<Mutex<Stack>>);

#[derive(Default)]
struct Stack {
    idle: Vec<Idle>,
    /// A task looks after them.
    is_watched: bool,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    /// The connection that was used last and still lives.
    pub(crate) fn checkout(&self, now: Instant) -> Option<Connection> {
        loop {
            let mut idle = lock(&self.0).idle.pop()?;
            if now < idle.until && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
            idle.connection.close();
        }
    }

    /// Keeps a connection whose answer was read to its end, for at most `idle`.
    pub(crate) fn keep(&self, connection: Connection, idle: Duration) {
        let now = Instant::now();
        if idle.is_zero() || now - connection.born >= AGE_MAX {
            return connection.close();
        }
        let mut stack = lock(&self.0);
        if stack.idle.len() >= IDLE_COUNT_MAX {
            drop(stack);
            return connection.close();
        }
        stack.idle.push(Idle {
            connection,
            until: now + idle.min(IDLE),
        });
        if !std::mem::replace(&mut stack.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        }
    }
}

/// Looks after idle connections until there are none.
async fn watch(stack: Weak<Mutex<Stack>>) {
    loop {
        sleep_until(Instant::now() + REVIEW).await;
        let Some(stack) = stack.upgrade() else {
            return;
        };
        let (gone, goes_on) = {
            let now = Instant::now();
            let mut stack = lock(&stack);
            let gone = stack
                .idle
                .extract_if(.., |idle| now >= idle.until || !idle.connection.is_quiet())
                .collect::<Vec<_>>();
            stack.is_watched = !stack.idle.is_empty();
            if !stack.is_watched {
                stack.idle.shrink_to_fit();
            }
            (gone, stack.is_watched)
        };
        gone.into_iter().for_each(|idle| idle.connection.close());
        if !goes_on {
            return;
        }
    }
}

fn lock(stack: &Mutex<Stack>) -> MutexGuard<'_, Stack> {
    stack.lock().unwrap_or_else(PoisonError::into_inner)
}
