//! The SDK's way to the network: hyper over connections to vetted addresses.
//!
//! The SDK would bring a client of its own, with its own TLS stack and a resolver that connects anywhere. This one opens
//! connections through `pushrail-egress`. Deadlines are the caller's: dropping the call closes its connection.

use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use pushrail_egress::{Dialer, Failure};

use crate::ANSWER_LEN_MAX;

/// An HTTP client for SDK clients of one worker. Cheap to clone.
#[derive(Clone)]
pub struct Http(pushrail_egress::Http<SdkBody>);

impl Http {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Http(pushrail_egress::Http::new(dialer))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
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
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let call = self.0.call(request, ANSWER_LEN_MAX);
        HttpConnectorFuture::new(async move {
            let failed = |failure: Failure| ConnectorError::io(failure.into());
            let answer = call.await.map_err(failed)?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer).map_err(|_| failed(Failure::InvalidResponse))
        })
    }
}
