//! A client of the API, as a vendor's backend has one: sends a request, and hands back what was answered, good or bad.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Longer than the control plane may take, its wait for a database included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Requests to one address with one credential. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    credential: String,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Api {
    pub fn new(
        address: std::net::SocketAddr,
        credential: impl Into<String>,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        Ok(Api {
            http,
            base: format!("http://{address}"),
            credential: credential.into(),
        })
    }

    /// The same address with another credential.
    pub fn with(&self, credential: impl Into<String>) -> Self {
        Api {
            credential: credential.into(),
            ..self.clone()
        }
    }

    /// Sends a request, once. An error is one of the connection: nothing was answered.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, url).bearer_auth(&self.credential);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// A post without a body.
    pub async fn act(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, &[], None).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PATCH, path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, path, &[], None).await
    }
}

impl Answer {
    /// The body of an answer that must be 2xx.
    pub fn good(&self) -> anyhow::Result<Value> {
        anyhow::ensure!(
            self.status.is_success(),
            "answered {}: {}",
            self.status,
            self.text
        );
        match self.text.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str(&self.text).context("the answer is not JSON"),
        }
    }

    /// What a refusal asks its caller to wait, in seconds.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }
}

/// A text of an answer.
pub fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let text = value[name].as_str();
    Ok(text
        .with_context(|| format!("no {name} in {value}"))?
        .to_owned())
}
