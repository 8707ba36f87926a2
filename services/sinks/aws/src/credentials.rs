//! What requests are signed with: a pair of keys that stays, or a role's session that is renewed before it ends.
//!
//! Calls that need a session while one is being fetched wait for that fetch and share its result, good or bad. A fetch that is
//! given up (its call ran into the deadline) passes to the next one that waits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::AppName;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use pushrail_schemas::headers::Delivery;
use pushrail_sink_core::Secret;
use tokio::time::Instant;

use crate::check::Access;
use crate::failure::Failure;
use crate::local::Local;

/// A session is renewed this long before its end, or after four fifths of its life when that is later.
const MARGIN: Duration = Duration::from_secs(300);
/// What stands in the place of a credential.
const BLOT: &str = "***";

/// Credentials of one destination. Cheap to clone; clones share a role's session.
#[derive(Clone)]
pub struct Source(Arc<Kind>);

enum Kind {
    None,
    Fixed(Fixed),
    Role {
        arn: Box<str>,
        local: Arc<Local>,
        session: Mutex<Option<Session>>,
        /// Held while fetching; keeps when and why the last fetch failed.
        fetching: tokio::sync::Mutex<Option<(Instant, Failure)>>,
    },
}

/// Credentials that do not end.
#[derive(Clone)]
struct Fixed(Credentials);

impl Fixed {
    fn new(access_key_id: &str, secret_access_key: &Secret) -> Self {
        let secret = secret_access_key.expose();
        Fixed(Credentials::new(
            access_key_id,
            secret,
            None,
            None,
            "pushrail",
        ))
    }
}

#[derive(Clone)]
struct Session {
    credentials: Credentials,
    renew_at: Instant,
}

/// A session as STS gave it.
pub(crate) struct Lease {
    pub(crate) credentials: Credentials,
    /// Unix milliseconds.
    pub(crate) expires_ms: i64,
}

impl Source {
    pub fn new(access: Access, local: &Arc<Local>) -> Self {
        Source(Arc::new(match access {
            Access::Keys {
                access_key_id,
                secret_access_key,
            } => Kind::Fixed(Fixed::new(&access_key_id, &secret_access_key)),
            Access::Role { arn } => Kind::Role {
                arn,
                local: Arc::clone(local),
                session: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            },
        }))
    }

    pub(crate) fn none() -> Self {
        Source(Arc::new(Kind::None))
    }

    /// Whether there is a role behind it.
    pub fn is_temporary(&self) -> bool {
        matches!(*self.0, Kind::Role { .. })
    }

    /// Returns when there are credentials that are good for one more call on behalf of the owner of `delivery`.
    pub async fn ready(&self, delivery: &Delivery) -> Result<(), Failure> {
        let Kind::Role {
            arn,
            local,
            session,
            fetching,
        } = &*self.0
        else {
            return Ok(());
        };
        let asked = Instant::now();
        let is_fresh = || {
            let session = lock(session);
            session
                .as_ref()
                .is_some_and(|session| asked < session.renew_at)
        };
        if is_fresh() {
            return Ok(());
        }
        let mut last_failure = fetching.lock().await;
        if is_fresh() {
            return Ok(());
        }
        if let Some((at, failure)) = &*last_failure
            && *at > asked
        {
            return Err(failure.clone());
        }
        match local.sts.assume(arn, delivery).await {
            Ok(lease) => {
                *lock(session) = Some(lease.session(pushrail_clock::now_ms()));
                *last_failure = None;
                Ok(())
            }
            Err(failure) => {
                *last_failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// The service did not accept what we have: the next call gets a new session, where there is a role.
    pub fn forget(&self) {
        if let Kind::Role { session, .. } = &*self.0 {
            *lock(session) = None;
        }
    }

    /// `text` of somebody else's, without a credential of ours.
    pub fn blotted(&self, text: &str) -> String {
        let Some(credentials) = self.current() else {
            return text.to_owned();
        };
        let token = credentials
            .session_token()
            .filter(|token| !token.is_empty());
        let text = text.replace(credentials.secret_access_key(), BLOT);
        token.map_or(text.clone(), |token| text.replace(token, BLOT))
    }

    fn current(&self) -> Option<Credentials> {
        match &*self.0 {
            Kind::None => None,
            Kind::Fixed(Fixed(credentials)) => Some(credentials.clone()),
            Kind::Role { session, .. } => {
                let session = lock(session);
                session.as_ref().map(|session| session.credentials.clone())
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// The SDK asks for every request; what it gets has been made [`Source::ready`] before.
impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let current = self.current();
        let none = || CredentialsError::not_loaded("there is no session");
        future::ProvideCredentials::ready(current.ok_or_else(none))
    }
}

impl Lease {
    fn session(self, now_ms: i64) -> Session {
        let life_ms = (self.expires_ms - now_ms).max(0).unsigned_abs();
        let life = Duration::from_millis(life_ms);
        let usable = life.saturating_sub(MARGIN).max(life / 5 * 4);
        Session {
            credentials: self.credentials,
            renew_at: Instant::now() + usable,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How requests name us in `User-Agent`.
pub(crate) fn app_name() -> AppName {
    AppName::new("Pushrail").expect("letters only")
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;

    use super::*;
    use crate::{Aws, Operator};

    fn lease(life_s: i64) -> Session {
        let credentials =
            Credentials::new("AKID", "s3cret-key", Some("s3cret-token".into()), None, "t");
        let lease = Lease {
            credentials,
            expires_ms: 1_000_000 + life_s * 1000,
        };
        lease.session(1_000_000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_renewed_before_it_ends_however_short_it_is() {
        for (life_s, usable_s) in [(3600, 3300), (900, 720), (10, 8), (0, 0), (-5, 0)] {
            let usable = lease(life_s).renew_at - Instant::now();
            assert_eq!(usable, Duration::from_secs(usable_s), "{life_s}");
        }
    }

    #[tokio::test]
    async fn what_a_service_repeats_of_a_credential_is_blotted_out() {
        let access = Access::Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("s3cret-key"),
        };
        let aws = Aws::new(&Context::default(), Operator::Chain);
        let source = Source::new(access, &aws.local());
        let text = source.blotted("you signed with s3cret-key, AKIDEXAMPLE");
        assert_eq!(text, "you signed with ***, AKIDEXAMPLE");
        assert!(!format!("{source:?}").contains("s3cret"));
    }
}
