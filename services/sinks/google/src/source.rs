//! Access tokens: one is kept a destination, and renewed before it ends.
//!
//! Calls that need one while it is being fetched wait for that fetch and share its result, good or bad. A fetch that is given
//! up (its call ran into the deadline) passes to the next one that waits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use pushrail_schemas::headers::Delivery;
use pushrail_sink_core::Secret;
use tokio::time::Instant;

use crate::check::Access;
use crate::exchange;
use crate::failure::Failure;
use crate::local::Local;
use crate::refusal::Meaning;

/// A token is renewed this long before its end, or after four fifths of its life when that is later.
const MARGIN: Duration = Duration::from_secs(300);
/// A token that is younger was good when it was made: who refuses it refuses us.
const FRESH: Duration = Duration::from_secs(60);

/// Tokens of one destination. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    access: Access,
    /// What it is to be good for: a URL that Google knows.
    scope: &'static str,
    local: Arc<Local>,
    token: Mutex<Option<Token>>,
    /// Held while fetching; keeps when and why the last fetch failed.
    fetching: tokio::sync::Mutex<Option<(Instant, Failure)>>,
}

/// An access token. Cheap to clone.
#[derive(Clone)]
pub struct Token(Arc<Known>);

struct Known {
    header: HeaderValue,
    text: Secret,
    fetched: Instant,
    renew_at: Instant,
}

impl Token {
    /// `None`: it is no text that a header can have.
    pub(crate) fn new(text: &str, life: Duration) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        header.set_sensitive(true);
        let usable = life.saturating_sub(MARGIN).max(life / 5 * 4);
        let fetched = Instant::now();
        Some(Token(Arc::new(Known {
            header,
            text: Secret::new(text),
            fetched,
            renew_at: fetched + usable,
        })))
    }

    /// `Bearer …`
    pub fn header(&self) -> HeaderValue {
        self.0.header.clone()
    }

    /// To be removed from what others say.
    pub fn text(&self) -> &str {
        self.0.text.expose()
    }

    /// Whether it is so young that a service that refuses it refuses whoever it is for.
    pub(crate) fn is_fresh(&self) -> bool {
        self.0.fetched.elapsed() < FRESH
    }
}

impl Source {
    pub fn new(access: Access, scope: &'static str, local: &Arc<Local>) -> Self {
        Source(Arc::new(Inner {
            access,
            scope,
            local: Arc::clone(local),
            token: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }))
    }

    /// One that is good for one more call on behalf of the owner of `delivery`.
    pub async fn token(&self, delivery: &Delivery) -> Result<Token, Failure> {
        let asked = Instant::now();
        let kept = || lock(&self.0.token).clone();
        let fresh = || kept().filter(|token| asked < token.0.renew_at);
        if let Some(token) = fresh() {
            return Ok(token);
        }
        let mut last_failure = self.0.fetching.lock().await;
        if let Some(token) = fresh() {
            return Ok(token);
        }
        if let Some((at, failure)) = &*last_failure
            && *at > asked
        {
            return Err(failure.clone());
        }
        let Inner {
            access,
            scope,
            local,
            ..
        } = &*self.0;
        match exchange::fetch(access, scope, local, delivery).await {
            Ok(token) => {
                *lock(&self.0.token) = Some(token.clone());
                *last_failure = None;
                Ok(token)
            }
            Err(failure) => {
                *last_failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// What a failure of a call with `token` is: where the service did not accept it, the next call gets a new one; and where it
    /// was new, another one would not serve either.
    pub fn judged(&self, token: &Token, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(refusal) if refusal.meaning() == Meaning::Credentials => {
                self.forget(token);
                match token.is_fresh() {
                    true => Failure::Unknown(refusal),
                    false => Failure::Refused(refusal),
                }
            }
            failure => failure,
        }
    }

    fn forget(&self, token: &Token) {
        let mut kept = lock(&self.0.token);
        if kept
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(&kept.0, &token.0))
        {
            *kept = None;
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_however_short_it_is() {
        for (life_s, usable_s) in [(3600, 3300), (900, 720), (10, 8), (0, 0)] {
            let token = Token::new("t0ken-of-a-test", Duration::from_secs(life_s)).unwrap();
            let usable = token.0.renew_at - Instant::now();
            assert_eq!(usable, Duration::from_secs(usable_s), "{life_s}");
            assert!(!format!("{token:?} {:?}", token.header()).contains("t0ken"));
        }
        assert!(Token::new("line\nbreak", Duration::ZERO).is_none());
    }
}
