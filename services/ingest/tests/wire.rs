//! The server on real sockets, in front of a Kafka that is not there: what a client and a network can do to it.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_ingest::Settings;
use pushrail_ingest::catalogue::Catalogue;
use pushrail_ingest::metrics::Metrics;
use pushrail_ingest::server::{Server, Shared};
use pushrail_obs::{Health, Metrics as Registry};
use support::{KEY, OneKey, event, settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    metrics: Registry,
    health: Health,
}

async fn start(settings: Settings) -> Running {
    settings.check().unwrap();
    let server = Server::bind(settings.listen).await.unwrap();
    let address = server.address();
    let (metrics, health) = (Registry::new(), Health::new());
    let (tenant, counted) = (Arc::new(OneKey::default()), Metrics::new(&metrics));
    let shared = Shared {
        settings: Arc::new(settings),
        catalogue: Arc::new(Catalogue::new(tenant.clone(), counted.clone())),
        seals: Arc::new(pushrail_ingest::seals::Seals::none()),
        keys: tenant,
        metrics: counted,
        health: health.clone(),
        schema_id: 7,
        clock: Clock::process(),
    };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shared, shutdown.clone()));
    Running {
        address,
        shutdown,
        serving,
        metrics,
        health,
    }
}

fn quick() -> Settings {
    Settings {
        workers: 2,
        ack_timeout: Duration::from_millis(600),
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_secs(5),
        ..settings()
    }
}

fn request(body: &str, more: &str) -> String {
    let len = body.len();
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n{more}\r\n{body}"
    )
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Writes and reads until the server closes.
    async fn ask(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn without_kafka_a_request_ends_in_time_and_nothing_stays_behind() {
    let running = start(quick()).await;
    let answer = running
        .ask(&request(&event("c-1"), "connection: close\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 2"), "{answer}");
    assert!(
        answer.contains("urn:pushrail:problem:not-confirmed"),
        "{answer}"
    );
    let metrics = running.metrics.encode();
    for line in [
        "pushrail_ingest_in_flight_bytes 0",
        "pushrail_ingest_in_flight_records 0",
        "pushrail_ingest_events_rejected_total{origin=\"http\",reason=\"unconfirmed\"} 1",
        "pushrail_ingest_requests_total{route=\"event\",status=\"5xx\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn while_kafka_is_silent_later_requests_are_told_at_once_and_readiness_is_lost() {
    let running = start(Settings {
        workers: 1,
        ack_timeout: Duration::from_secs(4),
        ..quick()
    })
    .await;
    let mut waiting = running.connect().await;
    waiting
        .write_all(request(&event("c-1"), "").as_bytes())
        .await
        .unwrap();
    let later = request(&event("c-2"), "connection: close\r\n");
    loop {
        // Once half of the time-out has passed without a sign of life, nothing more is queued.
        let probe = running.ask(&later);
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), probe).await {
            assert!(answer.contains("kafka-unavailable"), "{answer}");
            break;
        }
    }
    while running.health.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(running.health.unmet()[0].1.contains("no acknowledgement"));
}

#[tokio::test]
async fn a_head_that_never_ends_does_not_keep_its_connection() {
    let running = start(quick()).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"POST /v1/events HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    // Ends when the server gives up, or hangs the test.
    rest(&mut stream).await;
    let mut idle = running.connect().await;
    rest(&mut idle).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered() {
    let running = start(quick()).await;
    let text = request(&event("c-1"), "").replace("content-length: ", "content-length: 1");
    let answer = running.ask(&text).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn heads_beyond_all_bounds_are_refused() {
    let running = start(quick()).await;
    let noise = format!("x-noise: {}\r\n", "n".repeat(20_000));
    let answer = running
        .ask(&request(
            &event("c-1"),
            &format!("{noise}connection: close\r\n"),
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 431") && answer.contains("headers-too-large"),
        "{answer}"
    );
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = running.ask(&request(&event("c-1"), &many)).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let endless = format!("x-noise: {}", "n".repeat(200_000));
    let answer = running.ask(&request("", &endless)).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_writes_too_much_still_reads_why() {
    let running = start(quick()).await;
    let body = format!("{}{}", event("c-1"), " ".repeat(4 << 20));
    let mut stream = running.connect().await;
    stream
        .write_all(request(&body, "connection: close\r\n").as_bytes())
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let running = start(Settings {
        connections_max: 1,
        head_timeout: Duration::from_secs(30),
        ..quick()
    })
    .await;
    let get = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut first = running.connect().await;
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let second = running.ask(get);
    tokio::pin!(second);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "the only place is taken");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_finishes_what_is_under_way() {
    let running = start(Settings {
        head_timeout: Duration::from_secs(30),
        ..quick()
    })
    .await;
    let mut idle = running.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    let mut busy = running.connect().await;
    busy.write_all(request(&event("c-1"), "").as_bytes())
        .await
        .unwrap();
    while running
        .metrics
        .encode()
        .contains("pushrail_ingest_in_flight_records 0")
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.shutdown.cancel();
    assert!(
        !rest(&mut idle).await.is_empty(),
        "the rest of the answer, then the end"
    );
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    running.serving.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
