//! A control plane of one's own.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Method, StatusCode};
use pushrail_control::{KafkaAccess, Settings};
use pushrail_kafka::Connection;
use pushrail_schemas::registry::Ids;
use pushrail_sink_core::Context;
use pushrail_vault::KeyRing;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub(crate) const ADMIN_KEY: &str = "operator-key-of-the-tests-0123456789";

pub(crate) struct Control {
    pub(crate) url: String,
    pub(crate) database_url: String,
    pub(crate) ring: Arc<KeyRing>,
    client: reqwest::Client,
    _running: tokio_util::sync::DropGuard,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        match self.text.is_empty() {
            true => Value::Null,
            false => self.json(),
        }
    }

    /// Fields that a problem names.
    #[track_caller]
    pub(crate) fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let field = |error: &Value| error["field"].as_str().unwrap_or_default().to_owned();
        errors.iter().map(field).collect()
    }

    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// Without a Kafka: what is told waits in the outbox.
pub(crate) async fn control() -> Control {
    on(
        Connection::new("127.0.0.1:1"),
        pushrail_testkit::database().await,
    )
    .await
}

pub(crate) async fn on(connection: Connection, database_url: String) -> Control {
    let ring = Arc::new(KeyRing::generate().unwrap());
    with_ring(connection, database_url, ring).await
}

pub(crate) async fn with_ring(
    connection: Connection,
    database_url: String,
    ring: Arc<KeyRing>,
) -> Control {
    with_access(connection, database_url, ring, None).await
}

pub(crate) async fn with_access(
    connection: Connection,
    database_url: String,
    ring: Arc<KeyRing>,
    kafka_access: Option<KafkaAccess>,
) -> Control {
    let context = Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    };
    let adapters = pushrail_sinks::adapters(&context);
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        connection,
        database_url: Zeroizing::new(database_url.clone()),
        database_connections_max: 8,
        admin_key: Zeroizing::new(ADMIN_KEY.to_owned()),
        context,
        adapters,
        check_route: pushrail_router::check,
        kafka_access,
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        requests_per_second: NonZeroU32::new(10_000).unwrap(),
        ids: Ids {
            event: 1,
            attempt: 2,
        },
    };
    let shutdown = CancellationToken::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    let (metrics, health) = (pushrail_obs::Metrics::new(), pushrail_obs::Health::new());
    let (running, kept) = (shutdown.clone(), Arc::clone(&ring));
    tokio::spawn(async move {
        let listening = |address| {
            let _ = tell.send(address);
        };
        pushrail_control::run(settings, kept, &metrics, &health, listening, running)
            .await
            .unwrap();
    });
    Control {
        url: format!("http://{}", told.await.unwrap()),
        database_url,
        ring,
        client: reqwest::Client::new(),
        _running: shutdown.drop_guard(),
    }
}

/// A tenant with its key.
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Control {
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str, credential: &str) -> Answer {
        self.send(Method::GET, path, credential, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, credential: &str, body: Value) -> Answer {
        self.send(Method::POST, path, credential, &[], Some(&body))
            .await
    }

    /// A post without a body.
    pub(crate) async fn act(&self, path: &str, credential: &str) -> Answer {
        self.send(Method::POST, path, credential, &[], None).await
    }

    pub(crate) async fn patch(&self, path: &str, credential: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, credential, &[], Some(&body))
            .await
    }

    pub(crate) async fn delete(&self, path: &str, credential: &str) -> Answer {
        self.send(Method::DELETE, path, credential, &[], None).await
    }

    pub(crate) async fn tenant(&self, id: &str) -> Tenant {
        let made = self
            .post("/v1/tenants", ADMIN_KEY, json!({"tenantId": id}))
            .await;
        Tenant {
            id: id.to_owned(),
            key: text(&made.is(201)["apiKey"]),
        }
    }

    /// A session's token.
    pub(crate) async fn session(&self, tenant: &Tenant, customer: &str) -> String {
        let body = json!({"customerExternalId": customer});
        text(&self.post("/v1/sessions", &tenant.key, body).await.is(201)["token"])
    }

    /// A webhook, as the API shows it when it is made.
    pub(crate) async fn webhook(&self, tenant: &Tenant, customer: &str, url: &str) -> Value {
        let path = format!("/v1/customers/{customer}/destinations");
        let body = json!({"kind": "webhook", "config": {"url": url}});
        self.post(&path, &tenant.key, body).await.is(201)
    }
}
