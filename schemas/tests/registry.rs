//! The registry client against a stub that answers as registries do when they are ill. What a healthy one does is tested
//! with a real registry, in `topology/tests`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pushrail_schemas::registry::{Credentials, Registry, RegistryError};

/// Answers everything with what it was told last, and counts.
#[derive(Clone)]
struct Stub {
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    authorization: Arc<Mutex<Option<String>>>,
    url: String,
}

impl Stub {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Stub {
            answer: Arc::default(),
            asked: Arc::default(),
            authorization: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().fallback(reply).with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stub
    }

    fn answers(&self, status: u16, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

async fn reply(State(stub): State<Stub>, request: Request) -> Response {
    stub.asked.fetch_add(1, Ordering::SeqCst);
    let header = request.headers().get("authorization");
    *stub.authorization.lock().unwrap() = header.map(|value| value.to_str().unwrap().to_owned());
    let (status, body) = stub.answer.lock().unwrap().clone();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn schema(text: &str) -> String {
    serde_json::json!({ "schema": text }).to_string()
}

const MISSING: &str = r#"{"error_code": 40403, "message": "Schema not found"}"#;

#[tokio::test]
async fn a_schema_is_asked_for_once_and_an_outage_is_not_remembered() {
    let stub = Stub::start().await;
    let registry = Registry::new(&stub.url, None).unwrap();
    for (status, body) in [
        (503, r#"{"error_code": 50301, "message": "later"}"#),
        (500, "<html>"),
        (502, ""),
    ] {
        stub.answers(status, body);
        let error = registry.writer_schema(1).await.unwrap_err();
        assert!(error.retryable(), "{status}: {error:?}");
        assert!(registry.known_schema(1).is_none());
    }
    stub.answers(200, schema(r#""string""#));
    stub.asked();
    for _ in 0..3 {
        assert_eq!(
            *registry.writer_schema(1).await.unwrap(),
            apache_avro::Schema::String
        );
    }
    assert_eq!(stub.asked(), 1);
}

#[tokio::test]
async fn a_missing_schema_is_missing_for_seconds_and_not_for_ever() {
    let stub = Stub::start().await;
    let registry = Registry::new(&stub.url, None).unwrap();
    stub.answers(404, MISSING);
    for _ in 0..10 {
        assert_eq!(
            registry.writer_schema(7).await,
            Err(RegistryError::UnknownId(7))
        );
    }
    assert_eq!(
        stub.asked(),
        1,
        "a stream of records with a wrong id must not become a stream of calls"
    );
    stub.answers(200, schema(r#""string""#));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    assert!(registry.writer_schema(7).await.is_ok());
}

#[tokio::test]
async fn what_is_no_schema_is_said_and_remembered() {
    let stub = Stub::start().await;
    let registry = Registry::new(&stub.url, None).unwrap();
    let protobuf =
        serde_json::json!({ "schema": "message A {}", "schemaType": "PROTOBUF" }).to_string();
    for (id, body) in [(1, schema("{")), (2, protobuf)] {
        stub.answers(200, body);
        for _ in 0..2 {
            let error = registry.writer_schema(id).await.unwrap_err();
            assert!(
                matches!(error, RegistryError::NotAvro { .. }) && !error.retryable(),
                "{error:?}"
            );
        }
        assert_eq!(stub.asked(), 1);
    }
}

#[tokio::test]
async fn credentials_are_sent_and_a_refusal_is_told_apart_and_shows_none() {
    let stub = Stub::start().await;
    let credentials = Credentials {
        user: "push".into(),
        password: "hunter2".into(),
    };
    let registry = Registry::new(&stub.url, Some(credentials)).unwrap();
    stub.answers(401, r#"{"error_code": 401, "message": "no"}"#);
    let error = registry.writer_schema(1).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{error:?}"
    );
    assert_eq!(
        stub.authorization.lock().unwrap().as_deref(),
        Some("Basic cHVzaDpodW50ZXIy")
    );
    assert!(matches!(
        registry.compatibility("a-value").await,
        Err(RegistryError::Unauthorized { .. })
    ));
    assert_eq!(
        stub.authorization.lock().unwrap().as_deref(),
        Some("Basic cHVzaDpodW50ZXIy")
    );
    assert!(!format!("{registry:?} {error}").contains("hunter2"));
    assert!(
        registry.known_schema(1).is_none(),
        "new credentials must not meet an old refusal"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_one_is_refused_and_a_dead_one_is_retryable() {
    for bad in ["", "localhost:8081", "ftp://x"] {
        assert!(
            matches!(Registry::new(bad, None), Err(RegistryError::Address { .. })),
            "{bad}"
        );
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let registry = Registry::new(&url, None).unwrap();
    let error = registry.ids().await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }) && error.retryable(),
        "{error:?}"
    );
}
