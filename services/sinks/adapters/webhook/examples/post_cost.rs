//! What one POST costs: CPU of the client's thread per delivered event, against a trivial server in another thread.
//!
//! `cargo run --release -p pushrail-webhook --example post_cost -- [events] [in flight] [payload bytes]`

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use pushrail_schemas::Event;
use pushrail_schemas::event::Parts;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_sink_core::{Adapter, Client as _, Context, Record, Verdict};
use pushrail_webhook::{Client, Webhook, generate_secret};
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant};
use uuid::Uuid;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|arg| arg.parse::<usize>().expect("a number"));
    let events = args.next().unwrap_or(200_000);
    let in_flight = args.next().unwrap_or(64);
    let payload = args.next().unwrap_or(900);
    let (send_address, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || runtime().block_on(serve(send_address)));
    let address = address.recv().expect("the server's address");
    runtime().block_on(async {
        post(address, events / 10, in_flight, payload).await;
        let (cpu_before, started) = (thread_cpu_us(), Instant::now());
        post(address, events, in_flight, payload).await;
        let cpu_us = (thread_cpu_us() - cpu_before) as f64 / events as f64;
        let rate = events as f64 / started.elapsed().as_secs_f64();
        println!(
            "{events} events, {in_flight} in flight: {cpu_us:.2} us CPU each, {rate:.0} events/s"
        );
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// User and system time of this thread.
fn thread_cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("getrusage");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

async fn post(address: SocketAddr, events: usize, in_flight: usize, payload: usize) {
    let context = Context {
        allowed_networks: vec!["127.0.0.0/8".into()],
        allow_plaintext: true,
    };
    let config = serde_json::json!({ "url": format!("http://{address}/hook") });
    let secrets = serde_json::json!({ "signingSecret": generate_secret().expose() });
    let config = serde_json::from_value(config).expect("a configuration");
    let secrets = serde_json::from_value(secrets).expect("secrets");
    let client = Webhook::new(context)
        .connect(config, secrets)
        .await
        .expect("a client");
    let batch = [record(payload).into()];
    let one = || async {
        let reply = client
            .send(&batch, Instant::now() + Duration::from_secs(30))
            .await;
        Client::classify(reply, 1)
    };
    let mut running = FuturesUnordered::new();
    for _ in 0..in_flight {
        running.push(one());
    }
    let mut done = 0;
    while done < events {
        let outcome = running.next().await.expect("calls are running");
        assert_eq!(outcome.verdicts[0], Verdict::Delivered);
        done += 1;
        running.push(one());
    }
}

fn record(payload: usize) -> Record {
    let mut value = Vec::new();
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(payload));
    let parts = Parts {
        event_id: Uuid::from_u128(1),
        event_type: "order.completed",
        occurred_at_us: 1_767_323_045_123_456,
        customer_external_id: "cust-1",
        idempotency_key: Some("order-42"),
        source: Some("shop"),
        payload: payload.as_bytes(),
        metadata: b"{}",
        received_at_us: 1_767_323_046_000_000,
        subject_id: None,
        sealing: None,
    };
    parts.encode(1, &mut value);
    let delivery = Delivery {
        delivery_id: Uuid::from_u128(1),
        event_id: parts.event_id,
        tenant_id: "acme".into(),
        customer_id: Uuid::from_u128(2),
        destination_id: Uuid::from_u128(3),
        attempt: 0,
        deferrals: 0,
        first_attempt_at_ms: None,
        not_before_ms: None,
        origin: Origin::Live,
        replay_id: None,
        traceparent: None,
    };
    Record {
        event: Event::parse(Bytes::from(value)).expect("an event"),
        delivery,
        attempt: 1,
    }
}

async fn serve(address: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    address
        .send(listener.local_addr().expect("an address"))
        .expect("the client waits");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let service = service_fn(|request: Request<Incoming>| async {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let builder = hyper::server::conn::http1::Builder::new();
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}
