//! What is done with secrets: everything that the API offers to do with them, and the mistakes that people make.

use reqwest::Method;
use serde_json::{Value, json};

use super::planted::Planted;
use crate::api::{Api, text};
use crate::keeper::{Keeper, Kept, Reply};

/// What the receiver answers a path `/<status>/…` with; there is a destination of each.
pub(super) const STATUSES: [u16; 5] = [200, 400, 401, 410, 503];
pub(super) const CUSTOMER: &str = "customer-0";
const DESTINATIONS: &str = "/v1/customers/customer-0/destinations";

/// An answer of the API, and the texts of secrets that it was there to show.
pub(super) struct Answered {
    pub(super) what: String,
    pub(super) text: String,
    pub(super) shown: Vec<String>,
}

/// Asks, plants, and keeps what was answered.
pub(super) struct Story<'a> {
    pub(super) planted: &'a mut Planted,
    pub(super) answers: Vec<Answered>,
    pub(super) refused: usize,
}

impl Story<'_> {
    async fn ask(
        &mut self,
        api: &Api,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let answer = api.send(method.clone(), path, &[], body).await?;
        let value = serde_json::from_str(&answer.text).unwrap_or_default();
        let text = format!("{:?}\n{}", answer.headers, answer.text);
        let status = answer.status;
        self.answers.push(Answered {
            what: format!("{method} {path}: {status}"),
            text,
            shown: Vec::new(),
        });
        Ok(value)
    }

    /// Asks for something whose answer shows secrets, in these fields of it.
    async fn made(
        &mut self,
        api: &Api,
        method: Method,
        path: &str,
        body: Option<&Value>,
        secrets: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let value = self.ask(api, method, path, body).await?;
        for (field, what) in secrets {
            self.planted.add(what, &text(&value, field)?);
        }
        if let Some(answered) = self.answers.last_mut() {
            answered.shown = self.planted.shown_in(&answered.text);
        }
        Ok(value)
    }

    /// Makes everything that has a secret.
    pub(super) async fn plant(&mut self, api: &Api, keeper: &Keeper) -> anyhow::Result<()> {
        let body = json!({"name": "second"});
        let shows = [("key", "API key")];
        let key = self
            .made(api, Method::POST, "/v1/api-keys", Some(&body), &shows)
            .await?;
        let other = api.with(text(&key, "key")?);
        let body = json!({"name": "warehouse", "readAudit": true});
        let shows = [("password", "Kafka password of a vendor")];
        let path = "/v1/kafka-credentials";
        let user = self
            .made(&other, Method::POST, path, Some(&body), &shows)
            .await?;
        let path = format!("{path}/{}/rotate", text(&user, "user")?);
        let shows = [("password", "second Kafka password of a vendor")];
        self.made(api, Method::POST, &path, None, &shows).await?;
        let body = json!({"customerExternalId": CUSTOMER, "ttlSeconds": 3600});
        let shows = [("token", "session token")];
        let session = self
            .made(api, Method::POST, "/v1/sessions", Some(&body), &shows)
            .await?;
        let session = api.with(text(&session, "token")?);
        for status in STATUSES {
            self.destinations(api, &session, keeper, status).await?;
        }
        Ok(())
    }

    /// One destination of each way to authenticate, whose receiver answers with `status` and everything that it was sent.
    async fn destinations(
        &mut self,
        api: &Api,
        session: &Api,
        keeper: &Keeper,
        status: u16,
    ) -> anyhow::Result<()> {
        let mut fresh = |what: &str| self.planted.fresh(&format!("{what} {status}"));
        let basic = fresh("password");
        let bearer = fresh("bearer token");
        let client = fresh("client secret");
        let posted = fresh("posted client secret");
        let header = fresh("header");
        let own = fresh("own authorization");
        let (certificate, key) = certificate()?;
        // One line of it is enough to know it by.
        let line = key.lines().nth(1).unwrap_or_default();
        self.planted.add(&format!("client key {status}"), line);
        let url = |kind: &str| keeper.url(&format!("/{status}/{kind}"));
        // The token endpoint gives a token that has the status in it, or refuses.
        let token_url = keeper.url(&format!("/token/{status}"));
        let oauth = |secret: &str, how: &str| json!({"type": "oauth2", "tokenUrl": token_url, "clientId": secret.len().to_string(), "clientAuthentication": how});
        let drafts = [
            (json!({"url": url("plain")}), json!({})),
            (
                json!({"url": url("basic"), "authentication": {"type": "basic", "username": "someone"}}),
                json!({"password": basic}),
            ),
            (
                json!({"url": url("bearer"), "authentication": {"type": "bearer"}}),
                json!({"bearerToken": bearer}),
            ),
            (
                json!({"url": url("oauth"), "authentication": oauth(&client, "basic")}),
                json!({"clientSecret": client}),
            ),
            (
                json!({"url": url("oauth-post"), "authentication": oauth(&posted, "post")}),
                json!({"clientSecret": posted}),
            ),
            (
                json!({"url": url("headers")}),
                json!({"headers": {"X-Api-Key": header, "Authorization": format!("Token {own}")}}),
            ),
            (
                json!({"url": keeper.url("/mtls").replace("http:", "https:"), "clientCertificate": certificate}),
                json!({"clientKey": key}),
            ),
        ];
        for (n, (config, secrets)) in drafts.into_iter().enumerate() {
            let body = json!({"kind": "webhook", "name": format!("{status}-{n}"), "config": config, "secrets": secrets,
                "retry": {"maxAttempts": 3, "initialDelayMs": 100, "maxDelayMs": 1000}});
            let what = format!("signing secret {status}-{n}");
            let (who, path) = match n % 2 {
                0 => (api, DESTINATIONS),
                _ => (session, "/v1/destinations"),
            };
            let shows = [("signingSecret", what.as_str())];
            let made = self
                .made(who, Method::POST, path, Some(&body), &shows)
                .await?;
            let path = format!("{path}/{}", text(&made, "destinationId")?);
            let what = format!("second signing secret {status}-{n}");
            let shows = [("signingSecret", what.as_str())];
            let rotate = format!("{path}/secrets/rotate");
            self.made(who, Method::POST, &rotate, None, &shows).await?;
            if n == 2 {
                let bearer = self.planted.fresh(&format!("second bearer token {status}"));
                let body = json!({"secrets": {"bearerToken": bearer}});
                self.ask(who, Method::PATCH, &path, Some(&body)).await?;
            }
            self.ask(who, Method::POST, &format!("{path}/test"), None)
                .await?;
        }
        Ok(())
    }

    /// Asks everything that can be asked.
    pub(super) async fn read(&mut self, api: &Api, operator: &Api) -> anyhow::Result<()> {
        let list = self
            .ask(api, Method::GET, &format!("{DESTINATIONS}?limit=100"), None)
            .await?;
        for destination in list["items"].as_array().into_iter().flatten() {
            let path = format!("{DESTINATIONS}/{}", text(destination, "destinationId")?);
            for path in [format!("{path}/changes"), path] {
                self.ask(api, Method::GET, &path, None).await?;
            }
        }
        for path in [
            "/v1/tenant",
            "/v1/api-keys",
            "/v1/customers",
            "/v1/kafka-credentials",
            "/v1/event-types",
            "/v1/destination-types",
            "/v1/audit-trail?limit=100",
            "/v1/audit-trail/export",
            "/v1/audit-trail/export?format=csv",
            "/v1/audit-trail/verify",
            "/openapi.json",
        ] {
            self.ask(api, Method::GET, path, None).await?;
        }
        for path in [
            "/v1/tenants",
            "/v1/tenants/dev",
            "/v1/tenants/dev/api-keys",
            "/v1/audit-trail",
        ] {
            self.ask(operator, Method::GET, path, None).await?;
        }
        Ok(())
    }

    /// Secrets where they do not belong: every request is refused, and nobody repeats what was in it.
    pub(super) async fn mistakes(&mut self, api: &Api, events: &Api) -> anyhow::Result<()> {
        let list = self.ask(api, Method::GET, DESTINATIONS, None).await?;
        let existing = format!(
            "{DESTINATIONS}/{}",
            text(&list["items"][0], "destinationId")?
        );
        for (what, draft) in misplaced() {
            let made = self.misplace(what, draft);
            let body = merged(
                json!({"kind": "webhook", "config": {"url": "https://example.com/"}}),
                &made,
            );
            self.refused(api, Method::POST, DESTINATIONS, Some(&body))
                .await?;
            if made.get("kind").is_none() {
                self.refused(api, Method::PATCH, &existing, Some(&made))
                    .await?;
            }
        }
        let marked = |path: &str| (path.to_owned(), Value::Null);
        let others = [
            (
                Method::PATCH,
                (
                    "/v1/tenant".to_owned(),
                    json!({"rotationOverlapSeconds": MARK}),
                ),
            ),
            (
                Method::PATCH,
                ("/v1/tenant".to_owned(), json!({"allowedOrigins": [MARK]})),
            ),
            (
                Method::POST,
                (
                    format!("{existing}/secrets/rotate"),
                    json!({"overlapSeconds": MARK}),
                ),
            ),
            (
                Method::POST,
                (format!("{existing}/disable"), json!({"reason": [MARK]})),
            ),
            (
                Method::POST,
                (
                    format!("{existing}/test"),
                    json!({"eventType": format!("a b {MARK}")}),
                ),
            ),
            (
                Method::POST,
                (
                    "/v1/sessions".to_owned(),
                    json!({"customerExternalId": {"a": MARK}}),
                ),
            ),
            (
                Method::POST,
                (
                    "/v1/sessions".to_owned(),
                    json!({"customerExternalId": "c", "ttlSeconds": MARK}),
                ),
            ),
            (
                Method::POST,
                ("/v1/api-keys".to_owned(), json!({"name": [MARK]})),
            ),
            (
                Method::POST,
                (
                    "/v1/kafka-credentials".to_owned(),
                    json!({"readAudit": MARK}),
                ),
            ),
            (
                Method::POST,
                (
                    "/v1/customers".to_owned(),
                    json!({"externalId": {"a": MARK}}),
                ),
            ),
            (
                Method::POST,
                (
                    "/v1/event-types".to_owned(),
                    json!({"name": "a.b", "schema": {"type": MARK}}),
                ),
            ),
            (
                Method::POST,
                (
                    "/v1/event-types".to_owned(),
                    json!({"name": format!("a b {MARK}")}),
                ),
            ),
            (Method::GET, marked(&format!("{DESTINATIONS}?limit={MARK}"))),
            (
                Method::GET,
                marked(&format!("{DESTINATIONS}?cursor={MARK}")),
            ),
            (Method::GET, marked(&format!("{DESTINATIONS}/{MARK}"))),
            (
                Method::GET,
                marked(&format!("/v1/audit-trail?since={MARK}")),
            ),
        ];
        for (method, (path, body)) in others {
            let secret = self.planted.fresh("misplaced");
            let path = path.replace(MARK, &secret);
            let body = replaced(&body, &secret);
            let body = Some(&body).filter(|body| !body.is_null());
            self.refused(api, method, &path, body).await?;
        }
        let wrong = api.with(self.planted.fresh("wrong key"));
        self.refused(&wrong, Method::GET, DESTINATIONS, None)
            .await?;
        let session = format!("{0}.{0}.{0}", self.planted.fresh("wrong token"));
        self.refused(&api.with(session), Method::GET, DESTINATIONS, None)
            .await?;
        let wrong = events.with(self.planted.fresh("wrong key of ingest"));
        let event =
            json!({"eventType": "order.completed", "customerExternalId": CUSTOMER, "payload": {}});
        self.refused(&wrong, Method::POST, "/v1/events", Some(&event))
            .await?;
        for wrong in [
            json!({"eventType": {"a": MARK}}),
            json!({"eventType": format!("a b {MARK}")}),
            json!({"customerExternalId": [MARK]}),
            json!({"payload": MARK}),
            json!({"metadata": [MARK]}),
            json!({"occurredAt": MARK}),
            json!({"idempotencyKey": [MARK]}),
            json!({"apiKey": MARK}),
        ] {
            let secret = self.planted.fresh("misplaced in an event");
            let body = merged(event.clone(), &replaced(&wrong, &secret));
            self.refused(events, Method::POST, "/v1/events", Some(&body))
                .await?;
        }
        Ok(())
    }

    fn misplace(&mut self, what: &str, draft: Value) -> Value {
        let secret = self.planted.fresh(&format!("misplaced in {what}"));
        replaced(&draft, &secret)
    }

    async fn refused(
        &mut self,
        api: &Api,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<()> {
        let answered = self.ask(api, method.clone(), path, body).await?;
        self.refused += 1;
        let status = answered["status"].as_u64().unwrap_or_default();
        anyhow::ensure!(
            (400..500).contains(&status),
            "{method} {path} with {body:?} was not refused but answered {answered}"
        );
        Ok(())
    }
}

/// Stands for a secret that nothing else has.
const MARK: &str = "MARK";

fn replaced(value: &Value, secret: &str) -> Value {
    let text = value.to_string().replace(MARK, secret);
    serde_json::from_str(&text).unwrap_or_default()
}

fn merged(mut base: Value, over: &Value) -> Value {
    for (name, value) in over.as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    base
}

/// Fields of a destination with a secret in them that belongs elsewhere, or is none.
fn misplaced() -> Vec<(&'static str, Value)> {
    let url = "https://example.com/";
    vec![
        ("kind", json!({"kind": MARK})),
        ("name", json!({"name": {"a": MARK}})),
        ("state", json!({"state": MARK})),
        (
            "url with a password",
            json!({"config": {"url": format!("https://user:{MARK}@example.com/")}}),
        ),
        ("no url", json!({"config": {"url": MARK}})),
        (
            "scheme",
            json!({"config": {"url": format!("{MARK}://example.com/")}}),
        ),
        ("config", json!({"config": MARK})),
        (
            "unknown field",
            json!({"config": {"url": url, "token": MARK}}),
        ),
        (
            "header of the config",
            json!({"config": {"url": url, "headers": {"Authorization": MARK}}}),
        ),
        (
            "headers",
            json!({"config": {"url": url, "headers": [MARK]}}),
        ),
        (
            "type of authentication",
            json!({"config": {"url": url, "authentication": {"type": MARK}}}),
        ),
        (
            "authentication",
            json!({"config": {"url": url, "authentication": {"type": "bearer", "token": MARK}}}),
        ),
        (
            "authentication as text",
            json!({"config": {"url": url, "authentication": MARK}}),
        ),
        (
            "certificate",
            json!({"config": {"url": url, "clientCertificate": MARK}}),
        ),
        (
            "authority",
            json!({"config": {"url": url, "caCertificates": MARK}}),
        ),
        ("secrets", json!({"secrets": MARK})),
        (
            "secret of another name",
            json!({"secrets": {"apiKey": MARK}}),
        ),
        (
            "secret as object",
            json!({"secrets": {"bearerToken": {"value": MARK}}}),
        ),
        (
            "secret as list",
            json!({"secrets": {"bearerToken": [MARK]}}),
        ),
        (
            "secret that nothing uses",
            json!({"secrets": {"password": MARK}}),
        ),
        (
            "signing secret",
            json!({"secrets": {"signingSecret": MARK}}),
        ),
        (
            "old signing secrets",
            json!({"secrets": {"previousSigningSecrets": MARK}}),
        ),
        ("client key", json!({"secrets": {"clientKey": MARK}})),
        (
            "name of a header",
            json!({"secrets": {"headers": {"bad header": MARK}}}),
        ),
        (
            "value of a header",
            json!({"secrets": {"headers": {"X-A": format!("{MARK}\n")}}}),
        ),
        ("headers as text", json!({"secrets": {"headers": MARK}})),
        ("event type", json!({"eventTypes": [format!("a b {MARK}")]})),
        ("event types", json!({"eventTypes": MARK})),
        ("filter", json!({"filter": MARK})),
        (
            "operator of a filter",
            json!({"filter": {"path": "payload.a", "op": MARK, "value": 1}}),
        ),
        (
            "path of a filter",
            json!({"filter": {"path": format!("{MARK}..a"), "op": "eq", "value": 1}}),
        ),
        ("transform", json!({"transform": [MARK]})),
        (
            "step of a transform",
            json!({"transform": [{"drop": MARK}]}),
        ),
        ("retry", json!({"retry": {"maxAttempts": MARK}})),
        ("retry as text", json!({"retry": MARK})),
        ("rate limit", json!({"rateLimit": {"perSecond": MARK}})),
        ("payload mode", json!({"payloadMode": MARK})),
        ("timeout", json!({"timeoutMs": MARK})),
        ("unknown field of all", json!({"token": MARK})),
    ]
}

fn certificate() -> anyhow::Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["client.example".to_owned()])?.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Answers as the worst receiver would: with all that it was sent, decoded where it was encoded, in headers and body.
pub(super) fn echo(kept: &Kept, tokens: &[(u16, String)]) -> Reply {
    let mut parts = kept.path.trim_start_matches('/').split('/');
    let (first, second) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let sent = sent(kept);
    let mut reply = Reply::status(first.parse().unwrap_or(200));
    if first == "token" {
        let token = tokens
            .iter()
            .find(|(status, _)| status.to_string() == second);
        return match token {
            Some((401, _)) | None => {
                reply.status = 401;
                let error = json!({"error": "invalid_client", "error_description": sent});
                reply.body = error.to_string().into_bytes();
                reply
            }
            Some((_, token)) => {
                let granted =
                    json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
                reply.body = granted.to_string().into_bytes();
                reply
            }
        };
    }
    let line = sent.replace(['\n', '\r'], " ");
    for name in [
        "x-echo",
        "www-authenticate",
        "location",
        "set-cookie",
        "x-request-id",
    ] {
        if let Ok(value) = line.parse() {
            reply.headers.insert(name, value);
        }
    }
    let body = json!({"you sent": sent, "again": sent.split_whitespace().collect::<Vec<_>>()});
    reply.body = format!("{sent}\n{body}").into_bytes();
    reply
}

/// Everything of a request that may be a credential.
fn sent(kept: &Kept) -> String {
    use base64::Engine as _;
    let mut sent = String::new();
    for name in ["authorization", "x-api-key"] {
        let value = kept.header(name);
        sent += &format!("{value} ");
        let encoded = value.strip_prefix("Basic ").unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
        sent += &String::from_utf8(decoded.unwrap_or_default()).unwrap_or_default();
        sent += " ";
    }
    if kept.path.starts_with("/token") {
        sent += &String::from_utf8_lossy(&kept.body);
    }
    sent
}
