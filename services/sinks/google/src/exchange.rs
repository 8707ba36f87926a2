//! Getting an access token, in the way that the customer chose.
//!
//! With a key: what we signed with it, for a token (RFC 7523). With federation: a token of ours for one of Google's at its
//! Security Token Service (RFC 8693), and that one for one of the service account, where one is named.

use std::time::Duration;

use pushrail_schemas::headers::Delivery;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::check::{Access, Key};
use crate::failure::{Failure, Step};
use crate::jwt::SigningKey;
use crate::local::Local;
use crate::rest::Answer;
use crate::source::Token;

/// Longest life that Google gives, and the one that is asked for.
const LIFE: Duration = Duration::from_secs(3600);
/// For a clock that is behind ours.
const SKEW_S: i64 = 30;
/// What the federated token must be good for when it is used for a service account's.
const CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

pub(crate) async fn fetch(
    access: &Access,
    scope: &str,
    local: &Local,
    delivery: &Delivery,
) -> Result<Token, Failure> {
    match access {
        Access::Key(key) => with_key(key, scope, local).await,
        Access::Federation {
            audience,
            service_account,
        } => {
            let wanted = match service_account {
                Some(_) => CLOUD,
                None => scope,
            };
            let federated = federated(audience, wanted, local, delivery).await?;
            match service_account {
                None => Ok(federated),
                Some(email) => impersonated(email, scope, &federated, local).await,
            }
        }
    }
}

async fn with_key(key: &Key, scope: &str, local: &Local) -> Result<Token, Failure> {
    let now_s = pushrail_clock::now_ms() / 1000;
    let claims = json!({
        "iss": &*key.email,
        "scope": scope,
        "aud": &*key.token_uri,
        "iat": now_s - SKEW_S,
        "exp": now_s + LIFE.as_secs() as i64 - SKEW_S,
    });
    let signed = SigningKey::from_pem(key.private_key.expose())
        .and_then(|signing| signing.sign(&key.key_id, &claims))
        .map_err(|_| Failure::Internal("the key could not sign"))?;
    let body = Serializer::new(String::new())
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .append_pair("assertion", &signed)
        .finish();
    let answer = local.rest.ask(&key.token_uri, FORM, None, body).await?;
    let said = said(&answer, Step::Key, &[&signed])?;
    granted(&said, "access_token")
}

async fn federated(
    audience: &str,
    scope: &str,
    local: &Local,
    delivery: &Delivery,
) -> Result<Token, Failure> {
    let Some(identity) = local.operator.identity() else {
        return Err(Failure::Operator(
            "this Pushrail installation has no identity of its own",
        ));
    };
    let ours = identity
        .token(audience, delivery)
        .map_err(Failure::Operator)?;
    let body = Serializer::new(String::new())
        .append_pair(
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        )
        .append_pair("audience", audience)
        .append_pair("scope", scope)
        .append_pair(
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        )
        .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")
        .append_pair("subject_token", &ours)
        .finish();
    let url = format!("{}/v1/token", local.operator.sts());
    let answer = local.rest.ask(&url, FORM, None, body).await?;
    let said = said(&answer, Step::Federation, &[&ours])?;
    granted(&said, "access_token")
}

async fn impersonated(
    email: &str,
    scope: &str,
    federated: &Token,
    local: &Local,
) -> Result<Token, Failure> {
    let base = local.operator.iam();
    let url = format!("{base}/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let body = json!({"scope": [scope], "lifetime": format!("{}s", LIFE.as_secs())});
    let answer = local
        .rest
        .ask(&url, JSON, Some(federated), body.to_string())
        .await?;
    let said = said(&answer, Step::Impersonation, &[federated.text()])?;
    // It says when it ends as a date, which is what was asked for.
    granted(&said, "accessToken")
}

/// What a token endpoint answered, if it granted something.
fn said(answer: &Answer, step: Step, secrets: &[&str]) -> Result<Value, Failure> {
    match answer.status {
        200..300 => answer.json(),
        _ => Err(Failure::Token(
            step,
            Box::new(answer.refusal_without(secrets)),
        )),
    }
}

fn granted(said: &Value, name: &str) -> Result<Token, Failure> {
    let life = said["expires_in"].as_u64().map(Duration::from_secs);
    let text = said[name].as_str().filter(|text| !text.is_empty());
    text.and_then(|text| Token::new(text, life.unwrap_or(LIFE).min(LIFE)))
        .ok_or(Failure::Unreadable { status: 200 })
}
