//! The suite that every adapter passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, records, reject, retry, run, suspend,
};
use pushrail_sink_core::Context;
use pushrail_webhook::Webhook;
use serde_json::json;
use standardwebhooks::Webhook as Verifier;
use uuid::Uuid;

use super::support::{SECRET, Server, reply, serve};

struct Receiver {
    server: Server,
    arrived: Arc<Mutex<Vec<Uuid>>>,
}

impl Receiver {
    /// Takes what the stock library verifies.
    async fn start() -> Receiver {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let keep = arrived.clone();
        let server = serve(move |seen| {
            let verified = Verifier::new(SECRET)
                .unwrap()
                .verify(&seen.body, &seen.headers);
            let status = if verified.is_ok() { 200 } else { 401 };
            if status == 200 {
                let id = seen.header("webhook-id").parse().unwrap();
                keep.lock().unwrap().push(id);
            }
            async move { reply(status) }
        })
        .await;
        Receiver { server, arrived }
    }
}

fn trouble(name: &'static str, fault: Fault, expected: Expected) -> Trouble {
    Trouble::new(name, records(1), fault, expected)
}

impl Subject for Receiver {
    type Adapter = Webhook;

    fn against(&self) -> String {
        "hyper, verified with standardwebhooks 1.0.1".to_owned()
    }

    fn adapter(&self, context: Context) -> Webhook {
        Webhook::new(context)
    }

    fn server(&self) -> SocketAddr {
        self.server.address
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: json!({ "url": format!("http://{at}/hook") }),
            secrets: json!({ "signingSecret": SECRET }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/webhook/declaration.json"
        )
        .into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        self.arrived.lock().unwrap().clone()
    }

    fn recognises_repeats(&self) -> Case<()> {
        Err("receivers tell repeats by `webhook-id`")
    }

    fn partial_failures(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        Err("one event a call")
    }

    fn throttled(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let after = [("retry-after", "7")];
        let wait = |code| Expected::Retry {
            code,
            after: Some(Duration::from_secs(7)),
        };
        Ok(vec![
            trouble(
                "429 with Retry-After",
                Fault::http("429 Too Many Requests", &after, ""),
                wait("http_429"),
            ),
            trouble(
                "503 with Retry-After",
                Fault::http("503 Service Unavailable", &after, ""),
                wait("http_503"),
            ),
            trouble(
                "429 without",
                Fault::http("429 Too Many Requests", &[], ""),
                retry("http_429"),
            ),
        ])
    }

    fn rejected_credentials(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let mut oauth = self.destination(at);
        oauth.config["authentication"] = json!({
            "type": "oauth2", "tokenUrl": format!("http://{at}/token"), "clientId": "c",
        });
        oauth.secrets["clientSecret"] = json!("s3cret-of-a-client");
        let refused = Fault::http(
            "401 Unauthorized",
            &[],
            r#"{"error": "invalid_client", "error_description": "s3cret-of-a-client"}"#,
        );
        Ok(vec![
            Trouble {
                given: Some(oauth),
                ..trouble("OAuth client refused", refused, suspend("oauth2_refused"))
            },
            trouble(
                "410: wants nothing more",
                Fault::http("410 Gone", &[], ""),
                suspend("http_410"),
            ),
            // A webhook's 401 may be about one event: it is rejected, and the breaker does the rest.
            trouble(
                "401: rejected",
                Fault::http("401 Unauthorized", &[], "no"),
                reject("http_401"),
            ),
        ])
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        Ok(trouble(
            "413",
            Fault::http("413 Content Too Large", &[], ""),
            reject("http_413"),
        ))
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        Ok(trouble(
            "an endless body",
            Fault::http_endless("500 Oh"),
            retry("http_500"),
        ))
    }
}

#[tokio::test]
async fn a_webhook_conforms() {
    run(Receiver::start().await).await;
}
