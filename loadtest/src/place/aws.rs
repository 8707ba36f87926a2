//! A moto of one's own, and the parts of AWS's SDK that are the same for every service.

use std::path::Path;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use pushrail_servers::{Emulator, moto};
use serde_json::{Value, json};

pub(super) const SERVER: &str = "moto, read with boto3";
pub(super) const REGION: &str = "us-east-1";
pub(super) const KEY_ID: &str = "AKIAEXAMPLE";
pub(super) const SECRET: &str = "s3cret-access-key";
/// Account of everything in moto.
pub(super) const ACCOUNT: &str = "123456789012";

pub(super) struct Moto(Emulator);

impl Moto {
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join(format!("moto-{}", uuid::Uuid::new_v4().simple()));
        Ok(Moto(moto::builder(folder).start().await?))
    }

    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// What a script of the stock client says.
    pub(super) async fn boto3(&self, script: &str) -> anyhow::Result<Vec<u8>> {
        Ok(moto::boto3(&self.0, script).await?)
    }
}

pub(super) fn authentication() -> Value {
    json!({"type": "access_key", "accessKeyId": KEY_ID})
}

pub(super) fn secrets() -> Value {
    json!({ "secretAccessKey": SECRET })
}

/// The SDK's HTTP, through reqwest.
#[derive(Clone, Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Http(reqwest::Client::builder().no_proxy().build()?))
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let user =
                |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
            let request = request.try_into_http1x().map_err(|e| user(e.into()))?;
            let (parts, body) = request.into_parts();
            let bytes = body.bytes().map(<[u8]>::to_vec);
            let bytes = bytes.ok_or_else(|| user("a streamed body".into()))?;
            let request = http::Request::from_parts(parts, bytes);
            let request = reqwest::Request::try_from(request).map_err(|e| user(e.into()))?;
            let failed = |error: reqwest::Error| ConnectorError::io(error.into());
            let answer = client.execute(request).await.map_err(failed)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await.map_err(failed)?;
            let mut answer = http::Response::new(SdkBody::from(body.to_vec()));
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            HttpResponse::try_from(answer).map_err(|e| user(e.into()))
        })
    }
}
