//! The suite that every adapter passes, against a FIFO queue of moto, which tells repeats by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{
    Case, Expected, Given, Subject, Trouble, delivered, record, records, reject, retry, run,
    suspend,
};
use pushrail_sink_core::Context;
use pushrail_sqs::Sqs;
use pushrail_testkit::{Moto, moto};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{SECRET, config, messages, queue};

struct Queue {
    moto: &'static Moto,
    name: String,
    /// What was read has left the queue.
    read: Mutex<Vec<Uuid>>,
}

fn refused(status: &str, code: &str, headers: &[(&str, &str)]) -> Fault {
    // What a service that is debugged sends back.
    let message = format!("you signed with {SECRET}");
    let body = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message});
    Fault::http(status, headers, &body.to_string())
}

fn answered(body: &Value) -> Fault {
    Fault::http(
        "200 OK",
        &[("content-type", "application/x-amz-json-1.0")],
        &body.to_string(),
    )
}

fn trouble(name: &'static str, fault: Fault, expected: Expected) -> Trouble {
    Trouble::new(name, records(2), fault, expected)
}

impl Subject for Queue {
    type Adapter = Sqs;

    fn against(&self) -> String {
        "moto 5.2.5 (FIFO), read with boto3".to_owned()
    }

    fn adapter(&self, context: Context) -> Sqs {
        Sqs::new(&context)
    }

    fn server(&self) -> SocketAddr {
        let url = self.moto.url();
        url.trim_start_matches("http://").parse().unwrap()
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: config(&self.name, &format!("http://{at}"), json!({})),
            secrets: json!({ "secretAccessKey": SECRET }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sqs/declaration.json").into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        let found = messages(self.moto, &self.name).await;
        let id = |message: &Value| {
            let id = message["attributes"]["event_id"].as_str().unwrap();
            id.parse::<Uuid>().unwrap()
        };
        let mut read = self.read.lock().unwrap();
        read.extend(found.iter().map(id));
        read.clone()
    }

    fn recognises_repeats(&self) -> Case<()> {
        Ok(())
    }

    /// The suite wants what is delivered to be there, so nothing that is made up says so; beside what is refused for its size
    /// a record really arrives.
    fn partial_failures(&self, at: SocketAddr) -> Case<Vec<Trouble>> {
        let failed = |first: &str, second: Value| {
            let first = json!({"Id": "0", "SenderFault": true, "Code": first, "Message": "no"});
            let failed = [first]
                .into_iter()
                .chain(second.as_object().map(|_| second.clone()));
            json!({ "Failed": failed.collect::<Vec<_>>() })
        };
        let refused = "InvalidMessageContents";
        let theirs =
            json!({"Id": "1", "SenderFault": false, "Code": "InternalError", "Message": "no"});
        let slow =
            json!({"Id": "1", "SenderFault": true, "Code": "RequestThrottled", "Message": "no"});
        let trouble = |name, body: &Value, second| Trouble {
            expected: vec![reject("message_refused"), second],
            ..trouble(name, answered(body), delivered())
        };
        Ok(vec![
            self.oversized(at)?,
            trouble(
                "sender's and service's fault",
                &failed(refused, theirs),
                retry("unavailable"),
            ),
            trouble(
                "sender's fault and throttled",
                &failed(refused, slow),
                retry("throttled"),
            ),
            trouble(
                "sender's fault and not named",
                &failed(refused, Value::Null),
                retry("unanswered"),
            ),
        ])
    }

    fn throttled(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        Ok(vec![
            trouble(
                "RequestThrottled with Retry-After",
                refused("403 Forbidden", "RequestThrottled", &[("retry-after", "7")]),
                Expected::Retry {
                    code: "throttled",
                    after: Some(Duration::from_secs(7)),
                },
            ),
            trouble(
                "KMS throttles",
                refused("400 Bad Request", "KmsThrottled", &[]),
                retry("throttled"),
            ),
        ])
    }

    fn rejected_credentials(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let all = [
            (
                "no such key",
                "InvalidClientTokenId",
                "credentials_rejected",
            ),
            (
                "wrong secret",
                "InvalidSignatureException",
                "credentials_rejected",
            ),
            ("not allowed", "AccessDeniedException", "access_denied"),
            ("not the key of KMS", "KmsAccessDenied", "key_refused"),
        ];
        let of = |(name, code, expected)| {
            trouble(name, refused("403 Forbidden", code, &[]), suspend(expected))
        };
        Ok(all.map(of).into())
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        let payload = format!(r#"{{"x":"{}"}}"#, "y".repeat(300_000));
        Ok(Trouble {
            records: vec![record("{}"), record(&payload)],
            expected: vec![delivered(), reject("too_large")],
            ..trouble("beside one that is not", Fault::None, delivered())
        })
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        let fault = Fault::http_endless("200 OK");
        Ok(trouble("an endless body", fault, retry("invalid_response")))
    }

    fn own(&self, at: SocketAddr) -> Vec<Trouble> {
        let nowhere = Given {
            config: config("no-such-queue", &format!("http://{at}"), json!({})),
            secrets: json!({ "secretAccessKey": SECRET }),
        };
        vec![Trouble {
            given: Some(nowhere),
            ..trouble("no such queue", Fault::None, suspend("no_such_queue"))
        }]
    }
}

#[tokio::test]
async fn sqs_conforms() {
    let moto = moto().await;
    let name = queue(moto, true).await;
    let read = Mutex::default();
    run(Queue { moto, name, read }).await;
}
