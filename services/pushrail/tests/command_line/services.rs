//! Services as processes of their own.

use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use pushrail_testkit::{Receiver, wait_for};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::installation::{Installation, QUIET, free_address, installation};

/// How long a span may be on its way; the exporter sends once a second.
const WITHIN: Duration = Duration::from_secs(20);

/// A service as a process, killed when it is dropped.
struct Service {
    name: &'static str,
    child: Child,
    ops: SocketAddr,
}

impl Service {
    fn start(installation: &Installation, name: &'static str, line: &str) -> Service {
        let ops = free_address();
        let workers = match name {
            "control" | "replay" => "",
            _ => " --workers 1",
        };
        let line = format!("{line}{workers} --ops-listen {ops} --log warn");
        let child = installation.command(&line).spawn().unwrap();
        Service { name, child, ops }
    }

    async fn ready(&mut self) {
        let url = format!("http://{}/readyz", self.ops);
        wait_for(&format!("{} to be ready", self.name), async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            reqwest::get(&url)
                .await
                .ok()
                .filter(|answer| answer.status() == 200)
                .map(drop)
        })
        .await;
    }

    async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("http://{}/metrics", self.ops))
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    async fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = wait_for(&format!("{} to end", self.name), async || {
            self.child.try_wait().unwrap()
        })
        .await;
        assert_eq!(status.code(), Some(0), "{}", self.name);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An OTLP receiver; the spans that it gets come out of the channel with their service's name.
async fn otlp() -> (String, mpsc::UnboundedReceiver<Span>) {
    let (sender, spans) = mpsc::unbounded_channel();
    let receive = move |body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        for span in resources
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
        {
            let _ = sender.send(span);
        }
    };
    let app = Router::new().route("/v1/traces", post(receive));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, spans)
}

/// Posts an event of the customer `alone` under a trace, and returns its id.
async fn publish(listen: SocketAddr, key: &str, traceparent: &str) -> String {
    let event = json!({
        "eventType": "order.completed", "customerExternalId": "alone", "payload": {"total": 42},
    });
    let answer = reqwest::Client::new()
        .post(format!("http://{listen}/v1/events"))
        .bearer_auth(key)
        .header("traceparent", traceparent)
        .json(&event)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let event: Value = answer.json().await.unwrap();
    event["eventId"].as_str().unwrap().to_owned()
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn services_alone_deliver_an_event_trace_it_show_it_and_drain_on_sigterm() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let receiver = Receiver::start().await;
    let (otlp_url, mut spans) = otlp().await;
    let url = receiver.url("/hook");
    installation.ok(&format!(
        "admin destination add --customer alone --url {url}"
    ));
    let key = installation.json("admin api-key add");
    let key = key["key"].as_str().unwrap();
    installation.told().await;
    let (listen, control) = (free_address(), free_address());
    let traced = format!("--otlp-endpoint {otlp_url} --trace-ratio 0");
    let mut services = [
        Service::start(
            installation,
            "ingest",
            &format!("ingest --listen {listen} --control http://{control} {traced}"),
        ),
        Service::start(
            installation,
            "control",
            &format!("control --listen {control}"),
        ),
        Service::start(installation, "router", &format!("router {traced}")),
        Service::start(
            installation,
            "sink",
            &format!("sink --kind webhook {traced}"),
        ),
        Service::start(installation, "retry", "retry"),
        Service::start(installation, "feed", "feed"),
        Service::start(installation, "replay", "replay"),
    ];
    for service in &mut services {
        service.ready().await;
    }
    // Through ingest's address, by a second control plane beside the one that all tests share.
    let listed = installation.json(&format!(
        "admin destination list --customer alone --control-url http://{listen}"
    ));
    assert_eq!(listed["config"]["url"], *url);

    // Nobody follows this event, so its publisher's own context goes through untouched.
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let unfollowed = format!("00-{trace_id}-b7ad6b7169203331-00");
    let event = publish(listen, key, &unfollowed).await;
    let requests = receiver.wait("/hook", 1).await;
    assert_eq!(requests[0].header("webhook-id"), Some(event.as_str()));
    assert_eq!(requests[0].header("traceparent"), Some(unfollowed.as_str()));

    // Its publisher follows this one, and so do we: each step is under the one before, up to the webhook.
    let followed = format!("00-{trace_id}-b7ad6b7169203331-01");
    publish(listen, key, &followed).await;
    let requests = receiver.wait("/hook", 2).await;
    let (mut parent, mut names) = ("b7ad6b7169203331".to_owned(), Vec::new());
    let mut seen: Vec<Span> = Vec::new();
    while names.len() < 3 {
        if let Some(next) = seen.iter().find(|span| hex(&span.parent_span_id) == parent) {
            assert_eq!(hex(&next.trace_id), trace_id);
            names.push(next.name.clone());
            parent = hex(&next.span_id);
        } else {
            let received = tokio::time::timeout(WITHIN, spans.recv()).await;
            seen.push(received.expect("a span that continues the trace").unwrap());
        }
    }
    let delivered = format!("00-{trace_id}-{parent}-01");
    assert_eq!(
        requests[1].header("traceparent"),
        Some(delivered.as_str()),
        "{names:?}"
    );

    for (service, metric) in services.iter().zip([
        "pushrail_ingest_events_accepted_total{origin=\"http\"} 2",
        "pushrail_control_requests_total{",
        "pushrail_router_deliveries_total 2",
        "pushrail_sink_records_total 2",
        "pushrail_retry_partitions ",
        "pushrail_feed_partitions ",
        "pushrail_replay_jobs{state=\"running\"} 0",
    ]) {
        let what = format!("{metric} of {}", service.name);
        wait_for(&what, async || {
            service.metrics().await.contains(metric).then_some(())
        })
        .await;
    }
    for service in services {
        service.terminate().await;
    }
}
