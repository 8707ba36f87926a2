//! Access tokens by OAuth 2.0 client credentials, for brokers.
//!
//! librdkafka could fetch them itself, from wherever a configuration says; this goes the way that all our calls go: to a vetted
//! address, following no redirect, reading a bounded answer, within the call's own deadline.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use pushrail_egress::{Dialer, Http, Names, Rules};
use pushrail_sink_core::Secret;
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::check::Plan;
use crate::config::{ClientAuthentication, OAuth2};
use crate::failure::Failure;
use crate::native::Producer;

/// Largest answer of a token endpoint, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// Life of a token whose answer does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// A token is renewed this long before its end, or after four fifths of its life when that is later.
const MARGIN: Duration = Duration::from_secs(60);

/// What a destination asks the token endpoint.
pub(crate) struct Grant {
    url: String,
    authorization: Option<Secret>,
    form: Secret,
    extensions: Box<[(Box<str>, Box<str>)]>,
    dialer: Dialer,
}

pub(crate) struct Token {
    text: Secret,
    ends_at: Instant,
    renew_at: Instant,
}

impl Token {
    pub(crate) fn is_stale(&self) -> bool {
        Instant::now() >= self.renew_at
    }

    pub(crate) fn give_to(
        &self,
        producer: &Producer,
        extensions: &[(Box<str>, Box<str>)],
    ) -> Result<(), ()> {
        let life = self.ends_at.saturating_duration_since(Instant::now());
        producer.set_token(self.text.expose(), life, extensions)
    }
}

impl Grant {
    /// `None` where the destination shows no token.
    pub(crate) fn of(plan: &Plan, rules: &Arc<Rules>, names: Arc<Names>) -> Option<Self> {
        let crate::check::Proof::Token {
            target,
            config,
            secret,
            tls,
        } = &plan.proof
        else {
            return None;
        };
        let scheme = match target.server_name {
            Some(_) => "https",
            None => "http",
        };
        let host = target.host_header.to_str().unwrap_or_default();
        let (authorization, form) = request(config, secret);
        let extensions = config.extensions.iter();
        Some(Grant {
            url: format!("{scheme}://{host}{}", target.path),
            authorization,
            form,
            extensions: extensions.map(|(k, v)| (k.clone(), v.clone())).collect(),
            dialer: Dialer {
                rules: Arc::clone(rules),
                names,
                tls: Arc::clone(tls),
            },
        })
    }

    pub(crate) fn extensions(&self) -> &[(Box<str>, Box<str>)] {
        &self.extensions
    }

    pub(crate) async fn token(&self) -> Result<Token, Failure> {
        let asked = Instant::now();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.expose());
        }
        let form = Bytes::copy_from_slice(self.form.expose().as_bytes());
        let request = request
            .body(Full::new(form))
            .map_err(|_| Failure::TokenInvalid("the token endpoint's address cannot be called"))?;
        let answer = Http::new(self.dialer.clone()).call(request, ANSWER_LEN_MAX);
        let answer = answer.await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        let body = body
            .map_err(|error| unreachable(pushrail_egress::why(&*error)))?
            .to_bytes();
        match status {
            200..=299 => accept(&body, asked),
            _ => Err(refusal(status, &body)),
        }
    }
}

fn request(config: &OAuth2, secret: &Secret) -> (Option<Secret>, Secret) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", &config.scope), ("audience", &config.audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let authorization = match config.client_authentication {
        ClientAuthentication::Basic => {
            // RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
            let encoded =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!(
                "{}:{}",
                encoded(&config.client_id),
                encoded(secret.expose())
            );
            Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
        }
        ClientAuthentication::Post => {
            form.append_pair("client_id", &config.client_id);
            form.append_pair("client_secret", secret.expose());
            None
        }
    };
    (authorization, Secret::new(form.finish()))
}

/// No answer, for whatever reason. An address that must not be called is the owner's to mend.
fn unreachable(failure: pushrail_egress::Failure) -> Failure {
    match failure {
        pushrail_egress::Failure::AddressBlocked => Failure::Network(failure),
        failure => {
            let code = failure.code();
            Failure::TokenUnavailable(
                format!("the token endpoint could not be asked ({code})").into(),
            )
        }
    }
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
    let is_bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
    if !granted.token_type.as_deref().is_none_or(is_bearer) {
        return Err(Failure::TokenInvalid(
            "the token endpoint gave a token that is not a bearer token",
        ));
    }
    let seconds = match granted.expires_in {
        None => LIFE_DEFAULT.as_secs_f64(),
        Some(Seconds::Number(number)) => number,
        Some(Seconds::Text(text)) => text.parse().unwrap_or(LIFE_DEFAULT.as_secs_f64()),
    };
    // A year is longer than any client lives; the bound keeps the arithmetic sane.
    let life = Duration::from_secs_f64(match seconds.is_finite() {
        true => seconds.clamp(1.0, 31_536_000.0),
        false => 1.0,
    });
    Ok(Token {
        text: granted.access_token,
        ends_at: asked + life,
        renew_at: asked + life.saturating_sub(MARGIN).max(life.mul_f64(0.8)),
    })
}

#[derive(Deserialize)]
struct Refusal {
    error: Box<str>,
}

fn refusal(status: u16, body: &[u8]) -> Failure {
    // Only what looks like one of the registered codes is passed on: the rest of the answer is none of ours to repeat.
    let code = serde_json::from_slice::<Refusal>(body).ok();
    let code = code.map(|refusal| refusal.error).filter(|code| {
        code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    let detail = match &code {
        Some(code) => format!("the token endpoint answered {status} ({code})"),
        None => format!("the token endpoint answered {status}"),
    };
    let passing = ["temporarily_unavailable", "server_error", "slow_down"];
    let passes = code.is_some_and(|code| passing.contains(&&*code));
    match status {
        408 | 425 | 429 | 500..=599 => Failure::TokenUnavailable(detail.into()),
        _ if passes => Failure::TokenUnavailable(detail.into()),
        _ => Failure::TokenRefused(detail.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_renewed_before_it_ends() {
        let now = Instant::now();
        let token = |json: &str| accept(json.as_bytes(), now);
        let long =
            token(r#"{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}"#).unwrap();
        assert_eq!(long.renew_at, now + Duration::from_secs(3540));
        let short = token(r#"{"access_token": "t", "expires_in": "10"}"#).unwrap();
        assert_eq!(short.renew_at, now + Duration::from_secs(8));
        assert_eq!(short.ends_at, now + Duration::from_secs(10));
        for bad in ["", "{}", r#"{"access_token": "t", "token_type": "mac"}"#] {
            assert!(matches!(token(bad), Err(Failure::TokenInvalid(_))), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let table = [
            (503, "", "token_unavailable"),
            (429, r#"{"error": "invalid_client"}"#, "token_unavailable"),
            (
                400,
                r#"{"error": "temporarily_unavailable"}"#,
                "token_unavailable",
            ),
            (401, r#"{"error": "invalid_client"}"#, "token_refused"),
            (400, "<html>", "token_refused"),
            (302, "", "token_refused"),
        ];
        for (status, body, expected) in table {
            let failure = refusal(status, body.as_bytes());
            assert_eq!(
                crate::classify::said(&failure).0,
                expected,
                "{status} {body}"
            );
        }
        let echoed = refusal(400, br#"{"error": "S3cret of yours"}"#);
        assert!(!format!("{echoed:?}").contains("S3cret"));
    }
}
