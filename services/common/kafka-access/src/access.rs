//! Granting, rotating, revoking and listing, in an order that is safe to end after any step.
//!
//! Kafka has no transaction over ACLs, credentials and quotas, and whoever does this can be killed between any two. So each
//! step may be repeated, and the order is such that what stands half made can do less than it should, and never more:
//!
//! - **Grant:** whatever rights there were go; then the limits; then the password; last the rights. A user that can do
//!   something is limited, and nobody knows the password of one whose grant was not finished.
//! - **Revoke:** first the rights, which refuses open connections within a fraction of a second; then the password, so that
//!   no new connection can be made; the limits last, because they hold for as long as anybody is connected.
//!
//! After a crash the caller repeats what it was doing, from a record that it keeps: a grant under the same name (which gives
//! another password: the first was never seen), or the revocation. Two callers must not do different things to one user at
//! the same time.
//!
//! Kafka's controller answers before its brokers know. Whoever gives or takes rights here waits until a broker says the same.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use pushrail_kafka::Connection;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::acl::{self, Acl, Filter};
use crate::native::Admin;
use crate::quota::{Limits, Quotas};
use crate::user::check_tenant;
use crate::{Error, Password, User};

/// What Kafka accepts as SCRAM's iterations.
pub const ITERATIONS: RangeInclusive<u32> = 4_096..=16_384;
/// A client computes that many hashes for each connection, some milliseconds. Our passwords cannot be guessed with any number.
pub const ITERATIONS_DEFAULT: u32 = 8_192;

/// How long brokers may take to know of rights; they take milliseconds.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(5);

/// What a user gets.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose tenant's topics are meant.
    pub user: User,
    /// Write to `events.direct.<tenant>`.
    pub write_direct: bool,
    /// Read `audit.attempts.<tenant>`.
    pub read_audit: bool,
    /// By broker, at least 1.
    pub producer_bytes_per_s: u64,
    pub consumer_bytes_per_s: u64,
}

/// What a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub user: User,
    pub write_direct: bool,
    pub read_audit: bool,
}

/// Gives access to Kafka and takes it away. Topics need not be there yet.
pub struct Access {
    admin: Admin,
    quotas: Option<Quotas>,
    iterations: u32,
}

/// A step of granting, in the order of [`GRANT`].
#[derive(Clone, Copy, Debug)]
enum GrantStep {
    DropRights,
    Limit,
    SetPassword,
    GiveRights,
}

const GRANT: [GrantStep; 4] = [
    GrantStep::DropRights,
    GrantStep::Limit,
    GrantStep::SetPassword,
    GrantStep::GiveRights,
];

/// A step of revoking, in the order of [`REVOKE`].
#[derive(Clone, Copy, Debug)]
enum RevokeStep {
    DropRights,
    RemovePassword,
    Unlimit,
}

const REVOKE: [RevokeStep; 3] = [
    RevokeStep::DropRights,
    RevokeStep::RemovePassword,
    RevokeStep::Unlimit,
];

impl Access {
    /// Uses the connection of a principal that may administer the cluster. Connects on first use.
    pub fn connect(connection: &Connection) -> Result<Access, Error> {
        let quotas = Quotas::connect(connection);
        if quotas.is_none() {
            tracing::warn!(
                "limits of Kafka users are set over plaintext only: set a default for all users with kafka-configs.sh"
            );
        }
        Ok(Access {
            admin: Admin::connect(connection)?,
            quotas,
            iterations: ITERATIONS_DEFAULT,
        })
    }

    /// SCRAM's iterations for passwords that are set from now on.
    pub fn with_iterations(self, iterations: u32) -> Result<Access, Error> {
        match ITERATIONS.contains(&iterations) {
            true => Ok(Access { iterations, ..self }),
            false => Err(Error::Iterations(iterations)),
        }
    }

    /// Whether the limits of a [`Grant`] are set for its user. Else those hold that the cluster has for all users: this
    /// connection is not plaintext, and librdkafka cannot set them.
    pub fn limits_are_set(&self) -> bool {
        self.quotas.is_some()
    }

    /// Makes the user, or changes it to this, and returns its new password; one that it had before opens no connection any
    /// more. Whatever the user has open meanwhile is refused for a moment.
    pub async fn grant(&self, grant: &Grant) -> Result<Password, Error> {
        if !grant.write_direct && !grant.read_audit {
            return Err(Error::NoRight);
        }
        if grant.producer_bytes_per_s == 0 || grant.consumer_bytes_per_s == 0 {
            return Err(Error::Limit);
        }
        let password = Password::draw()?;
        for step in GRANT {
            self.grant_step(step, grant, &password).await?;
        }
        Ok(password)
    }

    /// A new password for a user that has access. The old one opens no connection any more; connections that it opened end
    /// with `connections.max.reauth.ms`.
    pub async fn rotate(&self, user: &User) -> Result<Password, Error> {
        self.admin.check().await?;
        let rights = self
            .admin
            .describe_acls(Filter::Principal(user.principal()));
        if rights.await?.is_empty() {
            return Err(Error::NotGranted(user.name().to_owned()));
        }
        let password = Password::draw()?;
        self.set_password(user, &password).await?;
        Ok(password)
    }

    /// Takes everything away from the user, whatever it has; a user that has nothing is no error. Open connections are refused
    /// at once, and end with `connections.max.reauth.ms`. (A read that was waiting at a broker for a first record before, for
    /// as long as its client chose, is still answered.)
    pub async fn revoke(&self, user: &User) -> Result<(), Error> {
        for step in REVOKE {
            self.revoke_step(step, user).await?;
        }
        Ok(())
    }

    /// The users of a tenant that may do something, by name. One whose grant or revocation was not finished may be missing,
    /// and can do nothing.
    pub async fn list(&self, tenant_id: &str) -> Result<Vec<Granted>, Error> {
        check_tenant(tenant_id)?;
        self.admin.check().await?;
        let mut users: BTreeMap<User, Granted> = BTreeMap::new();
        for resource in acl::resources(tenant_id) {
            for found in self.admin.describe_acls(Filter::Resource(resource)).await? {
                // What an operator has given to somebody else is none of ours.
                let Some(user) = User::of_principal(&found.principal) else {
                    continue;
                };
                let granted = users.entry(user.clone()).or_insert_with(|| Granted {
                    user: user.clone(),
                    write_direct: false,
                    read_audit: false,
                });
                if let Some(acl) = found.acl {
                    granted.write_direct |= acl.writes_direct(&user);
                    granted.read_audit |= acl.reads_audit(&user);
                }
            }
        }
        users.retain(|user, _| user.tenant_id() == tenant_id);
        Ok(users.into_values().collect())
    }

    /// The limits that are set for the user; `None` where none are, or where they are not ours to set.
    pub async fn limits(&self, user: &User) -> Result<Option<Limits>, Error> {
        match &self.quotas {
            Some(quotas) => quotas.get(user).await,
            None => Ok(None),
        }
    }

    async fn grant_step(
        &self,
        step: GrantStep,
        grant: &Grant,
        password: &Password,
    ) -> Result<(), Error> {
        match step {
            GrantStep::DropRights => self.drop_rights(&grant.user).await,
            GrantStep::Limit => {
                let limits = Limits {
                    producer_bytes_per_s: grant.producer_bytes_per_s,
                    consumer_bytes_per_s: grant.consumer_bytes_per_s,
                };
                self.limit(&grant.user, Some(limits)).await
            }
            GrantStep::SetPassword => self.set_password(&grant.user, password).await,
            GrantStep::GiveRights => {
                let wanted = acl::wanted(grant);
                self.admin.create_acls(wanted.clone()).await?;
                self.known(&grant.user, &wanted).await
            }
        }
    }

    async fn revoke_step(&self, step: RevokeStep, user: &User) -> Result<(), Error> {
        match step {
            RevokeStep::DropRights => self.drop_rights(user).await,
            RevokeStep::RemovePassword => self.admin.remove_password(user).await,
            RevokeStep::Unlimit => self.limit(user, None).await,
        }
    }

    async fn drop_rights(&self, user: &User) -> Result<(), Error> {
        let all = Filter::Principal(user.principal());
        self.admin.delete_acls(all).await?;
        self.known(user, &[]).await
    }

    /// Waits until a broker knows of exactly these rights.
    async fn known(&self, user: &User, rights: &[Acl]) -> Result<(), Error> {
        let until = Instant::now() + KNOWN_WITHIN;
        loop {
            let all = Filter::Principal(user.principal());
            let found = self.admin.describe_acls(all).await?;
            let has = |acl: &Acl| found.iter().any(|found| found.acl.as_ref() == Some(acl));
            if found.len() == rights.len() && rights.iter().all(has) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Error::NoAnswer {
                    doing: "see the rights of",
                    of: user.name().to_owned(),
                    reason: "the brokers do not know of them yet".to_owned(),
                });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn set_password(&self, user: &User, password: &Password) -> Result<(), Error> {
        let password = Zeroizing::new(password.expose().to_owned());
        let set = self.admin.set_password(user, password, self.iterations);
        set.await
    }

    async fn limit(&self, user: &User, limits: Option<Limits>) -> Result<(), Error> {
        match &self.quotas {
            Some(quotas) => quotas.set(user, limits).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
