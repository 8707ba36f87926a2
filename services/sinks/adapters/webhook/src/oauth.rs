//! OAuth 2.0 client credentials: one token a destination, got once, kept until shortly before it ends.
//!
//! Calls that need a token while one is being fetched wait for that fetch and share its result, good or bad. A fetch
//! that is given up (its call ran into the deadline) passes to the next one that waits. The token endpoint is called
//! under the same rules as the destination: vetted addresses, no redirects, bounded body, the call's own deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use pushrail_egress::{Dialer, Target};
use pushrail_sink_core::Secret;
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::check::{basic, bearer};
use crate::classify::about_token;
use crate::config::{ClientAuthentication, OAuth2};
use crate::failure::Failure;
use crate::http1::{Appetite, Connection, Head};

/// Largest answer of a token endpoint, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// Life of a token whose answer does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// A token is renewed this long before its end, or after four fifths of its life when that is later.
const MARGIN: Duration = Duration::from_secs(60);

/// What a destination asks the token endpoint, and what it got.
pub(crate) struct Grant {
    target: Target,
    request: Vec<u8>,
    current: Mutex<Option<Arc<Token>>>,
    /// Held while fetching; keeps why the last fetch failed, and its number.
    fetching: tokio::sync::Mutex<Option<(u64, Failure)>>,
    /// Fetches that came to an end.
    ended: AtomicU64,
}

pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) born: Instant,
    renew_at: Instant,
}

impl Grant {
    pub(crate) fn new(target: Target, config: &OAuth2, secret: &Secret) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", &config.scope), ("audience", &config.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let authorization = match config.client_authentication {
            ClientAuthentication::Basic => {
                let encoded = |text: &str| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                Some(basic(
                    &encoded(&config.client_id),
                    &encoded(secret.expose()),
                ))
            }
            ClientAuthentication::Post => {
                form.append_pair("client_id", &config.client_id);
                form.append_pair("client_secret", secret.expose());
                None
            }
        };
        Grant {
            request: request(&target, authorization.as_ref(), &form.finish()),
            target,
            current: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// A token that is good for one more call.
    pub(crate) async fn token(&self, dialer: &Dialer) -> Result<Arc<Token>, Failure> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let ended_before = self.ended.load(Ordering::Acquire);
        let mut last_failure = self.fetching.lock().await;
        if let Some(token) = self.current() {
            return Ok(token);
        }
        if let Some((number, failure)) = &*last_failure
            && *number > ended_before
        {
            return Err(failure.clone());
        }
        let result = self.fetch(dialer).await;
        let number = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        match result {
            Ok(token) => {
                let token = Arc::new(token);
                *self.lock() = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                *last_failure = Some((number, failure.clone()));
                Err(failure)
            }
        }
    }

    /// The receiver refused `token`: the next call gets a new one.
    pub(crate) fn forget(&self, token: &Arc<Token>) {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, token))
        {
            *current = None;
        }
    }

    fn current(&self) -> Option<Arc<Token>> {
        let current = self.lock();
        current
            .as_ref()
            .filter(|token| Instant::now() < token.renew_at)
            .cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Token>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, dialer: &Dialer) -> Result<Token, Failure> {
        let asked = Instant::now();
        let stream = dialer.open(&self.target).await;
        let stream = stream.map_err(|failure| about_token(&failure.into()))?;
        let mut connection = Connection::over(stream);
        let head = connection.exchange(&self.request).await;
        let head = head.map_err(|unsent| about_token(&unsent.failure()))?;
        let mut body = Vec::new();
        let appetite = Appetite {
            keep: ANSWER_LEN_MAX,
            read: ANSWER_LEN_MAX as u64,
        };
        match connection.body(&head, appetite, &mut body).await {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::TokenInvalid(
                    "the token endpoint's answer is too large",
                ));
            }
            Err(_) => return Err(about_token(&Failure::ConnectionLost)),
        }
        connection.close();
        if (200..300).contains(&head.status) {
            accept(&body, asked)
        } else {
            Err(refusal(&head, &body))
        }
    }
}

/// The request for a token, ready to be sent.
fn request(target: &Target, authorization: Option<&HeaderValue>, form: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + form.len());
    let mut header = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    header("POST ", format!("{} HTTP/1.1", target.path).as_bytes());
    header("host: ", target.host_header.as_bytes());
    header("content-type: ", b"application/x-www-form-urlencoded");
    header("accept: ", b"application/json");
    header("user-agent: ", crate::USER_AGENT.as_bytes());
    header("connection: ", b"close");
    if let Some(authorization) = authorization {
        header("authorization: ", authorization.as_bytes());
    }
    header("content-length: ", form.len().to_string().as_bytes());
    header("", b"");
    out.extend_from_slice(form.as_bytes());
    out
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    token_type: Option<Box<str>>,
    expires_in: Option<Seconds>,
}

/// Some authorization servers write the number as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(Box<str>),
}

fn accept(body: &[u8], asked: Instant) -> Result<Token, Failure> {
    let granted: Granted = serde_json::from_slice(body).map_err(|_| {
        Failure::TokenInvalid("the token endpoint's answer is not JSON with an access_token")
    })?;
    if granted
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(Failure::TokenInvalid(
            "the token endpoint gave a token that is not a bearer token",
        ));
    }
    let header = bearer(granted.access_token.expose()).ok_or(Failure::TokenInvalid(
        "the token endpoint gave a token that cannot be sent in a header",
    ))?;
    let seconds = match granted.expires_in {
        None => LIFE_DEFAULT.as_secs_f64(),
        Some(Seconds::Number(number)) => number,
        Some(Seconds::Text(text)) => text.parse().unwrap_or(LIFE_DEFAULT.as_secs_f64()),
    };
    // A year is longer than any client lives; the bound keeps the arithmetic sane.
    let life = Duration::from_secs_f64(if seconds.is_finite() {
        seconds.clamp(0.0, 31_536_000.0)
    } else {
        0.0
    });
    let renew_after = life.saturating_sub(MARGIN).max(life.mul_f64(0.8));
    Ok(Token {
        header,
        born: Instant::now(),
        renew_at: asked + renew_after,
    })
}

#[derive(Deserialize)]
struct Refusal {
    error: Box<str>,
}

fn refusal(head: &Head, body: &[u8]) -> Failure {
    let status = head.status;
    // Only what looks like one of the registered codes is passed on: the rest of the answer is none of ours to repeat.
    let code = serde_json::from_slice::<Refusal>(body)
        .ok()
        .map(|refusal| refusal.error);
    let code =
        code.filter(|c| c.len() <= 64 && c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    let detail = match &code {
        Some(code) => format!("the token endpoint answered {status} ({code})"),
        None => format!("the token endpoint answered {status}"),
    };
    let passing = code
        .as_deref()
        .is_some_and(|c| matches!(c, "temporarily_unavailable" | "server_error" | "slow_down"));
    match status {
        408 | 425 | 429 | 500..=599 => Failure::TokenUnavailable {
            detail: detail.into(),
            after: head.retry_after,
        },
        _ if passing => Failure::TokenUnavailable {
            detail: detail.into(),
            after: None,
        },
        _ => Failure::TokenRefused(detail.into()),
    }
}
