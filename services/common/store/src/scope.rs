//! Whose rows a transaction is about.

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::{Error, Store};

/// What a transaction may see and write. The database enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Everything: the operator, and the service's own chores.
    System,
    /// One tenant and all that belongs to it.
    Tenant(&'a str),
    /// One customer of a tenant.
    Customer {
        tenant_id: &'a str,
        customer_id: Uuid,
    },
    /// The API key with this digest (hex), and nothing else.
    Key(&'a str),
    /// The session with this id, and nothing else.
    Session(Uuid),
}

impl Scope<'_> {
    /// Whose idempotency keys are used in it: nobody else's can meet them. Empty where nothing is done.
    pub fn owner(&self) -> String {
        match self {
            Scope::System => "operator".to_owned(),
            Scope::Tenant(tenant_id) => format!("tenant/{tenant_id}"),
            Scope::Customer { customer_id, .. } => format!("customer/{customer_id}"),
            Scope::Key(_) | Scope::Session(_) => String::new(),
        }
    }
}

/// A transaction in one scope. Dropped without [`Tx::commit`], it changes nothing.
pub struct Tx {
    pub(crate) inner: Transaction<'static, Postgres>,
}

impl Store {
    pub async fn begin(&self, scope: Scope<'_>) -> Result<Tx, Error> {
        let (kind, tenant, customer, presented) = match scope {
            Scope::System => ("system", "", String::new(), scope.owner()),
            Scope::Tenant(tenant) => ("tenant", tenant, String::new(), scope.owner()),
            Scope::Customer {
                tenant_id,
                customer_id,
            } => (
                "customer",
                tenant_id,
                customer_id.to_string(),
                scope.owner(),
            ),
            Scope::Key(sha256) => ("key", "", String::new(), sha256.to_owned()),
            Scope::Session(id) => ("session", "", String::new(), id.to_string()),
        };
        let mut inner = self.pool.begin().await?;
        sqlx::query(
            "SELECT set_config('role', 'pushrail_app', true), set_config('pushrail.scope', $1, true),
                 set_config('pushrail.tenant_id', $2, true), set_config('pushrail.customer_id', $3, true),
                 set_config('pushrail.presented', $4, true)",
        )
        .bind(kind)
        .bind(tenant)
        .bind(customer)
        .bind(presented)
        .execute(&mut *inner)
        .await?;
        Ok(Tx { inner })
    }
}

impl Tx {
    pub async fn commit(self) -> Result<(), Error> {
        let committed = self.inner.commit().await.map_err(Error::from);
        committed.map_err(|error| match error {
            Error::Unavailable(error) => Error::Undecided(error),
            refused => refused,
        })
    }

    pub(crate) fn connection(&mut self) -> &mut sqlx::PgConnection {
        &mut self.inner
    }
}
