//! What an OTLP receiver is sent. In a process of its own, because tracing is set up once a process.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use prost::Message;
use pushrail_obs::{Options, Span, SpanKind, Traceparent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

async fn receiver() -> (String, mpsc::UnboundedReceiver<Sent>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receive = move |body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            sender.send(span).unwrap();
        }
    };
    let app = Router::new().route("/v1/traces", post(receive));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (format!("http://{address}"), receiver)
}

#[tokio::test]
async fn one_event_is_one_trace_from_its_post_to_its_delivery() {
    let (endpoint, mut received) = receiver().await;
    let options = Options {
        otlp_endpoint: Some(endpoint),
        ..Options::default()
    };
    let guard = pushrail_obs::init(&options).unwrap();
    assert!(pushrail_obs::init(&options).is_err(), "a second set-up");

    // The ratio is 0: an event is followed only when its publisher follows it.
    assert!(!Span::root("accept", SpanKind::Server, None).is_recording());
    let publisher = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let unfollowed = publisher.replace("-01", "-00");
    for parent in [&unfollowed, "garbage"] {
        assert!(!Span::child("deliver", SpanKind::Client, Some(parent)).is_recording());
    }

    let incoming = Traceparent::parse(publisher.as_bytes());
    let mut accept = Span::root("accept", SpanKind::Server, incoming);
    accept.set_text("pushrail.event_type", "order.completed");
    let carried = accept.traceparent().unwrap().to_string();
    let mut deliver = Span::child("deliver", SpanKind::Client, Some(&carried));
    deliver.set_number("pushrail.attempt", 1);
    deliver.fail("http_503");
    deliver.end();
    accept.end();

    let mut spans = Vec::new();
    while spans.len() < 2 {
        let next = tokio::time::timeout(Duration::from_secs(20), received.recv());
        spans.push(next.await.expect("the exporter sends").unwrap());
    }
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    let [accept, deliver] = &spans[..] else {
        panic!("{spans:?}");
    };
    let incoming = incoming.unwrap();
    for span in &spans {
        assert_eq!(span.trace_id, incoming.trace_id().to_be_bytes());
    }
    assert_eq!(accept.parent_span_id, incoming.span_id().to_be_bytes());
    assert_eq!(deliver.parent_span_id, accept.span_id);
    assert_eq!(accept.attributes[0].key, "pushrail.event_type");
    assert_eq!(deliver.status.as_ref().unwrap().message, "http_503");
    tokio::task::spawn_blocking(move || drop(guard))
        .await
        .unwrap();
}
