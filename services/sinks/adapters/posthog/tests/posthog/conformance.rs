//! The suite that every adapter passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record, records, reject, retry, run,
    suspend,
};
use pushrail_posthog::PostHog;
use pushrail_sink_core::Context;
use serde_json::json;
use uuid::Uuid;

use super::double::{self, KEY, Kept};

struct Project {
    address: SocketAddr,
    kept: Kept,
}

fn trouble(name: &'static str, fault: Fault, expected: Expected) -> Trouble {
    Trouble::new(name, records(1), fault, expected)
}

impl Subject for Project {
    type Adapter = PostHog;

    fn against(&self) -> String {
        "a double, and a recording of posthog-python 7.91.1".to_owned()
    }

    fn adapter(&self, context: Context) -> PostHog {
        PostHog::new(&context)
    }

    fn server(&self) -> SocketAddr {
        self.address
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: json!({ "instanceUrl": format!("http://{at}"), "groupType": "company" }),
            secrets: json!({ "projectApiKey": KEY }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/posthog/declaration.json"
        )
        .into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        self.kept.ids()
    }

    fn recognises_repeats(&self) -> Case<()> {
        Ok(())
    }

    fn partial_failures(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let mut records = records(7);
        records[2] = record(r#"{"poison":true}"#);
        records[3] = record(r#"{"poison":1}"#);
        records[6] = record("[]");
        let expected = vec![
            delivered(),
            delivered(),
            reject("event_refused"),
            reject("event_refused"),
            delivered(),
            delivered(),
            reject("invalid_payload"),
        ];
        Ok(vec![Trouble {
            name: "two events that PostHog refuses, and one that is none",
            given: None,
            records,
            fault: Fault::None,
            expected,
        }])
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
                wait("throttled"),
            ),
            trouble(
                "503 with Retry-After",
                Fault::http("503 Service Unavailable", &after, ""),
                wait("service_unavailable"),
            ),
            trouble(
                "429 without",
                Fault::http("429 Too Many Requests", &[], ""),
                retry("throttled"),
            ),
        ])
    }

    fn rejected_credentials(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let mut foreign = self.destination(at);
        foreign.secrets["projectApiKey"] = json!("phc_of-another-project");
        Ok(vec![
            Trouble {
                given: Some(foreign),
                ..trouble("another key", Fault::None, suspend("project_key_rejected"))
            },
            trouble(
                "a redirect",
                Fault::http(
                    "301 Moved Permanently",
                    &[("location", "https://example.com")],
                    "",
                ),
                suspend("not_posthog"),
            ),
        ])
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        let huge = format!(r#"{{"text":"{}"}}"#, "x".repeat(300 * 1024));
        let mut records = records(3);
        records[1] = record(&huge);
        Ok(Trouble {
            name: "an event beyond what a request may have, between two others",
            given: None,
            records,
            fault: Fault::None,
            expected: vec![delivered(), reject("event_too_large"), delivered()],
        })
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        Ok(trouble(
            "an endless body",
            Fault::http_endless("500 Oh"),
            retry("service_unavailable"),
        ))
    }
}

#[tokio::test]
async fn a_posthog_project_conforms() {
    let (address, kept) = double::start().await;
    run(Project { address, kept }).await;
}
