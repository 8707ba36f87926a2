//! The control plane's state in PostgreSQL.
//!
//! Every statement runs in a transaction that has said whose rows it is about ([`Scope`]); PostgreSQL's row-level security
//! shows it no others, so that a query that forgot a condition finds nothing rather than somebody else's rows. What is
//! decided here for router, sinks and ingest is written to the outbox in the same transaction, and what anybody did to the
//! audit trail, whose rows are chained by hash.
//!
//! It owns tables and statements. It knows neither HTTP nor what an adapter's configuration means.

pub mod api_keys;
pub mod audit;
pub mod customers;
pub mod destinations;
pub mod erasures;
pub mod event_types;
pub mod idempotency;
pub mod kafka_credentials;
pub mod log;
pub mod outbox;
pub mod page;
pub mod payload_keys;
pub mod replays;
mod scope;
pub mod sessions;
pub mod tenants;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

pub use page::{Cursor, Page};
pub use scope::{Scope, Tx};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How long a request waits for a connection before it is told that the database can't be reached.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool of connections. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

/// Why something was not read or written. Nothing of it was, but for [`Error::Undecided`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database can't be reached, or the connection was lost: it may work in a moment.
    #[error("the database can't be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The connection was lost while a commit was under way: it may have come about or not.
    #[error("the connection to the database broke off at a commit: {0}")]
    Undecided(#[source] sqlx::Error),
    /// What is to be made is there already. Names the constraint.
    #[error("it is there already ({0})")]
    Conflict(String),
    /// Somebody else changed it at the same moment: it may work when it is tried again.
    #[error("somebody else changed it at the same time")]
    Serialization,
    /// It took longer than it may.
    #[error("it takes the database too long")]
    Slow,
    /// A value is none that a column can hold: a NUL in a text, a cursor of another list.
    #[error("a value can't be kept as it is: {0}")]
    Value(#[source] sqlx::Error),
    #[error("the database refused: {0}")]
    Refused(#[source] sqlx::Error),
    #[error("the database's tables can't be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("a row is not what was written: {0}")]
    Garbled(#[from] serde_json::Error),
}

impl Error {
    /// A column has what nobody writes there.
    fn garbled(problem: String) -> Self {
        Error::Garbled(serde::de::Error::custom(problem))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::Unavailable(error),
            sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
                Some("23505") => {
                    Error::Conflict(refusal.constraint().unwrap_or_default().to_owned())
                }
                Some("40001" | "40P01") => Error::Serialization,
                Some("57014") => Error::Slow,
                Some(code) if code.starts_with("22") => Error::Value(error),
                // The server is starting, stopping, or out of connections.
                Some(code) if code.starts_with("57P") || code.starts_with("53") => {
                    Error::Unavailable(error)
                }
                Some(code) if code.starts_with("08") => Error::Unavailable(error),
                _ => Error::Refused(error),
            },
            _ => Error::Refused(error),
        }
    }
}

impl Store {
    /// Makes a pool without connecting: the first use does. `url` is `postgres://user:password@host:port/database`.
    pub fn new(url: &str, connections_max: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options
            .application_name("pushrail")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Store { pool })
    }

    /// Brings the tables up to date. Instances that start at the same time wait for one another.
    pub async fn migrate(&self) -> Result<(), Error> {
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections; what is under way ends first.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
