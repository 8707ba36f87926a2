//! One call: a connection, a transaction, and what became of each row.
//!
//! A connection that was idle may turn out to be dead. The rows carry their own identity, so a fresh connection may carry
//! them again: what had been committed is recognised.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pushrail_egress::{Dialer, Names, Rules, TLS};
use pushrail_sink_core::{Outcome, Record};
use tokio::time::{Instant, timeout_at};

use crate::check::Plan;
use crate::classify::{Reply, classify};
use crate::connect::{Connection, Proof, Server};
use crate::failure::Failure;
use crate::insert;
use crate::table::Layout;

/// How long a connection is used: a name may lead elsewhere by then, and a server's memory of it grows.
const AGE_MAX: Duration = Duration::from_secs(600);

/// A destination. Connections are opened when they are needed, kept for the next call, and closed with it.
pub struct Client {
    server: Server,
    layout: Layout,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    pub(crate) fn new(plan: Plan, proof: Proof, rules: Arc<Rules>, names: Arc<Names>) -> Self {
        let Plan {
            target,
            tls,
            user,
            database,
            layout,
            ..
        } = plan;
        Client {
            server: Server {
                target,
                dialer: Dialer {
                    rules,
                    names,
                    tls: TLS.shared(),
                },
                tls,
                user,
                database,
                proof,
            },
            layout,
            idle: Mutex::default(),
        }
    }

    async fn insert(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        loop {
            let kept = self.checkout();
            let was_idle = kept.is_some();
            let connection = match kept {
                Some(connection) => Ok(connection),
                None => self.server.open(&batch[0].delivery).await,
            };
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(failure) => return Reply::all(failure, batch.len()),
            };
            connection.take_up();
            let written = insert::write(&connection.client, &self.layout, batch, deadline).await;
            match written {
                Ok(rows) => {
                    self.keep(connection);
                    return Reply(rows);
                }
                Err(Failure::Network(_)) if was_idle => {
                    // The others have died with it.
                    self.idle().clear();
                }
                Err(failure) => {
                    if failure.leaves_connection() {
                        self.keep(connection);
                    }
                    return Reply::all(failure, batch.len());
                }
            }
        }
    }

    fn checkout(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|kept| !kept.client.is_closed() && kept.opened.elapsed() < AGE_MAX);
        idle.pop()
    }

    fn keep(&self, mut connection: Connection) {
        if connection.client.is_closed() {
            return;
        }
        connection.lay_down();
        let mut idle = self.idle();
        if idle.len() < <crate::Postgres as pushrail_sink_core::Adapter>::CALLS_MAX {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        if batch.is_empty() {
            return Reply(Vec::new());
        }
        let inserted = timeout_at(deadline, self.insert(batch, deadline)).await;
        inserted.unwrap_or_else(|_| Reply::all(Failure::Timeout, batch.len()))
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(reply, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_idle_destinations_fit_in_memory() {
        assert!(size_of::<Client>() <= 768, "{}", size_of::<Client>());
    }
}
